"""One run: pods arrive one at a time and stay; what fits nowhere is dropped and the next one comes.

The procedure of FGD's evaluation (Weng et al., USENIX ATC 2023, and its simulator): shuffle the list; while the units
asked for are below 130 % of all GPUs, add copies of pods drawn with replacement; a longer list loses pods. The x axis
is demand: the units of all pods that arrived so far in percent of all units, rounded. Nodes get a new order for each
seed; under the fixed rule the first of the best in this order takes the pod, under the random rule any of the best.
"""

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from vgpu.core.fractions.board import Board
from vgpu.core.fractions.bound import most_allocated_units
from vgpu.core.fractions.demand import Demand
from vgpu.core.fractions.host import Host
from vgpu.core.fractions.policies import POLICIES, FragmentationGradient
from vgpu.core.fractions.shape import WHOLE_UNITS, Shape
from vgpu.core.fractions.tables import Tables

DEMAND_RATIO = 1.3
"""Arrivals end here."""
TYPICAL_RATIO = 0.95
"""FGD's typical pods are the most frequent classes that make up this part of a list."""
FULL = 100
"""Percent of demand at which results are compared."""
SAMPLES_PER_PERCENT = 4
"""How often the fragmentation of the cluster is summed up on the way."""


class TieBreak(StrEnum):
    """Which of equally good hosts."""

    FIXED = "fixed"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """What a study is about."""

    nodes: tuple[Host, ...]
    pods: tuple[Shape, ...]

    @property
    def gpus(self) -> int:
        return sum(len(host.free_units) for host in self.nodes)

    @property
    def capacity_units(self) -> int:
        return self.gpus * WHOLE_UNITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One policy, one tie-break, one seed."""

    policy: str
    tie_break: TieBreak
    seed: int
    allocated_ratio: Mapping[int, float]
    """By demand in percent: units allocated, as a part of all units."""
    fragmentation_ratio: Mapping[int, float]
    """By demand in percent: F over all nodes, as a part of all units."""
    seconds: float

    @property
    def allocated_ratio_at_100(self) -> float:
        return _at(self.allocated_ratio, FULL)

    @property
    def fragmentation_ratio_at_100(self) -> float:
        return _at(self.fragmentation_ratio, FULL)


def arrivals(lists: Lists, seed: int) -> list[Shape]:
    """The pods of one run in their order."""
    random_state = np.random.default_rng(seed)
    units = np.array([pod.total_units for pod in lists.pods], dtype=np.int64)
    target = DEMAND_RATIO * lists.capacity_units
    order = random_state.permutation(len(units))
    asked = int(units.sum())
    if asked > target:
        order = order[: int(np.searchsorted(np.cumsum(units[order]), target))]
    while asked <= target:
        more = random_state.integers(len(units), size=1024)
        sums = asked + np.cumsum(units[more])
        kept = int(np.searchsorted(sums, target, side="right"))
        order = np.concatenate((order, more[:kept]))
        if kept < len(more):
            break
        asked = int(sums[-1])
    return [lists.pods[place] for place in order.tolist()]


def run(lists: Lists, policy: str, tie_break: TieBreak, seed: int) -> Run:
    """Let all pods of one run arrive."""
    pods = arrivals(lists, seed)
    typical = Demand.known(Counter(lists.pods), coverage_ratio=TYPICAL_RATIO)
    start = time.perf_counter()
    board = _board(policy, tie_break, seed, typical)
    hosts = _ordered(lists.nodes, seed)
    for host in hosts.values():
        board.put(host)
    tables = Tables(typical.classes(), board.models, max(len(host.free_units) for host in lists.nodes))
    asked = allocated = 0
    capacity = lists.capacity_units
    allocations: dict[int, list[int]] = {}
    fragments: dict[int, float] = {}
    for pod in pods:
        asked += pod.total_units
        board.arrived(pod)
        choice = board.choose(pod)
        if choice is not None:
            host = hosts[choice.host] = hosts[choice.host].without(pod, choice.gpus)
            board.put(host)
            allocated += pod.total_units
        allocations.setdefault(round(asked / capacity * 100), []).append(allocated)
        step = asked * 100 * SAMPLES_PER_PERCENT // capacity
        if step not in fragments:
            fragments[step] = float(tables.fragmentation(board.rows).sum()) / tables.pods
    return Run(
        policy=policy,
        tie_break=tie_break,
        seed=seed,
        allocated_ratio={x: sum(each) / len(each) / capacity for x, each in allocations.items()},
        fragmentation_ratio=_by_percent(fragments, capacity),
        seconds=time.perf_counter() - start,
    )


def _board(policy: str, tie_break: TieBreak, seed: int, typical: Demand) -> Board:
    """A board of the policy, without hosts."""
    chosen, draws = POLICIES[policy], random.Random(seed)
    has_draw = chosen.draws or tie_break is TieBreak.RANDOM
    return Board(
        chosen,
        # FGD's authors give it the classes of the whole list in advance. Every other policy learns from arrivals.
        demand=typical if policy == FragmentationGradient.name else None,
        draw=(lambda count: int(draws.random() * count)) if has_draw else None,
    )


def bound_ratio(lists: Lists) -> float:
    """What no policy exceeds when demand is 100 %: the list's mix in this amount, as a part of all units."""
    asked: Counter[int] = Counter()
    for pod in lists.pods:
        asked[pod.units] += pod.gpus
    total = sum(size * count for size, count in asked.items())
    scale = lists.capacity_units / total
    return most_allocated_units(lists.gpus, {size: count * scale for size, count in asked.items() if size}) / (
        lists.capacity_units
    )


def _ordered(nodes: Sequence[Host], seed: int) -> dict[str, Host]:
    """Nodes under names whose order is the seed's, as the authors' simulator does it."""
    order = np.random.default_rng([seed, 1]).permutation(len(nodes)).tolist()
    named = (replace(nodes[place], name=f"{rank:06d}-{nodes[place].name}") for rank, place in enumerate(order))
    return {host.name: host for host in named}


def _by_percent(fragments: Mapping[int, float], capacity: int) -> dict[int, float]:
    """The mean of the samples that round to each percent."""
    samples: dict[int, list[float]] = {}
    for step, units in fragments.items():
        samples.setdefault(round(step / SAMPLES_PER_PERCENT), []).append(units / capacity)
    return {x: sum(each) / len(each) for x, each in samples.items()}


def _at(curve: Mapping[int, float], percent: int) -> float:
    """The value there, or the last one before: few pods may jump over it."""
    before = [x for x in curve if x <= percent]
    return curve[max(before)] if before else 0.0
