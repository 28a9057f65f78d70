"""One run: arrivals meet a modelled fleet that a controller steers; what its clients felt and what it cost.

A controller is first asked after one interval, then at every further one. Requests count by the 10 s window in which
they came in. A request that is not answered within its objective is a miss: late, refused, lost, or still waiting.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.decision import SetWorkers
from autoscaler.core.observation import ReplicaState
from autoscaler.sim.controller import Controller, View, spec_of
from autoscaler.sim.engine import WINDOW_S, Engine, fine_quantile_s
from autoscaler.sim.faults import (
    AutoscalerRestart,
    Fault,
    ForeignWrite,
    NodesLeave,
    PodsNeverStart,
    TargetReset,
    WorkerKilled,
)
from autoscaler.sim.fleet import Fleet
from autoscaler.sim.observe import Observer, edges_of
from autoscaler.sim.world import MS_PER_S, World

GOAL_RATIO = 0.95
"""A window in which fewer of its requests met their objective violates it."""
S_PER_HOUR = 3600.0

Floats = NDArray[np.float64]
_Moment = WorkerKilled | TargetReset | ForeignWrite | AutoscalerRestart


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """The whole run, warm-up included, one entry for each window of 10 s (the last may be shorter)."""

    time_s: Floats
    """When the window begins."""
    offered_per_s: Floats
    attainment_ratio: Floats
    """Of the requests that came in; nan where none did."""
    p95_ms: Floats
    """Of the requests that were answered in the window; nan where none was."""
    replicas: Floats
    """Running at the window's end."""
    slots: Floats
    """Held in the mean over the window. For one model: slots its replicas fill at the window's end."""
    wanted: Floats
    """Ray Serve's target at the window's end, before what is decided at that very moment."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Service:
    """What clients felt after the warm-up. Times in ms; nan where nothing was answered or offered."""

    offered: int
    attainment_ratio: float
    """Requests answered within their objective / requests that came in."""
    refused: int
    failed: int
    """Lost with a replica that was killed."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    violation_s: float
    """Time in windows of which fewer than 95 % of the requests met their objective; over models: of any of them."""
    recover_s: float
    """The longest of these without a break."""
    timeline: Timeline


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelOutcome(Service):
    """One model's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome(Service):
    """The fleet's: all models together, and what it cost."""

    models: Mapping[str, ModelOutcome]
    slot_hours: float
    """Slots held by our workers, from their binding until their pods are gone."""
    changes: int
    """How often the controller gave a model another target."""
    changes_per_hour: float
    card_hours: float
    """The same in cards: each slot as the part of its card that it is."""
    killed: int
    """Replicas whose worker was deleted or lost while they lived in it, over the whole run."""


def run(  # noqa: PLR0913 - the whole of an experiment, named one by one
    world: World,
    arrivals: Mapping[str, Floats],
    controller: Controller,
    *,
    seed: int,
    span_s: float,
    warm_up_s: float = 0.0,
    faults: Sequence[Fault] = (),
) -> Outcome:
    """Simulate `span_s`; windows that begin before `warm_up_s` are not counted.

    `arrivals` maps model names to rising times (s). Equal arguments give equal outcomes. Raises `ValueError` for
    arguments that make no sense.
    """
    counted_from = math.ceil(warm_up_s / WINDOW_S)
    if not 0 <= counted_from * WINDOW_S < span_s < math.inf:
        raise ValueError(
            f"span_s is {span_s} and warm_up_s is {warm_up_s}; leave at least one whole window of {WINDOW_S:g} s "
            f"that begins between the two"
        )
    if controller.interval_s <= 0:
        raise ValueError(f"interval_s of the controller is {controller.interval_s}; above 0")
    within_span = {name: times[: np.searchsorted(times, span_s)] for name, times in arrivals.items()}
    engine = Engine(world, within_span, seed=seed, edges_s=edges_of(world))
    never_start = [fault for fault in faults if isinstance(fault, PodsNeverStart)]
    leaves = [fault for fault in faults if isinstance(fault, NodesLeave)]
    fleet = Fleet(world, engine, seed=seed, never_start=never_start, leaves=leaves)
    clock = _Run(world, engine, fleet, controller, Observer(fleet, engine, faults=faults, seed=seed))
    clock.expect(faults)
    ends_s = [*(WINDOW_S * index for index in range(math.ceil(span_s / WINDOW_S))), span_s]
    book = _Book(engine, fleet, ends_s)
    for place, end_s in enumerate(ends_s):
        clock.run_to(end_s)
        book.note(place, is_counted_from=place == counted_from)
    # What came in last has its time to be answered; nobody is steered or billed in it.
    engine.advance(span_s + max(model.objective_s for model in world.models))
    return book.outcome(counted_from)


