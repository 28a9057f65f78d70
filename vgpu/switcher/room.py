"""Whether what remains of the fleet has a seat for every replica while one GPU is switched.

What is wanted is the autoscaler's to say (`GET /v1/state`), what there is Kubernetes'. A slot that somebody else's pod
holds is no seat, nor is one on a node that is not ready, cordoned, leaving or asleep.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from vgpu.core import names
from vgpu.core.inventory import Inventory, Slot, at_once
from vgpu.core.objects import parse_inventory
from vgpu.core.request import pod_key
from vgpu.core.seats import Demand, seat
from vgpu.core.slot_type import Fraction, parse_slot_type
from vgpu.core.switching.seen import Missing

Json = Mapping[str, Any]

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one model is to have: replicas that have a place or get one, and those that no slot takes."""

    model: str
    seated: int
    unplaced: int
    slot_types: tuple[str, ...]


class View(Protocol):
    """The autoscaler, as far as the switcher asks it."""

    def wanted(self) -> tuple[Wanted, ...] | Missing:
        """What every model wants now."""
        ...


class Autoscaler:
    """The autoscaler's own HTTP address."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/v1/state"
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)

    def wanted(self) -> tuple[Wanted, ...] | Missing:
        """What every model wants; Missing where the autoscaler does not answer, or does not know."""
        try:
            answer = self._client.get(self._url)
            answer.raise_for_status()
            state = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as fault:
            return Missing(why=f"the autoscaler does not answer: {self._url}: {fault}")
        try:
            return parse_state(state)
        except (KeyError, TypeError, AttributeError, ValueError):
            return Missing(why=f"the autoscaler's answer is none that this switcher knows: {self._url}; update both")

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()


class NoServing:
    """A cluster on which nothing is served: nobody wants anything."""

    def wanted(self) -> tuple[Wanted, ...] | Missing:
        """Nothing."""
        return ()

    def close(self) -> None:
        """There is nothing to close."""


def parse_state(state: Json) -> tuple[Wanted, ...] | Missing:
    """Read what each model wants from the autoscaler's state; Missing where it does not say it of every model.

    A model about which nothing is decided yet wants what it has. What finds no slot may be far more than what has one.
    Raises `ValueError` and others at nonsense.
    """
    found: list[Wanted] = []
    for model in state.get("models", ()):
        name, count = model["name"], model.get("replicas_seated")
        count = model.get("replicas_running") if count is None else count
        if count is None or "replicas_seated" not in model:
            return Missing(why=f"the autoscaler does not know yet what model {name} wants")
        kinds = tuple(parse_slot_type(label).label for label in _texts(model["slot_types"]))
        unplaced = _count(model.get("replicas_unplaced") or 0)
        wanted = Wanted(model=str(name), seated=_count(count), unplaced=unplaced, slot_types=kinds)
        if wanted.model in {other.model for other in found}:
            raise ValueError(f"model {name} comes twice")
        found.append(wanted)
    return tuple(found)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count of replicas")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{value!r} is no list of slot types")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All slots at one moment, and which pods are workers of ours."""

    inventory: Inventory
    workers: frozenset[str]
    away: frozenset[str]
    """Nodes that are leaving or asleep."""

    def capacity(self, without: Collection[str] = ()) -> dict[str, int]:
        """Slots that workers hold or could get, by type, outside of these nodes."""
        return _counted(slot for slot in self._usable(without) if slot.holder is None or slot.holder in self.workers)

    def offered(self, without: Collection[str] = ()) -> dict[str, int]:
        """Slots by type, whoever holds them, outside of these nodes."""
        return _counted(self._usable(without))

    def strangers(self, nodes: Collection[str]) -> dict[str, int]:
        """Slots on these nodes that others' pods hold, by type."""
        held = (slot for slot in self.inventory.slots if slot.node in nodes and slot.holder is not None)
        return _counted(slot for slot in held if slot.holder not in self.workers)

    def _usable(self, without: Collection[str]) -> Iterator[Slot]:
        for node in self.inventory.nodes:
            if node.usable and node.name not in self.away and node.name not in without:
                yield from node.slots


def _counted(slots: Iterable[Slot]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for slot in _possible(slots):
        counted[slot.profile.label] = counted.get(slot.profile.label, 0) + 1
    return counted


def _possible(slots: Iterable[Slot]) -> list[Slot]:
    """Those that can be there at once: what is free of a card shared by units is listed in every size asked for."""
    by_gpu: dict[str, list[Slot]] = {}
    for slot in slots:
        by_gpu.setdefault(slot.gpu_key, []).append(slot)
    return [slot for group in by_gpu.values() for slot in at_once(tuple(group))]


def parse_fleet(nodes: Sequence[Json], pods: Sequence[Json], wanted: Iterable[Wanted] = ()) -> Fleet:
    """Read the fleet from all nodes and pods. Fractions count in the sizes that are wanted."""
    labels = {label for each in wanted for label in each.slot_types}
    sizes = {kind for label in labels if isinstance(kind := parse_slot_type(label), Fraction)}
    marks = (names.ANNOTATION_LEAVING, names.ANNOTATION_ASLEEP)
    return Fleet(
        inventory=parse_inventory(nodes, pods, sizes).inventory,
        workers=frozenset(pod_key(pod) for pod in pods if names.LABEL_POOL in (pod["metadata"].get("labels") or {})),
        away=frozenset(
            node["metadata"]["name"]
            for node in nodes
            if any(mark in (node["metadata"].get("annotations") or {}) for mark in marks)
        ),
    )


def unseated(wanted: Iterable[Wanted], capacity: Mapping[str, int]) -> Mapping[str, int]:
    """By model, the replicas in place or on their way that find no slot; those that have none anyway do not count."""
    demands = [Demand(name=each.model, count=each.seated, slot_types=each.slot_types) for each in wanted]
    return seat(demands, capacity)
