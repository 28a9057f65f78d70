"""E7: metrics that are missing, frozen or garbage; ours never scales down while they are, and says why."""

from collections import Counter
from collections.abc import Mapping

from autoscaler.core.decision import Plan, Reason
from autoscaler.sim.faults import Fault, MetricsFrozen, MetricsGarbage, MetricsMissing, SlotReadingsMissing
from tests.bench.law.direct import Seen, replica_actions, stepped, the_model, usual, watch
from tests.bench.law.ledger import in_order
from tests.bench.law.options import Options, main
from tests.bench.law.report import Mark, Report, Table

FROM_S, TO_S, SPAN_S = 600.0, 1080.0, 1200.0
HIGH_PER_S, LOW_PER_S = 60.0, 12.0
# What a tick sees is a second old: the one at FROM_S itself still sees good metrics.
AGE_S = 1.0
# Readings older than 10 s are missing; a law that looks back 10 s may still decide on what it saw before.
GRACE_S = 15.0

CASES: Mapping[str, Fault] = {
    "all replicas unreadable": MetricsMissing(from_s=FROM_S, to_s=TO_S),
    "half of the replicas unreadable": MetricsMissing(from_s=FROM_S, to_s=TO_S, share=0.5),
    "all replicas frozen": MetricsFrozen(from_s=FROM_S, to_s=TO_S),
    "half of the replicas frozen": MetricsFrozen(from_s=FROM_S, to_s=TO_S, share=0.5),
    "all slots unreadable": SlotReadingsMissing(from_s=FROM_S, to_s=TO_S),
    "half of the slots unreadable": SlotReadingsMissing(from_s=FROM_S, to_s=TO_S, share=0.5),
    "all slots say 700 %": MetricsGarbage(from_s=FROM_S, to_s=TO_S, busy_ratio=7.0),
    "half of the slots say 700 %": MetricsGarbage(from_s=FROM_S, to_s=TO_S, busy_ratio=7.0, share=0.5),
    "all slots say -1": MetricsGarbage(from_s=FROM_S, to_s=TO_S, busy_ratio=-1.0),
}
# The load keeps up in these: what is read looks like an idle fleet, or like a crowded one, and is a lie.
LOAD_STAYS = ("all replicas frozen", "half of the replicas frozen")


def measure(options: Options) -> Report:
    """Every fault under every seed; one fall anywhere is a miss."""
    tasks = [(name, seed) for name in CASES for seed in options.seed_list]
    ended = dict(zip(tasks, in_order(_run, tasks, jobs=options.jobs), strict=True))
    rows, marks = [], []
    for name in CASES:
        falls = sum(ended[name, seed][0] for seed in options.seed_list)
        reasons: Counter[str] = sum((ended[name, seed][1] for seed in options.seed_list), Counter())
        gaps = sum(ended[name, seed][2] for seed in options.seed_list)
        said = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(3))
        rows.append((name, falls, gaps, said))
        marks.append(Mark(demanded=f"{name}: no fall while it lasts", found=f"{falls} falls", passed=falls == 0))
        marks.append(
            Mark(
                demanded=f"{name}: every tick names the gap, or a reason that is one",
                found=f"{gaps} ticks did not; {said}",
                passed=gaps == 0,
            )
        )
    return Report(
        name="E7",
        title="bad metrics",
        setup=(
            f"{HIGH_PER_S:g} requests/s on the default fleet; metrics are bad from {FROM_S:g} s to {TO_S:g} s and the "
            f"load falls to {LOW_PER_S:g} at {FROM_S:g} s (with frozen metrics it stays). {options.seeds} seeds; "
            f"reasons from {GRACE_S:g} s on."
        ),
        tables=(
            Table(headings=("fault", "falls", "ticks that say nothing of it", "reasons (decisions)"), rows=tuple(rows)),
        ),
        marks=tuple(marks),
    )


def _run(task: tuple[str, int]) -> tuple[int, Counter[str], int]:
    name, seed = task
    world = usual(start_replicas=6)
    steps = [(0.0, HIGH_PER_S)] if name in LOAD_STAYS else [(0.0, HIGH_PER_S), (FROM_S, LOW_PER_S)]
    times = {the_model(world).name: stepped(steps, SPAN_S, seed)}
    seen = watch(world, times, seed=seed, span_s=SPAN_S, faults=(CASES[name],))
    return _falls(seen), *_said(seen)


def _falls(seen: Seen) -> int:
    """Orders for fewer replicas while metrics were bad."""
    return sum(
        action.count < action.before
        for moment in seen.since(FROM_S + AGE_S, TO_S)
        for action in replica_actions(moment)
    )


def _said(seen: Seen) -> tuple[Counter[str], int]:
    """The reasons given, and how many decisions neither name a gap nor give missing metrics as a reason."""
    reasons: Counter[str] = Counter()
    silent = 0
    for plan in seen.plans:
        if FROM_S + GRACE_S <= plan.at_s < TO_S:
            reasons.update(str(decision.reason) for decision in plan.decisions)
            silent += sum(not named for named in _named(plan))
    return reasons, silent


def _named(plan: Plan) -> list[bool]:
    return [
        any(step.reason is Reason.NO_FRESH_METRICS for step in decision.steps)
        or (decision.signals is not None and bool(decision.signals.gaps))
        for decision in plan.decisions
    ]


if __name__ == "__main__":
    main("e7", __doc__, measure)
