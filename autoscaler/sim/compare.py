"""Control laws against the same loads: policies x settings x seeds -> rows, and the setting to choose of each.

Protocol. One run goes through the whole span. Its first half is for training: a baseline's setting is chosen by what it
did there. Every figure that is reported comes from the second half, which no choice has seen. Ours has one setting, the
product's own. A seed gives the same arrivals and the same neighbours to every policy.
"""

import math
import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass

import numpy as np

from autoscaler.core.spec import GuardrailSettings, PolicySettings
from autoscaler.refusal import Refused
from autoscaler.sim.baselines import LAWS
from autoscaler.sim.baselines.grid import Setting
from autoscaler.sim.controller import Controller, Ours
from autoscaler.sim.demand import Demand, draw
from autoscaler.sim.engine import WINDOW_S
from autoscaler.sim.frontier import Floats, Results
from autoscaler.sim.simulation import Outcome, Timeline, run
from autoscaler.sim.world import World

OURS = "ours"
BOUND = "clairvoyant"
TRAINING_RATIO = 0.5
# A fleet starts with too few replicas for any load: what that costs is the same for every law and is left out.
LEAD_IN_S, LEAD_IN_RATIO = 300.0, 0.1
GOAL_RATIO = 0.95
# Six windows to train on and six to count.
LEAST_SPAN_S = 120.0

Say = Callable[[int, int], None]
"""Told after each run how many are done, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A policy with one setting; None is ours, with the product's defaults."""

    policy: str
    setting: Setting | None = None

    @property
    def numbers(self) -> dict[str, float]:
        """The setting's numbers by name; what is a word is told by the policy's name. Ours are the product's own."""
        if self.setting is not None:
            return _numbers(self.setting.numbers)
        return {
            **_numbers(asdict(PolicySettings()), "policy."),
            **_numbers(asdict(GuardrailSettings()), "guardrails."),
        }

    @property
    def name(self) -> str:
        """The policy, and those of its numbers that are not its source's own."""
        return self.policy if self.setting is None else self.setting.name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """What every candidate goes through."""

    world: World
    demand: Demand
    scales: Mapping[str, float]
    """By model."""
    seeds: tuple[int, ...]
    span_s: float
    counted_from_s: float
    """What comes before is simulated and not counted."""
    trained_from_s: float | None = None
    """Training lies between this and `counted_from_s`; None without training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run: what was counted in it. Times of requests in ms; nan where nothing was counted."""

    policy: str
    is_default: bool
    """The law the product uses by default."""
    setting: Mapping[str, float]
    seed: int
    attainment_ratio: float
    violation_s: float
    slot_hours: float
    changes_per_hour: float
    recover_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    offered: int
    refused: int
    failed: int
    training_attainment_ratio: float | None = None
    training_slot_hours: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """All runs of one candidate, a row for each seed in the order of the seeds, and the first seed's timeline."""

    candidate: Candidate
    rows: tuple[Row, ...]
    timeline: Timeline

    def mean(self, name: str) -> float:
        """A field's mean over the seeds; nan where a seed has none."""
        values = [getattr(row, name) for row in self.rows]
        return math.nan if None in values else float(np.mean(values))


