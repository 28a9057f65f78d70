"""E2: only slots on full cards are left; ours says SATURATED and stops, the others go on to the maximum for nothing."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from autoscaler.core.decision import Reason, Stage
from autoscaler.sim.world import Foreign, ServiceTime, World, default_world
from tests.bench.law.direct import Floats, Seen, attained, shipped, steady, the_model, watch
from tests.bench.law.ledger import in_order
from tests.bench.law.options import Options, main
from tests.bench.law.report import Mark, Report, Table, percent

CARDS, SLOTS = 4, 4
RIVALS = ("hpa_device", "hpa_in_flight", "ray_serve", "kpa")
# Places in the grids: a setting that follows load at all where the shipped one, the first, hardly does (HPA at 60 %).
PLACES = {"hpa_device": 10, "hpa_in_flight": 0, "ray_serve": 4, "kpa": 5}
GAIN_MOST = 0.02
SPAN_S = 1200.0


def ours_full() -> World:
    """Cards that one replica each nearly fills: what a second one gains its neighbour loses."""
    service = ServiceTime(host_ms=3.0, engine_ms=57.0, max_queue=2)
    world = default_world(cards=CARDS, foreign=())
    return replace(world, models=(replace(the_model(world), service=service),))


def neighbours_full() -> World:
    """One card of ours; on the others three tenants each want more than the whole engine."""
    tenants = tuple(Foreign(card=card, phases=((0.0, 0.9),)) for card in range(1, CARDS) for _ in range(SLOTS - 1))
    world = default_world(cards=CARDS, foreign=tenants)
    service = replace(the_model(world).service, max_queue=2)
    # So many that some stand on the full cards from the start: who reads the device sees them.
    return replace(world, models=(replace(the_model(world), service=service, start_replicas=5),))


WORLDS = {"cards full of our replicas": (ours_full, 80.0), "cards full of neighbours": (neighbours_full, 60.0)}


def measure(options: Options) -> Report:
    """Ours and each rival in each world, mean over the seeds."""
    policies = ("ours", *RIVALS)
    tasks = [(name, policy, seed) for name in WORLDS for policy in policies for seed in options.seed_list]
    ended = dict(zip(tasks, in_order(_run, tasks, jobs=options.jobs), strict=True))
    tables, marks = [], []
    for name, (make, rate_per_s) in WORLDS.items():
        most = len(make().own_slots)
        by_policy = {
            policy: {
                key: float(np.mean([ended[name, policy, seed][key] for seed in options.seed_list]))
                for key in ("replicas", "attained", "answered_per_s", "slot_hours", "saturated")
            }
            for policy in policies
        }
        tables.append(
            Table(
                title=f"{name}: {rate_per_s:g} requests/s, {most} slots",
                headings=(
                    "policy",
                    "replicas",
                    "of",
                    "attained",
                    "answered/s",
                    "slot-hours",
                    "ticks that say saturated",
                ),
                rows=tuple(
                    (
                        policy,
                        found["replicas"],
                        most,
                        percent(found["attained"]),
                        found["answered_per_s"],
                        found["slot_hours"],
                        percent(found["saturated"]) if policy == "ours" else None,
                    )
                    for policy, found in by_policy.items()
                ),
            )
        )
        marks += _marks(name, most, by_policy)
    return Report(
        name="E2",
        title="saturated GPUs",
        setup=(
            f"{CARDS} cards of {SLOTS} slots, constant overload for {SPAN_S:g} s, the last half counted; a replica "
            f"queues 2 requests and refuses the rest. {options.seeds} seeds."
        ),
        tables=tuple(tables),
        marks=tuple(marks),
    )


def _run(task: tuple[str, str, int]) -> dict[str, float]:
    name, policy, seed = task
    make, rate_per_s = WORLDS[name]
    world = make()
    times = {the_model(world).name: steady(rate_per_s, SPAN_S, seed)}
    controller = None if policy == "ours" else shipped(policy, world, times, place=PLACES[policy])
    seen = watch(world, times, controller, seed=seed, span_s=SPAN_S, warm_up_s=SPAN_S / 2)
    return _found(seen, times)


def _found(seen: Seen, times: Mapping[str, Floats]) -> dict[str, float]:
    outcome = seen.outcome
    late = outcome.timeline.time_s >= SPAN_S / 2
    plans = [plan for plan in seen.plans if plan.at_s >= SPAN_S / 2]
    said = [
        any(step.stage is Stage.PLACEMENT and step.reason is Reason.SATURATED for step in decision.steps)
        for plan in plans
        for decision in plan.decisions
    ]
    return {
        "replicas": float(outcome.timeline.replicas[late].mean()),
        "attained": attained(outcome.timeline, SPAN_S / 2, SPAN_S),
        "answered_per_s": (outcome.offered - outcome.refused - outcome.failed) / (SPAN_S / 2),
        "slot_hours": outcome.slot_hours,
        "saturated": float(np.mean(said)) if said else 0.0,
    }


def _marks(name: str, most: int, found: Mapping[str, Mapping[str, float]]) -> list[Mark]:
    ours = found["ours"]
    gain = max(found[rival]["attained"] for rival in RIVALS) - ours["attained"]
    at_most = [rival for rival in ("hpa_device", "ray_serve") if found[rival]["replicas"] >= most - 0.5]
    return [
        Mark(
            demanded=f"{name}: ours stops below {most} replicas and says saturated",
            found=f"{ours['replicas']:.1f} replicas, said in {ours['saturated']:.0%} of the ticks",
            passed=ours["replicas"] <= most - 1 and ours["saturated"] >= 0.5,
        ),
        Mark(
            demanded=f"{name}: HPA on the device and Ray Serve hold all {most}",
            found=f"{', '.join(at_most) or 'neither'} did",
            passed=len(at_most) == 2,
        ),
        Mark(
            demanded=f"{name}: nobody gains more than {GAIN_MOST:.0%} of the requests by it",
            found=f"{gain:+.2%}",
            passed=gain <= GAIN_MOST,
        ),
    ]


if __name__ == "__main__":
    main("e2", __doc__, measure)
