"""What the slots of one GPU do to each other: how much of its entitlement a slot uses, which cards are saturated.

The device's utilization is never a target. It says how full a slot is against its share (a fixed-share 8q slot of a
16 GB board is full at half of the physical engine) and where another replica could not help. A reading that is missing
is never taken for an idle slot.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from autoscaler.core.interference import stretches
from autoscaler.core.observation import Missing, Observation, SlotReading
from autoscaler.core.queueing import FULL
from autoscaler.core.readings import card_id, fresh_readings
from autoscaler.core.spec import PolicySettings
from autoscaler.core.usual import Ratios, smoothed, vacant_workers
from vgpu.core.inventory import Card, CardTable, Directory, Inventory
from vgpu.core.share import SchedulerPolicy, entitled_ratio

_Value = TypeVar("_Value")

# NVML counts in steps of 1 %, and an idle guest still shows one or two: below this a neighbour is at rest.
BUSY_RATIO = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLoad:
    """One card as its slots show it."""

    gpu: str
    """Its UUID, or "below NODE" where that is not known."""
    policy: SchedulerPolicy
    slots: int
    held: int
    busy_ratio: float
    """The sum over its slots with a fresh reading, and what strangers use of it; a part of the physical engine."""
    unread: int
    """Slots without a fresh reading; above 0, `busy_ratio` is only a lower bound."""
    saturated: bool
    """The engine has nothing left and a further replica would only slow the others."""


class Beside(NamedTuple):
    """One slot on its card, now: what it uses of the engine and what it meets there."""

    own_ratio: float
    others_ratio: float
    stretch: float
    """How many times as long its engine work takes as alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """Every card and every slot at one moment."""

    readings: Mapping[str, SlotReading | Missing]
    gpus: Mapping[str, GpuLoad]
    directory: Directory
    """The cards and slots themselves."""
    neighbours: Mapping[str, tuple[float, float, float]]
    """By slot: the fields of its `Beside`; only of known cards whose every slot has a reading. Plain tuples: there is
    one for every slot, and a named one takes four times as long to make."""
    used: Mapping[str, float]
    """By slot: its engine use as a part of what it is entitled to, 0 to 1; only where that can be said."""
    usual: Mapping[str, float] = field(default_factory=dict)
    """By slot: its engine use smoothed over about a minute, so that a plan does not follow every job of a neighbour."""
    usual_by_gpu: Mapping[str, float] = field(default_factory=dict)
    left: Mapping[str, float] = field(default_factory=dict)
    """By slot of a best-effort card: what the others usually leave of the engine to a replica there, as it counts for
    an engine's work beside an open load."""

    def usual_on(self, gpu: str) -> float:
        """What all slots of a card usually use of its engine."""
        return self.usual_by_gpu[gpu]

    def beside(self, slot_id: str) -> Beside | None:
        """The slot and its neighbours now; None unless every slot of a known card has a reading."""
        found = self.neighbours.get(slot_id)
        return None if found is None else Beside(*found)

    def used_of_entitled(self, slot_id: str) -> float | None:
        """The slot's engine use as a part of what it is entitled to, 0 to 1; None where that cannot be said."""
        return self.used.get(slot_id)

    def crowding(self, gpu: str) -> float:
        """How much a new replica would meet on this card, 0 (nothing) to 1, in tenths so that noise decides nothing."""
        load = self.gpus[gpu]
        if load.policy is SchedulerPolicy.FIXED_SHARE:
            return 0.0
        neighbours = load.held / load.slots
        busy_ratio = self.usual_on(gpu) if self.usual else load.busy_ratio
        if load.unread:
            return round(max(neighbours, busy_ratio), 1)
        # Under equal share an idle neighbour takes its turn all the same.
        idle_costs = load.policy is SchedulerPolicy.EQUAL_SHARE
        return round(max(busy_ratio, neighbours if idle_costs else 0.0), 1)