def _numbers(given: Mapping[str, object], prefix: str = "") -> dict[str, float]:
    return {
        prefix + name: value
        for name, value in given.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def candidates(policies: Sequence[str], *, is_tuned: bool) -> tuple[Candidate, ...]:
    """Ours once; a baseline with its whole grid where it is tuned, else as its source ships it. Raises `Refused`."""
    known = (OURS, *LAWS)
    if unknown := [name for name in policies if name not in known]:
        raise Refused("\n".join(f"no policy {name!r}; choose from {', '.join(known)}" for name in unknown))
    chosen = []
    for policy in dict.fromkeys(policies):
        if policy == OURS:
            chosen.append(Candidate(policy=OURS))
        else:
            settings = LAWS[policy].grid if is_tuned else LAWS[policy].grid[:1]
            chosen += [Candidate(policy=policy, setting=setting) for setting in settings]
    return tuple(chosen)


def prepare(world: World, demand: Demand, scales: Mapping[str, float], *, seeds: int, is_tuned: bool) -> Study:
    """The study of a demand: with training on its first half, or counted after a lead-in of at most five minutes.

    Raises `Refused` for a span in which nothing can be told.
    """
    span_s = demand.trace(1).span_s
    if span_s < LEAST_SPAN_S:
        raise Refused(f"{demand.name}: {span_s:g} s are too short to tell; give at least {LEAST_SPAN_S:g} s")
    middle_s = span_s * TRAINING_RATIO
    lead_in_s = min(LEAD_IN_S, LEAD_IN_RATIO * span_s)
    return Study(
        world=world,
        demand=demand,
        scales=scales,
        seeds=tuple(range(1, seeds + 1)),
        span_s=span_s,
        counted_from_s=middle_s if is_tuned else lead_in_s,
        trained_from_s=lead_in_s if is_tuned else None,
    )


def sweep(study: Study, chosen: Sequence[Candidate], *, jobs: int, say: Say) -> tuple[Sweep, ...]:
    """Run every candidate under every seed, `jobs` at a time; the result does not depend on `jobs`."""
    tasks = [(candidate, seed) for candidate in chosen for seed in study.seeds]
    ended = _in_turn(study, tasks, say) if jobs == 1 or len(tasks) == 1 else _at_once(study, tasks, jobs, say)
    each = len(study.seeds)
    return tuple(
        Sweep(
            candidate=candidate,
            rows=tuple(row for row, _ in ended[index * each : (index + 1) * each]),
            timeline=ended[index * each][1],
        )
        for index, candidate in enumerate(chosen)
    )


def results(sweeps: Sequence[Sweep]) -> Results:
    """One policy's sweeps as arrays, [seeds, settings]."""

    def table(name: str) -> Floats:
        return np.array([[getattr(row, name) for row in each.rows] for each in sweeps], dtype=np.float64).T

    # Where nothing was asked for, nothing was missed.
    served = np.nan_to_num(table("attainment_ratio"), nan=1.0)
    return Results(attainment_ratio=served, slot_hours=table("slot_hours"))


def tuned(sweeps: Sequence[Sweep], *, goal_ratio: float) -> Sweep:
    """The sweep whose setting an operator would choose after the training span.

    Of those that reach the goal there, the one with the fewest slot-hours; where none does, the one that comes nearest.
    Means over the seeds.
    """
    reached = [each for each in sweeps if each.mean("training_attainment_ratio") >= goal_ratio]
    if reached:
        return min(reached, key=lambda each: each.mean("training_slot_hours"))
    return max(sweeps, key=lambda each: (each.mean("training_attainment_ratio"), -each.mean("training_slot_hours")))


def goal_of(sweeps: Sequence[Sweep]) -> float:
    """What tuning aims at: 95 %, as the objective says, or what ours reaches in training where that is less."""
    ours = [each.mean("training_attainment_ratio") for each in sweeps if each.candidate.policy == OURS]
    return min([GOAL_RATIO, *ours])


def _in_turn(study: Study, tasks: Sequence[tuple[Candidate, int]], say: Say) -> list[tuple[Row, Timeline]]:
    ended = []
    for candidate, seed in tasks:
        ended.append(measure(study, candidate, seed))
        say(len(ended), len(tasks))
    return ended


def _at_once(study: Study, tasks: Sequence[tuple[Candidate, int]], jobs: int, say: Say) -> list[tuple[Row, Timeline]]:
    # Not forked: a copy of a process that has threads, as a progress bar is one, may hang on their locks.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max_workers=min(jobs, len(tasks)), mp_context=context, initializer=_ignore_ctrl_c)
    try:
        futures = [pool.submit(measure, study, candidate, seed) for candidate, seed in tasks]
        for count, future in enumerate(as_completed(futures), start=1):
            future.result()
            say(count, len(tasks))
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        remedy = f"if memory was short, try --jobs {max(1, jobs // 2)}"
        raise Refused(f"a process that simulated ended without a word; {remedy}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_ctrl_c() -> None:
    """Ctrl-C reaches every process of the terminal; the one that started these ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def measure(study: Study, candidate: Candidate, seed: int) -> tuple[Row, Timeline]:
    """One run."""
    times, span_s = draw(study.demand, study.world, study.scales, seed=seed)
    controller: Controller = Ours()
    if candidate.setting is not None:
        controller = candidate.setting.controller(study.world, times)
    outcome = run(study.world, times, controller, seed=seed, span_s=span_s, warm_up_s=study.counted_from_s)
    training = None
    if study.trained_from_s is not None:
        training = trained(outcome.timeline, study.trained_from_s, study.counted_from_s)
    return _row(candidate, seed, outcome, training), outcome.timeline


def trained(timeline: Timeline, from_s: float, to_s: float) -> tuple[float, float]:
    """Attainment and slot-hours of the windows that begin in [from_s, to_s)."""
    inside = (timeline.time_s >= from_s) & (timeline.time_s < to_s)
    offered = timeline.offered_per_s[inside]
    within = np.nansum(timeline.attainment_ratio[inside] * offered)
    attained = float(within / offered.sum()) if offered.sum() else 1.0
    return attained, float(timeline.slots[inside].sum() * WINDOW_S / 3600)


def _row(candidate: Candidate, seed: int, outcome: Outcome, training: tuple[float, float] | None) -> Row:
    attained, slot_hours = training or (None, None)
    return Row(
        policy=candidate.policy,
        is_default=candidate.policy == OURS,
        setting=candidate.numbers,
        seed=seed,
        attainment_ratio=outcome.attainment_ratio,
        violation_s=outcome.violation_s,
        slot_hours=outcome.slot_hours,
        changes_per_hour=outcome.changes_per_hour,
        recover_s=outcome.recover_s,
        p50_ms=outcome.p50_ms,
        p95_ms=outcome.p95_ms,
        p99_ms=outcome.p99_ms,
        offered=outcome.offered,
        refused=outcome.refused,
        failed=outcome.failed,
        training_attainment_ratio=attained,
        training_slot_hours=slot_hours,
    )