class _Run:
    """The clock of one simulation."""

    def __init__(self, world: World, engine: Engine, fleet: Fleet, controller: Controller, observer: Observer) -> None:
        self._world = world
        self._engine = engine
        self._fleet = fleet
        self._controller = controller
        self._observer = observer
        self._spec = spec_of(world)
        self._ticks = 0
        self._samples = 0
        self._moments: list[_Moment] = []

    def expect(self, faults: Sequence[Fault]) -> None:
        """Take in which moments bring a fault."""
        moments = [fault for fault in faults if isinstance(fault, _Moment)]
        self._moments = sorted(moments, key=lambda fault: fault.at_s)

    def run_to(self, until_s: float) -> None:
        """Let everything happen that is due before `until_s`, and the engine reach it."""
        while True:
            tick_s = (self._ticks + 1) * self._controller.interval_s
            # Samples are taken as long before their tick as metrics are old, the first ones not before the start.
            sample_s = max(0.0, (self._samples + 1) * self._controller.interval_s - self._world.metric_age_s)
            fault_s = self._moments[0].at_s if self._moments else math.inf
            next_s = max(self._engine.now_s, min(self._fleet.next_s, fault_s, sample_s, tick_s))
            if next_s >= until_s:
                break
            self._engine.advance(next_s)
            if self._fleet.next_s <= next_s:
                self._fleet.step(next_s)
            elif fault_s <= next_s:
                self._befall(self._moments.pop(0), next_s)
            elif sample_s <= next_s:
                self._observer.sample(next_s)
                self._samples += 1
            else:
                self._tick(next_s)
                self._ticks += 1
        self._engine.advance(until_s)

    def _tick(self, now_s: float) -> None:
        seen, inventory = self._observer.look(now_s)
        view = View(now_s=now_s, seen=seen, inventory=inventory, spec=self._spec)
        for action in self._controller.tick(view):
            if isinstance(action, SetWorkers) and self._observer.is_api_away(now_s):
                break  # as in the live loop: what follows may rest on it
            if not self._fleet.apply(action, now_s):
                break

    def _befall(self, fault: _Moment, now_s: float) -> None:
        match fault:
            case WorkerKilled():
                self._fleet.kill_worker(now_s)
            case TargetReset():
                for model in self._world.models:
                    if fault.model in (None, model.name):
                        self._fleet.reset_target(model.name, fault.count)
                self._fleet.step(now_s)
            case ForeignWrite():
                pool = self._fleet.pool
                self._fleet.apply(SetWorkers(pool=pool.name, before=pool.wanted, count=fault.count), now_s)
            case AutoscalerRestart():
                self._controller.reset()


