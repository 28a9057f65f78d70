"""E10: how true ours' own picture of the world is: late requests foretold, costs learned, slow-down of neighbours.

What the law works out on the way is listened to where it is worked out: the capacity behind each need, and the stretch
of every replica that teaches a cost. Nothing is changed by that.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from autoscaler.core import service as core_service
from autoscaler.core import situation as core_situation
from autoscaler.core.bearable import PROMISE_RATIO, Ability, Bearable
from autoscaler.core.candidates import late_ratio
from autoscaler.core.contention import Contention
from autoscaler.core.decide import decide
from autoscaler.core.decision import Action
from autoscaler.core.observation import ReplicaSample
from autoscaler.core.replicas import FreshReplica
from autoscaler.core.state import State
from autoscaler.sim.controller import INTERVAL_S, View
from autoscaler.sim.demand import Demand, draw
from autoscaler.sim.engine import WINDOW_S
from autoscaler.sim.simulation import Outcome, run
from autoscaler.sim.world import World, default_world
from tests.bench.law import pictures
from tests.bench.law.direct import the_model
from tests.bench.law.fronts import study_of
from tests.bench.law.ledger import in_order
from tests.bench.law.options import Options, main
from tests.bench.law.report import Cell, Mark, Report, Table, percent

LOADS = ("diurnal", "on-off", "ramp")
EDGES = (0.0, 0.001, 0.005, 0.02, 0.05, 0.2, 0.5, 1.0)
SETTLED_S = 60.0
MOST_ERROR = 0.10
STRETCH_OVER_S = 60.0
Points = list[tuple[float, float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """What the law thought in one tick."""

    now_s: float
    running: int
    bears: Bearable
    """What so many replicas bear, by the formulas and the trust in them."""
    solo_s: float
    engine_s: float
    trim: float
    """Distrust in the formulas, in `bears` already."""


@dataclass
class Listening:
    """Ours, and what it says to itself."""

    world: World
    interval_s: float = INTERVAL_S
    foretold: list[Foretold] = field(default_factory=list)
    stretches: list[tuple[float, float, float]] = field(default_factory=list)
    """(when, foretold mean over the teaching replicas, true mean over all)."""
    _state: State = field(default_factory=State)
    _waits: list[float] = field(default_factory=list)
    _capacity: list[tuple[Bearable, core_service.Demand]] = field(default_factory=list)
    _before: dict[str, ReplicaSample] = field(default_factory=dict)

    def tick(self, view: View) -> Sequence[Action]:
        self._waits, self._capacity = [], []
        with (
            _heard(core_situation, "learn", self._hear_stretches),
            _heard(core_situation, "bearable", self._hear_capacity),
        ):
            self._state, plan = decide(view.spec, self._state, view.seen, view.inventory, view.now_s)
        self._note(view)
        return plan.actions

    def reset(self) -> None:
        self._state = State()

    def _hear_stretches(
        self, _: Any, __: Any, fresh: Sequence[FreshReplica], contention: Contention, warm: frozenset[str]
    ) -> None:
        beside = [contention.beside(each.slot_id or "") for each in fresh if each.replica_id in warm]
        self._waits += [
            each.stretch for each in beside if each is not None and each.others_ratio <= core_service.TELLING_RATIO
        ]

    def _hear_capacity(self, told: list[Bearable], abilities: Sequence[Ability], *_: Any) -> None:
        self._capacity += [(bears, ability.demand) for bears, ability in zip(told, abilities, strict=True)]

    def _note(self, view: View) -> None:
        name = the_model(self.world).name
        running = len(view.seen.deployments[0].running_ids)
        for bears, demand in self._capacity:
            if 0 < running < len(bears.limits_per_s):
                self.foretold.append(
                    Foretold(
                        now_s=view.now_s,
                        running=running,
                        bears=bears,
                        solo_s=demand.solo_s,
                        engine_s=demand.engine_s,
                        trim=self._state.models[name].learned.trust.trim,
                    )
                )
        true = self._true_stretch(view)
        if self._waits and true is not None:
            self.stretches.append((view.now_s, float(np.mean(self._waits)), true))

    def _true_stretch(self, view: View) -> float | None:
        """From what replicas and slots measured: engine time with its waits over engine time without."""
        service = the_model(self.world).service
        used = {reading.slot_id: reading.busy_ratio for reading in view.seen.slots}
        waited_s = engine_s = 0.0
        for sample in view.seen.replicas:
            before = self._before.get(sample.replica_id)
            self._before[sample.replica_id] = sample
            if before is None or sample.slot_id not in used:
                continue
            batches = (sample.counters.batches or 0) - (before.counters.batches or 0)
            busy_s = sample.counters.engine_busy_s - before.counters.engine_busy_s
            waited_s += busy_s - batches * service.host_ms / 1000
            engine_s += used[sample.slot_id] * (sample.at_s - before.at_s)
        return waited_s / engine_s if engine_s > 0 else None


@contextmanager
def _heard(module: Any, name: str, listen: Callable[..., None]) -> Iterator[None]:
    """Tell `listen` each answer of a module's function, and what it was asked."""
    told = getattr(module, name)

    def answer(*given: Any, **named: Any) -> Any:
        result = told(*given, **named)
        listen(result, *given, **named)
        return result

    setattr(module, name, answer)
    try:
        yield
    finally:
        setattr(module, name, told)


