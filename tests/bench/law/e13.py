"""E13: one model on two slot types: it takes the type that helps, and makes way where another model has no choice."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from autoscaler.sim.controller import Ours
from autoscaler.sim.simulation import run
from autoscaler.sim.world import Cards, Foreign, SimModel, World, default_world
from tests.bench.law.direct import Floats, stepped, the_model
from tests.bench.law.ledger import in_order
from tests.bench.law.options import Options, main
from tests.bench.law.report import Cell, Mark, Report, Table, percent

LARGE, SMALL = "v100d-8q-8GB", "t4-4q-4GB"
CHOICES = {"large": (LARGE,), "small": (SMALL,), "both": (LARGE, SMALL)}
CARDS, SLOTS = 4, 4
SLOWER = 1.5
"""Engine time on a small card over that on a large one."""
CROWDED_RATIO = 0.6
"""What a tenant that is not ours wants of each large card."""
LOADS_PER_S = (60.0, 90.0)
SPAN_S = 2400.0
LEAST_GAIN = 0.01
MOST_CHANGES = 2.0
Task = tuple[str, str, float, int]
Result = dict[str, float]


def beside_a_tenant(choice: str, rate_per_s: float, seed: int) -> tuple[World, dict[str, Floats]]:
    """Large cards on which somebody else wants most of the engine, small ones that are idle; a load that swells."""
    tenants = tuple(Foreign(card=card, phases=((0.0, CROWDED_RATIO),)) for card in range(CARDS))
    world = replace(
        _with_small(default_world(foreign=()), CARDS), foreign=tenants, models=(_model("m", CHOICES[choice]),)
    )
    steps = [(at_s, rate_per_s * (0.2 + 0.8 * np.sin(at_s / SPAN_S * np.pi) ** 2)) for at_s in np.arange(0, SPAN_S, 30)]
    return world, {"m": stepped(steps, SPAN_S, seed)}


def beside_others(choice: str, rate_per_s: float, seed: int) -> tuple[World, dict[str, Floats]]:
    """One model may choose; the others may not, and surge one after the other, each on its own type."""
    models = (_model("on large", (LARGE,)), _model("on small", (SMALL,)), _model("chooses", CHOICES[choice]))
    world = replace(_with_small(default_world(foreign=()), CARDS // 2), models=models, cards=CARDS // 2)
    calm_per_s = rate_per_s / 5
    return world, {
        "on large": stepped([(0.0, calm_per_s), (500.0, rate_per_s), (1100.0, calm_per_s)], SPAN_S, seed),
        "on small": stepped([(0.0, calm_per_s), (1500.0, 0.8 * rate_per_s), (2100.0, calm_per_s)], SPAN_S, seed + 1000),
        "chooses": stepped([(0.0, rate_per_s / 1.6)], SPAN_S, seed + 2000),
    }


WORLDS = {"crowded": (beside_a_tenant, LOADS_PER_S), "others": (beside_others, (40.0,))}


def measure(options: Options) -> Report:
    """Each load and choice, mean over the seeds."""
    cases = [(name, choice, rate) for name, (_, rates) in WORLDS.items() for rate in rates for choice in CHOICES]
    tasks = [(*case, seed) for case in cases for seed in options.seed_list]
    ended = dict(zip(tasks, in_order(_run, tasks, jobs=options.jobs), strict=True))
    means = {case: _mean([ended[*case, seed] for seed in options.seed_list]) for case in cases}
    titles = {
        "crowded": f"{CARDS} large cards with a tenant that wants {CROWDED_RATIO:.0%} of each, {CARDS} idle small ones",
        "others": f"beside two models that have no choice, {CARDS // 2} cards of each type",
    }
    return Report(
        name="E13",
        title="one model on two slot types",
        setup=(
            f"Large: V100s in {SLOTS} slots; small: T4s in {SLOTS}, the engine {SLOWER:g} times slower. The same law; "
            f"only what the model may live on differs. {SPAN_S:g} s, {options.seeds} seeds, means."
        ),
        tables=tuple(
            Table(
                title=title,
                headings=(
                    "requests/s",
                    "may live on",
                    "attained",
                    "worst model",
                    "slot-hours",
                    "card-hours",
                    "changes/h",
                ),
                rows=tuple(_row(means, case) for case in cases if case[0] == name),
            )
            for name, title in titles.items()
        ),
        marks=_marks(means),
    )


def _marks(means: Mapping[tuple[str, str, float], Result]) -> tuple[Mark, ...]:
    marks = []
    for name, (_, rates) in WORLDS.items():
        for rate in rates:
            alone = max(means[name, choice, rate]["worst"] for choice in ("large", "small"))
            both = means[name, "both", rate]["worst"]
            marks.append(
                Mark(
                    demanded=f"{name}, {rate:g} requests/s: with both the worst model fares better than with either",
                    found=f"{both:.1%} against {alone:.1%}",
                    passed=both >= alone + LEAST_GAIN,
                )
            )
    easy = LOADS_PER_S[0]
    dear = min(means["crowded", choice, easy]["card_hours"] for choice in ("large", "small"))
    found = means["crowded", "both", easy]["card_hours"]
    marks.append(
        Mark(
            demanded=f"crowded, {easy:g} requests/s: and takes no more of the cards",
            found=f"{found:.2f} card-hours against {dear:.2f}",
            passed=found <= dear,
        )
    )
    rate = WORLDS["others"][1][0]
    changes = {choice: means["others", choice, rate]["changes"] for choice in ("large", "both")}
    marks.append(
        Mark(
            demanded=f"others, {rate:g} requests/s: both change at most {MOST_CHANGES:g} times as often as large alone",
            found=f"{changes['both']:.0f} an hour against {changes['large']:.0f}",
            passed=changes["both"] <= MOST_CHANGES * changes["large"],
        )
    )
    return tuple(marks)


def _row(means: Mapping[tuple[str, str, float], Result], case: tuple[str, str, float]) -> tuple[Cell, ...]:
    found, (_, choice, rate) = means[case], case
    shares = percent(found["attained"]), percent(found["worst"])
    return (rate, choice, *shares, found["slot_hours"], found["card_hours"], found["changes"])


def _run(task: Task) -> Result:
    name, choice, rate_per_s, seed = task
    world, times = WORLDS[name][0](choice, rate_per_s, seed)
    ended = run(world, times, Ours(), seed=seed, span_s=SPAN_S, warm_up_s=100.0)
    return {
        "attained": ended.attainment_ratio,
        "worst": min(model.attainment_ratio for model in ended.models.values()),
        "slot_hours": ended.slot_hours,
        "card_hours": ended.card_hours,
        "changes": ended.changes_per_hour,
    }


def _mean(found: list[Result]) -> Result:
    return {key: float(np.mean([each[key] for each in found])) for key in found[0]}


def _model(name: str, slots: tuple[str, ...]) -> SimModel:
    return replace(the_model(default_world()), name=name, slots=slots)


def _with_small(world: World, cards: int) -> World:
    small = Cards(cards=cards, slots_per_card=SLOTS, slot_label=SMALL, engine_ratio=SLOWER)
    return replace(world, slot_label=LARGE, slots_per_card=SLOTS, cards=cards, further=(small,))


if __name__ == "__main__":
    main("e13", __doc__, measure)
