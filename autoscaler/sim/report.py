"""What a comparison showed: one line a policy for people, and everything as a document that JSON can hold."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from autoscaler.sim.baselines import LAWS
from autoscaler.sim.compare import BOUND, OURS, Row, Study, Sweep, goal_of, results, tuned
from autoscaler.sim.frontier import Cost, Ratio, cost_at, ratio_at_equal_attainment
from autoscaler.sim.world import World

TITLES = {OURS: "ours", **{name: law.title for name, law in LAWS.items()}}
MEASURES = ("attainment_ratio", "violation_s", "slot_hours", "changes_per_hour", "recover_s", "p95_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One policy at the setting an operator would have chosen, over the test span; means of the seeds."""

    policy: str
    title: str
    setting_name: str
    setting: Mapping[str, float]
    settings_tried: int
    attainment_ratio: float
    violation_s: float
    slot_hours: float
    changes_per_hour: float
    recover_s: float
    p95_ms: float
    at_ours: Cost | None
    """What it takes to serve as well as ours, along its front over all settings; None without ours."""
    ours_ratio: Ratio | None
    """Slot-hours of ours as a part of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All policies, ours first and the bound last."""

    goal_ratio: float
    """What the settings were tuned to reach in training."""
    lines: tuple[Line, ...]

    def line(self, policy: str) -> Line | None:
        return next((line for line in self.lines if line.policy == policy), None)

    @property
    def best_baseline(self) -> Line | None:
        """The policy that serves as well as ours for the fewest slot-hours; where none does, the one nearest to it.

        The bound knows the future and is none.
        """
        rivals = [line for line in self.lines if line.policy not in (OURS, BOUND) and line.at_ours is not None]
        return min(rivals, key=_rank, default=None)


def _rank(line: Line) -> tuple[bool, float]:
    if line.at_ours is None or not line.at_ours.is_reached:
        return True, -line.attainment_ratio
    return False, line.at_ours.slot_hours


def summarise(sweeps: Sequence[Sweep]) -> Summary:
    """Tune each policy on what its settings did in training, and report what they did in the test span."""
    policies = dict.fromkeys(each.candidate.policy for each in sweeps)
    goal_ratio = goal_of(sweeps)
    by_policy = {policy: [each for each in sweeps if each.candidate.policy == policy] for policy in policies}
    ours = by_policy.get(OURS)
    ordered = sorted(policies, key=lambda policy: (policy != OURS, policy == BOUND))
    lines = tuple(_line(policy, by_policy[policy], ours, goal_ratio) for policy in ordered)
    return Summary(goal_ratio=goal_ratio, lines=lines)


def _line(policy: str, sweeps: Sequence[Sweep], ours: Sequence[Sweep] | None, goal_ratio: float) -> Line:
    chosen = tuned(sweeps, goal_ratio=goal_ratio)
    at_ours, ratio = None, None
    if ours is not None:
        theirs = results(sweeps)
        served = ours[0].mean("attainment_ratio")
        at_ours = cost_at(theirs.attainment_ratio.mean(axis=0), theirs.slot_hours.mean(axis=0), served)
        ratio = ratio_at_equal_attainment(results(ours), theirs) if policy != OURS else None
    return Line(
        policy=policy,
        title=TITLES[policy],
        setting_name=chosen.candidate.name,
        setting=chosen.candidate.numbers,
        settings_tried=len(sweeps),
        at_ours=at_ours,
        ours_ratio=ratio,
        **{name: chosen.mean(name) for name in MEASURES},
    )


def document(study: Study, sweeps: Sequence[Sweep], summary: Summary | None) -> dict[str, Any]:
    """Everything: what was simulated, a row for each run, and the summary where settings were tuned.

    Numbers that are not finite are None: JSON has no form for them.
    """
    trace = study.demand.trace(study.seeds[0])
    written: dict[str, Any] = {
        "trace": study.demand.name,
        "scale": dict(study.scales),
        "repairs": list(trace.repairs),
        "span": {
            "span_s": study.span_s,
            "trained_from_s": study.trained_from_s,
            "counted_from_s": study.counted_from_s,
            "counted_to_s": study.span_s,
        },
        "world": describe(study.world),
        "rows": [_row(row) for each in sweeps for row in each.rows],
    }
    if summary is not None:
        written["goal_ratio"] = summary.goal_ratio
        written["tuned"] = {line.policy: dict(line.setting) for line in summary.lines}
        written["summary"] = [asdict(line) for line in summary.lines]
    finite: dict[str, Any] = _finite(written)
    return finite


def describe(world: World) -> dict[str, Any]:
    """A fleet in a few numbers."""
    return {
        "cards": world.card_count,
        "slots_per_card": world.slots_per_card,
        "slots_of_ours": len(world.own_slots),
        "slot_label": world.slot_label,
        "scheduler": str(world.policy),
        "foreign_tenants": len(world.foreign),
        "models": [
            {
                "name": model.name,
                "objective_p95_ms": model.objective_p95_ms,
                "solo_ms": model.service.solo_ms(),
                "engine_ratio": model.service.engine_ratio,
                "cold_start_s": model.cold_start.worker_s + model.cold_start.load_s,
            }
            for model in world.models
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    given = {part.name: getattr(row, part.name) for part in fields(row)}
    return {**given, "setting": dict(row.setting)}


def _finite(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