class _Book:
    """What is noted at each window's end, and the sums over it."""

    def __init__(self, engine: Engine, fleet: Fleet, ends_s: Sequence[float]) -> None:
        self._engine = engine
        self._fleet = fleet
        self._ends_s = np.array(ends_s)
        """[windows + 1], the start first."""
        size = (len(fleet.world.models), len(ends_s))
        self._running = np.zeros(size)
        self._wanted = np.zeros(size)
        self._filled = np.zeros(size)
        self._p95_ms = np.full(size, math.nan)
        self._p95_all_ms = np.full(len(ends_s), math.nan)
        self._slot_seconds = np.zeros(len(ends_s))
        self._card_seconds = np.zeros(len(ends_s))
        self._lost = np.zeros((2, *size), dtype=np.int64)
        """Refused and failed so far."""
        self._changes = np.zeros(len(ends_s), dtype=np.int64)
        self._fine = engine.fine.copy()
        self._fine_from = engine.fine.copy()

    def note(self, place: int, *, is_counted_from: bool) -> None:
        """Write down the end of window `place - 1`; place 0 is the start."""
        engine, fleet = self._engine, self._fleet
        for row, deployment in enumerate(fleet.deployments):
            self._running[row, place] = len(deployment.of(ReplicaState.RUNNING))
            self._wanted[row, place] = deployment.target
            self._filled[row, place] = sum(replica.worker is not None for replica in deployment.replicas)
            self._p95_ms[row, place] = _quantile_ms(engine.fine[row] - self._fine[row], 0.95)
        self._p95_all_ms[place] = _quantile_ms((engine.fine - self._fine).sum(axis=0), 0.95)
        self._fine = engine.fine.copy()
        self._slot_seconds[place] = fleet.slot_seconds(engine.now_s)
        self._card_seconds[place] = fleet.card_seconds(engine.now_s)
        self._lost[:, :, place] = engine.refused_m, engine.failed_m
        self._changes[place] = fleet.target_changes
        if is_counted_from:
            self._fine_from = self._fine

    def outcome(self, counted_from: int) -> Outcome:
        """Sum up what was counted from window `counted_from` on."""
        span_s = float(self._ends_s[-1] - self._ends_s[counted_from])
        changes = int(self._changes[-1] - self._changes[counted_from])
        violated, shares = [], {}
        for row, deployment in enumerate(self._fleet.deployments):
            rows = slice(row, row + 1)
            violated.append(self._violated(rows))
            timeline = self._timeline(rows, self._filled[row, 1:], self._p95_ms[row, 1:])
            shares[deployment.model.name] = ModelOutcome(**self._service(rows, counted_from, violated[-1], timeline))
        held = np.diff(self._slot_seconds) / np.diff(self._ends_s)
        every = slice(None)
        timeline = self._timeline(every, held, self._p95_all_ms[1:])
        return Outcome(
            **self._service(every, counted_from, np.logical_or.reduce(violated), timeline),
            models=shares,
            slot_hours=float(self._slot_seconds[-1] - self._slot_seconds[counted_from]) / S_PER_HOUR,
            changes=changes,
            changes_per_hour=changes * S_PER_HOUR / span_s,
            card_hours=float(self._card_seconds[-1] - self._card_seconds[counted_from]) / S_PER_HOUR,
            killed=self._fleet.killed,
        )

    def _service(
        self, rows: slice, counted_from: int, violated: NDArray[np.bool_], timeline: Timeline
    ) -> dict[str, Any]:
        offered, within = self._requests(rows)
        fine = (self._engine.fine[rows] - self._fine_from[rows]).sum(axis=0)
        refused, failed = (self._lost[:, rows, -1] - self._lost[:, rows, counted_from]).sum(axis=1).tolist()
        asked = int(offered[counted_from:].sum())
        lengths_s = np.where(violated, np.diff(self._ends_s), 0.0)[counted_from:]
        return {
            "offered": asked,
            "attainment_ratio": float(within[counted_from:].sum() / asked) if asked else math.nan,
            "refused": refused,
            "failed": failed,
            "p50_ms": _quantile_ms(fine, 0.50),
            "p95_ms": _quantile_ms(fine, 0.95),
            "p99_ms": _quantile_ms(fine, 0.99),
            "violation_s": float(lengths_s.sum()),
            "recover_s": longest_run(lengths_s),
            "timeline": timeline,
        }

    def _timeline(self, rows: slice, slots: Floats, p95_ms: Floats) -> Timeline:
        offered, within = self._requests(rows)
        return Timeline(
            time_s=self._ends_s[:-1],
            offered_per_s=offered / np.diff(self._ends_s),
            attainment_ratio=np.divide(within, offered, out=np.full(len(offered), math.nan), where=offered > 0),
            p95_ms=p95_ms,
            replicas=self._running[rows, 1:].sum(axis=0),
            slots=slots,
            wanted=self._wanted[rows, 1:].sum(axis=0),
        )

    def _violated(self, rows: slice) -> NDArray[np.bool_]:
        offered, within = self._requests(rows)
        return within < GOAL_RATIO * offered

    def _requests(self, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """By window: requests that came in, and those of them that met their objective."""
        windows = len(self._ends_s) - 1
        padding = np.zeros(windows, dtype=np.int64)
        offered, within = (
            np.concatenate((counts[rows].sum(axis=0), padding))[:windows]
            for counts in (self._engine.offered_w, self._engine.within_w)
        )
        return offered, within


def longest_run(lengths_s: Floats) -> float:
    """The largest sum of neighbours above 0."""
    longest_s = run_s = 0.0
    for length_s in lengths_s.tolist():
        run_s = run_s + length_s if length_s > 0 else 0.0
        longest_s = max(longest_s, run_s)
    return longest_s


def _quantile_ms(counts: NDArray[np.int64], quantile: float) -> float:
    return fine_quantile_s(counts, quantile) * MS_PER_S
