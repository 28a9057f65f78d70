"""Whether replicas find slots: a maximum flow from models, over the slot types each may take, to the slots."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """So many replicas of one model, each of which takes one slot of any of these types (labels)."""

    name: str
    count: int
    slot_types: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count of {self.name!r} is {self.count}; a model needs 0 replicas or more")


def seat(demands: Sequence[Demand], slots: Mapping[str, int]) -> Mapping[str, int]:
    """Return by name how many replicas find no slot; {} where all do. Raises `ValueError` where a name comes twice.

    As many are seated as can be (Ford and Fulkerson 1956: one augmenting path a replica, the shortest). Where not all
    are, those of earlier demands go first: a path moves who is seated to another type and never unseats anybody.
    """
    types = {demand.name: demand.slot_types for demand in demands}
    if len(types) < len(demands):
        raise ValueError(f"a name comes twice in {', '.join(demand.name for demand in demands)}; join its counts")
    free = dict(slots)
    seated: dict[tuple[str, str], int] = {}
    unseated: dict[str, int] = {}
    for demand in demands:
        for missing in range(demand.count, 0, -1):
            path = _path(demand.name, types, free, seated)
            if path is None:
                unseated[demand.name] = missing
                break
            for name, old, new in path:
                seated[name, new] = seated.get((name, new), 0) + 1
                if old is not None:
                    seated[name, old] -= 1
            free[path[-1][2]] -= 1
    return unseated


_Move = tuple[str, str | None, str]
"""Who takes a slot, of which type it had one before, and of which type it takes one."""


def _path(
    name: str, types: Mapping[str, tuple[str, ...]], free: Mapping[str, int], seated: Mapping[tuple[str, str], int]
) -> list[_Move] | None:
    """The shortest chain of moves that ends at a free slot and lets `name` take one more."""
    found: dict[str, list[_Move]] = {}
    waiting: deque[str] = deque()
    for kind in types[name]:
        if kind not in found:
            found[kind] = [(name, None, kind)]
            waiting.append(kind)
    while waiting:
        kind = waiting.popleft()
        if free.get(kind, 0) > 0:
            return found[kind]
        for other, others in types.items():
            if seated.get((other, kind), 0) == 0:
                continue
            for next_kind in others:
                if next_kind not in found:
                    found[next_kind] = [*found[kind], (other, kind, next_kind)]
                    waiting.append(next_kind)
    return None
