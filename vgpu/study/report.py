"""What a sweep amounts to: rows for programs, a line for each policy for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from vgpu.core.fractions.policies import DEFAULT_POLICY, FragmentationGradient
from vgpu.study import published
from vgpu.study.experiment import Run, TieBreak


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One policy under one rule for ties, in the mean over seeds; ratios are parts of all units."""

    policy: str
    is_default: bool
    tie_break: TieBreak
    allocated_ratio_at_100: float
    deviation_ratio: float | None
    """Standard deviation over seeds; None with one seed."""
    fragmentation_ratio_at_100: float
    published_ratio: float | None
    """The authors' figure, under the fixed rule only: they ran no other."""
    gap_closed_ratio: float | None
    """Of the gap between FGD under the same rule and the bound; None where FGD is better or did not run."""
    seconds: float


def rows(runs: Sequence[Run]) -> dict[str, Any]:
    """The document that `--json` prints."""
    return {
        "rows": [
            {
                "policy": run.policy,
                "is_default": run.policy == DEFAULT_POLICY,
                "tie_break": run.tie_break.value,
                "seed": run.seed,
                "allocated_ratio_at_100": round(run.allocated_ratio_at_100, 6),
                "fragmentation_ratio_at_100": round(run.fragmentation_ratio_at_100, 6),
                "seconds": round(run.seconds, 3),
            }
            for run in runs
        ]
    }


def summarise(runs: Sequence[Run], *, list_name: str, gpus: int, bound_ratio: float) -> tuple[Line, ...]:
    """A line for each policy and rule for ties, in the order of the runs."""
    groups: dict[tuple[str, TieBreak], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.policy, run.tie_break), []).append(run)
    allocated = {key: fmean(run.allocated_ratio_at_100 for run in group) for key, group in groups.items()}
    return tuple(
        Line(
            policy=policy,
            is_default=policy == DEFAULT_POLICY,
            tie_break=tie_break,
            allocated_ratio_at_100=allocated[policy, tie_break],
            deviation_ratio=stdev(run.allocated_ratio_at_100 for run in group) if len(group) > 1 else None,
            fragmentation_ratio_at_100=fmean(run.fragmentation_ratio_at_100 for run in group),
            published_ratio=(
                published.allocated_ratio_at_100(list_name, gpus, policy) if tie_break is TieBreak.FIXED else None
            ),
            gap_closed_ratio=_closed(
                allocated[policy, tie_break], allocated.get((FragmentationGradient.name, tie_break)), bound_ratio
            ),
            seconds=fmean(run.seconds for run in group),
        )
        for (policy, tie_break), group in groups.items()
    )


def curve(runs: Sequence[Run], policy: str, tie_break: TieBreak) -> Mapping[int, tuple[float, float]]:
    """By demand in percent: allocated and fragmentation, in the mean over seeds that have a value there."""
    own = [run for run in runs if run.policy == policy and run.tie_break == tie_break]
    points = sorted({percent for run in own for percent in run.allocated_ratio})
    return {
        percent: (
            fmean(run.allocated_ratio[percent] for run in own if percent in run.allocated_ratio),
            fmean([run.fragmentation_ratio[percent] for run in own if percent in run.fragmentation_ratio] or [0.0]),
        )
        for percent in points
    }


def _closed(ratio: float, fgd_ratio: float | None, bound_ratio: float) -> float | None:
    """The part of the way from FGD to the bound; None where FGD is better."""
    if fgd_ratio is None or ratio < fgd_ratio or bound_ratio <= fgd_ratio:
        return None
    return (ratio - fgd_ratio) / (bound_ratio - fgd_ratio)