def measure(
    inventory: Inventory,
    seen: Observation,
    policy: PolicySettings,
    now_s: float,
    usual: Mapping[str, float] | None = None,
) -> Contention:
    """Put this tick's slot readings onto the cards of the inventory; `usual` is what the last tick called usual."""
    directory = inventory.directory
    readings, strangers = fresh_readings(directory, seen, policy, now_s)
    before, vacant = usual or {}, vacant_workers(seen)
    rows = [_Rows.of(table, directory, readings, strangers, before, vacant) for table in directory.tables]
    loads = {load.gpu: load for each in rows for load in _loads(each, directory, policy)}
    neighbours, used = _joined(map(_neighbours, rows)), _joined([_used(each, directory) for each in rows])
    for gpu, load in loads.items():
        card = directory.cards[gpu]
        if load.unread or card.gpu.uuid is None:
            for slot_id in card.slots:
                del neighbours[slot_id], used[slot_id]
            used |= _used_unseen(load, card, readings)
    return Contention(
        readings=readings,
        gpus={gpu: loads[gpu] for gpu in directory.cards},
        directory=directory,
        neighbours=neighbours,
        used=used,
        usual=_joined([_by_slot(each, each.usual) for each in rows]),
        usual_by_gpu=_joined([zip(each.table.gpus, each.usual_sums.tolist(), strict=True) for each in rows]),
        left=_joined(map(_left, rows)),
    )


def _joined(tables: Iterable[Iterable[tuple[str, _Value]]]) -> dict[str, _Value]:
    return dict(chain.from_iterable(tables))


class _Rows(NamedTuple):
    """What all cards of a table use of their engines. Arrays of (cards, slots of each); of (cards) where it is said."""

    table: CardTable
    unread: npt.NDArray[np.bool_]
    busy: Ratios
    """0 where a slot was not read."""
    others: Ratios
    """What all the others of its card use."""
    strangers: Ratios
    """By card."""
    usual: Ratios
    usual_sums: Ratios
    """By card: what all its slots and strangers usually use."""

    @classmethod
    def of(
        cls,
        table: CardTable,
        directory: Directory,
        readings: Mapping[str, SlotReading | Missing],
        strangers: Mapping[str, float],
        before: Mapping[str, float],
        vacant: Collection[str],
    ) -> "_Rows":
        found = map(readings.__getitem__, table.slots)
        read = np.array([each.busy_ratio if isinstance(each, SlotReading) else math.nan for each in found])
        read = read.reshape(len(table.gpus), -1)
        unread = np.isnan(read)
        busy, usual = np.where(unread, 0.0, read), smoothed(table, read, before, vacant)
        strange = np.zeros(len(table.gpus))
        if strangers:
            firsts = [next(iter(directory.cards[gpu].slots.values())) for gpu in table.gpus]
            strange = np.array([strangers.get(card_id(slot), 0.0) for slot in firsts])
        return cls(table, unread, busy, _others(busy), strange, usual, _sums(usual) + strange)


def _sums(ratios: Ratios) -> Ratios:
    """By card: its slots added up, one after the other. np.sum adds in an order that depends on the machine."""
    sums: Ratios = np.add.accumulate(ratios, axis=1)[:, -1]
    return sums


def _others(ratios: Ratios) -> Ratios:
    """For each slot: what all the others of its card use."""
    others = np.zeros_like(ratios)
    for place in range(ratios.shape[1]):
        # Not the whole less its own: what is left of rounding would be a neighbour that uses next to nothing.
        others[:, :place] += ratios[:, place : place + 1]
        others[:, place + 1 :] += ratios[:, place : place + 1]
    return others


def _by_slot(rows: _Rows, ratios: Ratios) -> Iterable[tuple[str, float]]:
    return zip(rows.table.slots, ratios.ravel().tolist(), strict=True)


