"""Ours, with its one setting, against the tuned grids of the baselines: what each takes where it serves as well."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoscaler.sim import compare
from autoscaler.sim.baselines import LAWS
from autoscaler.sim.baselines.grid import Setting
from autoscaler.sim.compare import BOUND, OURS, Candidate, Row, Study, Sweep
from autoscaler.sim.demand import Demand, fitting_scales
from autoscaler.sim.frontier import cost_at, pareto
from autoscaler.sim.report import Summary, summarise
from autoscaler.sim.simulation import Timeline
from autoscaler.sim.world import World
from tests.bench.law.ledger import Ledger, Run, carry_out
from tests.bench.law.options import Options

NOTHING = np.empty(0)
NO_TIMELINE = Timeline(
    time_s=NOTHING, offered_per_s=NOTHING, attainment_ratio=NOTHING, p95_ms=NOTHING, replicas=NOTHING, slots=NOTHING,
    wanted=NOTHING,
)  # fmt: skip
# Settings this near to their front in the screening may be on it under all seeds.
NEAR = 1.03
NEIGHBOURS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """One study with all its sweeps."""

    study: Study
    sweeps: tuple[Sweep, ...]
    screened: tuple[Sweep, ...]
    """Of every setting tried, under the seeds of the screening."""

    def summary(self) -> Summary:
        return summarise(self.sweeps)

    def of(self, policy: str) -> tuple[Sweep, ...]:
        return tuple(each for each in self.sweeps if each.candidate.policy == policy)

    @property
    def ours(self) -> Sweep:
        return self.of(OURS)[0]


def thinned(policy: str, every: int) -> tuple[Candidate, ...]:
    """A policy's candidates: the first setting, as shipped, and every so-manieth of the others."""
    if policy == OURS:
        return (Candidate(policy=OURS),)
    grid: Sequence[Setting] = LAWS[policy].grid
    if policy == BOUND and every > 1:
        grid = grid[:: max(1, every // 2)]
    chosen = dict.fromkeys((grid[0], *grid[1::every])) if every > 1 else dict.fromkeys(grid)
    return tuple(Candidate(policy=policy, setting=setting) for setting in chosen)


def study_of(world: World, demand: Demand, *, scales: Mapping[str, float] | None = None, seeds: int) -> Study:
    """Trained on the first half, counted in the second; the busiest minute needs 80 % of what all slots can bear."""
    chosen = fitting_scales(demand, world, seed=1) if scales is None else scales
    return compare.prepare(world, demand, chosen, seeds=seeds, is_tuned=True)


def contest(studies: Mapping[str, Study], policies: Sequence[str], options: Options) -> dict[str, Compared]:
    """All policies in all studies, screened where that is asked for."""
    ledger = Ledger(options.out, any_code=options.any_code)
    candidates = [each for policy in policies for each in thinned(policy, options.every)]
    first = options.seed_list[: options.screen] or options.seed_list
    runs = [Run(study=label, candidate=each, seed=seed) for label in studies for each in candidates for seed in first]
    rows = carry_out(studies, runs, ledger, jobs=options.jobs)
    screened = {label: _sweeps(label, candidates, first, rows) for label in studies}
    if len(first) == options.seeds:
        return {
            label: Compared(study=study, sweeps=screened[label], screened=screened[label])
            for label, study in studies.items()
        }
    kept = {label: _promising(screened[label]) for label in studies}
    rest = options.seed_list[len(first) :]
    runs = [Run(study=label, candidate=each, seed=seed) for label in studies for each in kept[label] for seed in rest]
    rows |= carry_out(studies, runs, ledger, jobs=options.jobs)
    return {
        label: Compared(
            study=study, sweeps=_sweeps(label, kept[label], options.seed_list, rows), screened=screened[label]
        )
        for label, study in studies.items()
    }


def _sweeps(
    label: str, candidates: Sequence[Candidate], seeds: Sequence[int], rows: Mapping[Run, Row]
) -> tuple[Sweep, ...]:
    return tuple(
        Sweep(
            candidate=each,
            rows=tuple(rows[Run(study=label, candidate=each, seed=seed)] for seed in seeds),
            timeline=NO_TIMELINE,
        )
        for each in candidates
    )


def _promising(sweeps: Sequence[Sweep]) -> list[Candidate]:
    """Settings that may matter at our attainment, and the one that training chooses. The rest cost time only."""
    ours = next(each for each in sweeps if each.candidate.policy == OURS)
    goal_ratio = compare.goal_of(sweeps)
    kept = [ours.candidate]
    for policy in dict.fromkeys(each.candidate.policy for each in sweeps if each is not ours):
        own = [each for each in sweeps if each.candidate.policy == policy]
        served = np.array([each.mean("attainment_ratio") for each in own])
        taken = np.array([each.mean("slot_hours") for each in own])
        front = pareto(served, taken)
        place = int(np.searchsorted(served[front], ours.mean("attainment_ratio")))
        near = front[max(0, place - NEIGHBOURS) : place + NEIGHBOURS]
        low, high = served[near].min(), served[near].max()
        for at, each in enumerate(own):
            cheap = taken[at] <= NEAR * cost_at(served, taken, float(served[at])).slot_hours
            if at in near or (low <= served[at] <= high and cheap):
                kept.append(each.candidate)
        kept.append(compare.tuned(own, goal_ratio=goal_ratio).candidate)
    return list(dict.fromkeys(kept))


def with_scale(scales: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: scale * factor for name, scale in scales.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Everywhere:
    """A baseline with one setting for all loads of a world, at our mean attainment over them."""

    policy: str
    ours_ratio: float
    """Geometric mean over the loads of our slot-hours over its own."""
    is_reached: bool


def one_setting(compared: Sequence[Compared], policy: str) -> Everywhere:
    """As an operator has it who writes one setting for whatever comes, chosen with hindsight along the front."""
    served, dearer = [], []
    ours = [next(each for each in one.screened if each.candidate.policy == OURS) for one in compared]
    names = [each.candidate.name for each in compared[0].screened if each.candidate.policy == policy]
    for name in names:
        sweeps = [next(each for each in one.screened if each.candidate.name == name) for one in compared]
        served.append(np.mean([each.mean("attainment_ratio") for each in sweeps]))
        pairs = zip(sweeps, ours, strict=True)
        dearer.append(
            np.exp(np.mean([np.log(each.mean("slot_hours") / own.mean("slot_hours")) for each, own in pairs]))
        )
    ours_served = float(np.mean([each.mean("attainment_ratio") for each in ours]))
    cost = cost_at(np.array(served), np.array(dearer), ours_served)
    return Everywhere(policy=policy, ours_ratio=1 / cost.slot_hours, is_reached=cost.is_reached)


def seeded(study: Study, seeds: Sequence[int]) -> Study:
    return replace(study, seeds=tuple(seeds))
