"""Sweeps that were never run: rows by hand, to see what is made of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from autoscaler.sim.baselines import LAWS
from autoscaler.sim.compare import OURS, Candidate, Row, Study, Sweep
from autoscaler.sim.demand import Demand
from autoscaler.sim.simulation import Timeline
from autoscaler.sim.trace import Trace
from autoscaler.sim.world import default_world

WINDOWS = 12
TRACE = Trace(name="made-up", span_s=120.0, bins=np.full(120, 5, dtype=np.int64), repairs=("1 row was odd",))


def timeline(*, replicas: int = 2, missed: bool = False) -> Timeline:
    """Two minutes of 5 requests/s; nothing came in the last window."""
    time_s = np.arange(WINDOWS) * 10.0
    offered = np.where(np.arange(WINDOWS) < WINDOWS - 1, 5.0, 0.0)
    attained = np.where(offered > 0, 0.5 if missed else 1.0, np.nan)
    count = np.full(WINDOWS, replicas)
    return Timeline(
        time_s=time_s,
        offered_per_s=offered,
        attainment_ratio=attained,
        p95_ms=np.where(offered > 0, 120.0, np.nan),
        replicas=count,
        slots=count,
        wanted=count,
    )


def row(policy: str, seed: int, served: float, taken: float, **changes: Any) -> Row:
    given: dict[str, Any] = {
        "policy": policy,
        "is_default": policy == OURS,
        "setting": {},
        "seed": seed,
        "attainment_ratio": served,
        "violation_s": 10.0,
        "slot_hours": taken,
        "changes_per_hour": 30.0,
        "recover_s": 20.0,
        "p50_ms": 60.0,
        "p95_ms": 150.0,
        "p99_ms": 280.0,
        "offered": 1000,
        "refused": 2,
        "failed": 0,
        "training_attainment_ratio": served,
        "training_slot_hours": taken,
        **changes,
    }
    return Row(**given)


def swept(policy: str, index: int, *points: tuple[float, float], **changes: Any) -> Sweep:
    """The setting at that place of its grid; a point (attainment, slot-hours) for each seed."""
    setting = None if policy == OURS else LAWS[policy].grid[index]
    candidate = Candidate(policy=policy, setting=setting)
    rows = tuple(
        row(policy, seed, served, taken, setting=candidate.numbers, **changes)
        for seed, (served, taken) in enumerate(points, start=1)
    )
    return Sweep(candidate=candidate, rows=rows, timeline=timeline())


def study(seeds: int = 2, scales: Mapping[str, float] | None = None, *, is_tuned: bool = True) -> Study:
    return Study(
        world=default_world(cards=2),
        demand=Demand(source=TRACE),
        scales=scales or {"embedder": 1.5},
        seeds=tuple(range(1, seeds + 1)),
        span_s=120.0,
        counted_from_s=60.0 if is_tuned else 12.0,
        trained_from_s=12.0 if is_tuned else None,
    )


COMPARED = (
    swept("kpa", 1, (0.90, 4.0), (0.92, 5.0)),
    swept("kpa", 2, (0.96, 7.0), (0.98, 8.0)),
    swept("kpa", 3, (0.99, 9.0), (1.00, 11.0)),
    swept(OURS, 0, (0.97, 5.0), (0.99, 6.0)),
    swept("clairvoyant", 0, (0.98, 4.0), (0.99, 5.0)),
    swept("static", 3, (0.80, 4.0), (0.70, 4.0)),
)