def _loads(rows: _Rows, directory: Directory, policy: PolicySettings) -> list[GpuLoad]:
    table, sums, unread = rows.table, (_sums(rows.busy) + rows.strangers).tolist(), rows.unread.sum(axis=1).tolist()
    shares = table.policy is not SchedulerPolicy.FIXED_SHARE
    return [
        GpuLoad(
            gpu=gpu,
            policy=table.policy,
            slots=card.at_once,
            held=card.held,
            busy_ratio=busy_ratio,
            unread=count,
            saturated=shares and card.gpu.uuid is not None and busy_ratio >= policy.saturated_ratio,
        )
        for gpu, busy_ratio, count in zip(table.gpus, sums, unread, strict=True)
        for card in (directory.cards[gpu],)
    ]


def _neighbours(rows: _Rows) -> Iterable[tuple[str, tuple[float, float, float]]]:
    """What each slot meets on its card, as if every one of them had been read."""
    table, is_active, shape = rows.table, rows.busy > BUSY_RATIO, rows.busy.shape
    active = is_active.sum(axis=1, keepdims=True) - is_active
    attached, most = np.array(table.attached).reshape(shape), np.array(table.mosts).reshape(shape)
    waits = stretches(table.policy, rows.others, rows.busy, attached, most, active)
    columns = [column.ravel().tolist() for column in (rows.busy, rows.others, waits)]
    return zip(table.slots, zip(*columns, strict=True), strict=True)


def _used(rows: _Rows, directory: Directory) -> Iterable[tuple[str, float]]:
    """What each slot uses of the part of the engine that it is entitled to, as if every one of them had been read."""
    shares = _shares(rows, directory)
    return _by_slot(rows, np.where(rows.busy < shares, rows.busy / shares, 1.0))


def _shares(rows: _Rows, directory: Directory) -> Ratios:
    """The part of the engine that each slot is entitled to; one column where it is the same for all slots of a card."""
    table, (_, width) = rows.table, rows.busy.shape
    policy = table.policy
    if policy is SchedulerPolicy.FIXED_SHARE:
        return np.array([_entitled_ratio(policy, 1, 0, most) for most in table.mosts]).reshape(rows.busy.shape)
    if policy is SchedulerPolicy.EQUAL_SHARE:
        # Cards that mix sizes run more vGPUs than the largest profile alone would allow.
        at_once = [directory.cards[gpu].at_once for gpu in table.gpus]
        return np.array([[_entitled_ratio(policy, slots, 0, slots)] for slots in at_once])
    by_active = np.array([_entitled_ratio(policy, width, active, width) for active in range(width + 1)])
    share = by_active[(rows.busy > BUSY_RATIO).sum(axis=1, keepdims=True)]
    # A slot is ceded what the others leave: beside a neighbour at 10 % it can have 90 %, not a half.
    left: Ratios = np.maximum(1 - rows.others, share)
    return left


def _left(rows: _Rows) -> Iterable[tuple[str, float]]:
    if rows.table.policy is not SchedulerPolicy.BEST_EFFORT:
        return ()
    others = rows.usual_sums[:, np.newaxis] - rows.usual
    return _by_slot(rows, 1 - np.clip(others, 0.0, FULL))  # a little below 0 is what rounding makes of nothing


def _used_unseen(load: GpuLoad, card: Card, readings: Mapping[str, SlotReading | Missing]) -> dict[str, float]:
    """The same on a card that is not known or not wholly read: only for shares that do not depend on neighbours."""
    if load.policy is SchedulerPolicy.BEST_EFFORT:
        return {}  # a neighbour nobody knows of may be busy or not
    if load.policy is SchedulerPolicy.EQUAL_SHARE and card.gpu.uuid is None:
        return {}
    used: dict[str, float] = {}
    for slot_id, most in zip(card.slots, card.mosts, strict=True):
        reading = readings[slot_id]
        if isinstance(reading, SlotReading):
            running = 1 if load.policy is SchedulerPolicy.FIXED_SHARE else load.slots
            used[slot_id] = min(1.0, reading.busy_ratio / _entitled_ratio(load.policy, running, 0, max(most, running)))
    return used


@lru_cache(maxsize=4096)
def _entitled_ratio(policy: SchedulerPolicy, running: int, busy: int, most: int) -> float:
    return entitled_ratio(policy, running=running, busy=busy, most_per_gpu=most)
