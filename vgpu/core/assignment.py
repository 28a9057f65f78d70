"""Which GPU of one node each container of a pod gets, and what the pod then keeps of each GPU.

Containers that run at the same time add up on a GPU; init containers run one after the other and before the rest, so a
GPU keeps the most it needs at any time, never the sum over all times. The pod keeps that for its whole life, as
Kubernetes' own accounting does.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vgpu.core.request import Ask, Stage

Gpu = TypeVar("Gpu", bound=Hashable)

# Placements tried for one pod, over all nodes, before steps are taken back no more. Eight containers on eight GPUs fit
# with some dozens; the limit is there because packing many odd shares exactly has no bound. A node asked about after
# that gets one placement per container still, which finds most of what there is.
TRIES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """GPU indices of each ask, in the order of the asks, and the units kept of each GPU of the node."""

    gpus: tuple[tuple[int, ...], ...]
    kept_units: tuple[int, ...]


def times(asks: Sequence[Ask]) -> tuple[tuple[int, ...], ...]:
    """Tell at which times each ask runs: time 0 is when the pod is up, the others are its init containers' turns."""
    turns = sum(ask.stage is Stage.INIT for ask in asks)
    found: list[tuple[int, ...]] = []
    turn = 0
    for ask in asks:
        match ask.stage:
            case Stage.INIT:
                turn += 1
                found.append((turn,))
            case Stage.SIDECAR:  # starts after the turns so far and stays
                found.append((0, *range(turn + 1, turns + 1)))
            case Stage.MAIN:
                found.append((0,))
    return tuple(found)


def kept(asks: Sequence[Ask], gpus: Sequence[Sequence[Gpu]]) -> dict[Gpu, int]:
    """Units kept of each GPU when each ask has the GPUs given for it; above 1000 where they cannot be right."""
    used: dict[Gpu, dict[int, int]] = {}
    for ask, when, chosen in zip(asks, times(asks), gpus, strict=True):
        for gpu in chosen:
            at = used.setdefault(gpu, {})
            for time in when:
                at[time] = at.get(time, 0) + ask.units
    return {gpu: max(at.values()) for gpu, at in used.items()}


def assign(asks: Sequence[Ask], free_units: Sequence[int]) -> Assignment | None:
    """Find GPUs for all containers, the largest first, each where the pod then keeps least; None when not found."""
    return Assigner(asks).assign(free_units)


class Assigner:
    """Finds GPUs for one pod on one node after another. Nodes with the same free units, in any order, are one case."""

    def __init__(self, asks: Sequence[Ask]) -> None:
        self._asks, self._left = asks, TRIES
        self._known: dict[tuple[int, ...], Assignment | None] = {}
        at: dict[int, list[int]] = {}
        for ask, when in zip(asks, times(asks), strict=True):
            for time in when:
                at.setdefault(time, []).extend([ask.units] * ask.gpus)
        self._together = [sorted(units, reverse=True) for units in at.values()]

    def assign(self, free_units: Sequence[int]) -> Assignment | None:
        """Find GPUs on a node; None when not found."""
        order = sorted(range(len(free_units)), key=lambda gpu: (free_units[gpu], gpu))
        free = tuple(free_units[gpu] for gpu in order)
        if free not in self._known:
            self._known[free] = self._search(free) if self._may_fit(free) else None
        found = self._known[free]
        if found is None:
            return None
        kept_units = dict(zip(order, found.kept_units, strict=True))
        return Assignment(
            gpus=tuple(tuple(sorted(order[place] for place in chosen)) for chosen in found.gpus),
            kept_units=tuple(kept_units[gpu] for gpu in range(len(order))),
        )

    def _may_fit(self, free: Sequence[int]) -> bool:
        """What must hold at every time: enough units in all, and for the largest n shares n places of the least one."""
        return all(
            sum(together) <= sum(free)
            and all(count <= sum(room // units for room in free) for count, units in enumerate(together, 1))
            for together in self._together
        )

    def _search(self, free: Sequence[int]) -> Assignment | None:
        search = _Search(self._asks, free, max(self._left, len(self._asks)))
        is_found = search.place(0)
        self._left = search.left
        if not is_found:
            return None
        return Assignment(gpus=tuple(search.chosen), kept_units=tuple(max(used) for used in search.used))


class _Search:
    """Depth first over the asks in falling size, with `left` placements to try."""

    def __init__(self, asks: Sequence[Ask], free_units: Sequence[int], left: int) -> None:
        self.asks, self.free = asks, free_units
        self.times = times(asks)
        self.order = sorted(range(len(asks)), key=lambda at: (-asks[at].units * asks[at].gpus, at))
        turns = 1 + max((time for when in self.times for time in when), default=0)
        self.used = [[0] * turns for _ in free_units]
        self.chosen: list[tuple[int, ...]] = [()] * len(asks)
        self.left = left

    def place(self, depth: int) -> bool:
        """Place the asks from this depth on."""
        if depth == len(self.order):
            return True
        at = self.order[depth]
        for gpus in self.options(at):
            self.left -= 1
            if self.left < 0:
                return False
            self.add(at, gpus, 1)
            self.chosen[at] = gpus
            if self.place(depth + 1):
                return True
            self.add(at, gpus, -1)
        return False

    def add(self, at: int, gpus: Sequence[int], sign: int) -> None:
        for gpu in gpus:
            for time in self.times[at]:
                self.used[gpu][time] += sign * self.asks[at].units

    def options(self, at: int) -> list[tuple[int, ...]]:
        """The GPUs for one ask, best first; of GPUs in the same state only the first."""
        ask = self.asks[at]
        ranked = []
        for gpu, free in enumerate(self.free):
            had = max(self.used[gpu])
            has = max(had, *(self.used[gpu][time] + ask.units for time in self.times[at]))
            if has <= free:
                ranked.append((has - had, free - has, gpu))
        ranked.sort()
        if ask.gpus > 1:
            return [tuple(sorted(gpu for _, _, gpu in ranked[: ask.gpus]))] if len(ranked) >= ask.gpus else []
        seen = set()
        options: list[tuple[int, ...]] = []
        for _, _, gpu in ranked:
            state = (self.free[gpu], tuple(self.used[gpu]))
            if state not in seen:
                seen.add(state)
                options.append((gpu,))
        return options