def measure(options: Options) -> Report:
    """Every shape under every seed, on the default fleet."""
    loads = [name for name in LOADS if options.asks_for(name, options.loads)]
    tasks = [(load, seed, options.span_s) for load in loads for seed in options.seed_list]
    ended = in_order(_run, tasks, jobs=options.jobs)
    points = [point for points, _ in ended for point in points]
    rows = _reliability(points)
    signed = {key: float(np.median(np.concatenate([each[key] for _, each in ended]))) for key in ended[0][1]}
    trim = signed.pop("trim")
    errors = {key: float(np.median(np.abs(np.concatenate([each[key] for _, each in ended])))) for key in signed}
    drawn = pictures.reliability(*(list(column) for column in zip(*[row[1:4] for row in rows], strict=True)))
    return Report(
        name="E10",
        title="is its own picture of the world true",
        setup=(
            f"The default fleet under {', '.join(loads)}, {options.seeds} seeds. Late requests: foretold for the rate "
            "that came, by what ours believes of its replicas; windows of 10 s in which no replica came or went. "
            f"Stretch: engine time with waits over without, {STRETCH_OVER_S:g} s means over the replicas."
        ),
        tables=(
            Table(
                title="Late requests, part of all",
                headings=("foretold from", "foretold", "measured", "requests"),
                rows=tuple(rows),
            ),
            Table(
                title="Median relative error",
                headings=("quantity", "error", "with its sign"),
                rows=tuple((key, percent(value), f"{signed[key]:+.2%}") for key, value in errors.items()),
            ),
        ),
        marks=(
            *(
                Mark(
                    demanded=f"median error of the {key} below {MOST_ERROR:.0%}",
                    found=percent(value),
                    passed=value < MOST_ERROR,
                )
                for key, value in errors.items()
            ),
            _cautious(points),
        ),
        figures={"median_trim": trim},
        pictures=(drawn,),
    )


def _cautious(points: Points) -> Mark:
    """Where the law believes to keep its promise it must be kept."""
    kept = np.array([point for point in points if point[0] <= PROMISE_RATIO])
    late = float(np.average(kept[:, 1], weights=kept[:, 2])) if len(kept) else 0.0
    return Mark(
        demanded=f"where at most {PROMISE_RATIO:.0%} late are foretold no more are measured",
        found=percent(late),
        passed=late <= PROMISE_RATIO,
    )


def _reliability(points: Points) -> list[tuple[Cell, float, float, float]]:
    rows: list[tuple[Cell, float, float, float]] = []
    for low, high in pairwise(EDGES):
        inside = np.array([point for point in points if low <= point[0] and (point[0] < high or high == 1.0)])
        if len(inside):
            foretold, measured = (float(np.average(inside[:, at], weights=inside[:, 2])) for at in (0, 1))
            rows.append((f"{low:.1%} to {high:.1%}", foretold, measured, float(inside[:, 2].sum())))
    return rows


def _run(task: tuple[str, int, float]) -> tuple[Points, dict[str, np.ndarray]]:
    load, seed, span_s = task
    study = study_of(default_world(), Demand(source=load, span_s=span_s), seeds=1)
    times, span_s = draw(study.demand, study.world, study.scales, seed=seed)
    listening = Listening(world=study.world)
    outcome = run(study.world, times, listening, seed=seed, span_s=span_s)
    return _points(listening, outcome), _errors(listening)


def _points(listening: Listening, outcome: Outcome) -> Points:
    """(foretold, measured, requests) of each window."""
    timeline = outcome.timeline
    points = []
    since_s, running = 0.0, 0
    for told in listening.foretold:
        if told.running != running:
            since_s, running = told.now_s, told.running
        place = int(told.now_s // WINDOW_S)
        if told.now_s % WINDOW_S or told.now_s - since_s < SETTLED_S or place >= len(timeline.time_s):
            continue
        rate_per_s = float(timeline.offered_per_s[place])
        if timeline.replicas[place] != told.running or rate_per_s <= 0:
            continue
        bears, running = told.bears, told.running
        late = late_ratio(bears.rates_per_s[running], bears.limits_per_s[running], rate_per_s, bears.allowed_late_ratio)
        points.append((late, 1 - float(timeline.attainment_ratio[place]), rate_per_s * WINDOW_S))
    return points


def _errors(listening: Listening) -> dict[str, np.ndarray]:
    service = the_model(listening.world).service
    solo_s, engine_s = service.solo_ms() / 1000, service.engine_ms / 1000
    learned = [told for told in listening.foretold if told.now_s > listening.foretold[-1].now_s / 2]
    heard = np.array(listening.stretches)
    groups = (heard[:, 0] // STRETCH_OVER_S).astype(int)
    means = np.array([heard[groups == group, 1:].mean(axis=0) for group in np.unique(groups)])
    return {
        "learned service time": np.array([told.solo_s / solo_s - 1 for told in learned]),
        "learned engine part": np.array([told.engine_s / engine_s - 1 for told in learned]),
        "stretch by neighbours": means[:, 0] / means[:, 1] - 1,
        "trim": np.array([told.trim for told in learned]),
    }


if __name__ == "__main__":
    main("e10", __doc__, measure)
