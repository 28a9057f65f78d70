"""The events of a modelled fleet, compiled: requests, replicas with queues and batches, and cards shared by time.

A card is modelled as processor sharing, the limit of time slicing when slices get short: each slot at work is served
at its share of the engine. An event touches only the slots of its own card, so it costs O(slots per card) and a look
at each card's next event. Nothing here allocates; `engine.Engine` makes the arrays, checks what comes in and owns them.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Inlined, because a call that passes the whole State costs more than most of these functions do.
_part = njit(cache=True, error_model="numpy", forceinline=True)
_entry = njit(cache=True, error_model="numpy")

IDLE, HOST, ENGINE = 0, 1, 2
BEST_EFFORT, EQUAL_SHARE, FIXED_SHARE = 0, 1, 2
NOBODY = -1

# Rounding leaves up to 2.4e-10 s of a demand unserved at 2**22 s (48 days); below this it counts as served.
SERVED_S = 1e-9

# Latencies are also counted finely, 2.6 % a bin, so that percentiles can be read without keeping each latency.
FINE_BINS = 512
FINE_FROM_S, FINE_TO_S = 1e-3, 600.0
FINE_STEP = math.log(FINE_TO_S / FINE_FROM_S) / (FINE_BINS - 2)

# Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014): SplitMix64.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_R11, _R27, _R30, _R31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)


def _record(counts: str, times: str) -> np.dtype[np.void]:
    return np.dtype([(name, "i8") for name in counts.split()] + [(name, "f8") for name in times.split()])


_SLOT = _record(
    "attached open model tenant phase chosen head batch in_flight queued answered refused failed batches",
    "host_end_s host_ratio demand_s left_s next_job_s busy_from_s busy_s engine_s",
)
SLOT = np.dtype([*((name, _SLOT[name]) for name in _SLOT.names or ()), ("rng", "u8")])
CARD = _record("attached most_per_gpu", "served_s read_s share rate engine_ratio")
MODEL = _record(
    "members max_batch max_queue offered answered within refused ingress_refused failed",
    "host_s engine_s per_item_s spread_sigma objective_s latency_sum_s",
)
TENANT = _record("phase max_waiting", "job_s")
FLEET = _record("next_arrival choices policy slots_per_card", "switch_cost_ratio window_s")


class State(NamedTuple):
    """All arrays of one simulated fleet. Sizes: S slots, C cards, M models, T foreign tenants, N requests."""

    slots: NDArray[Any]
    """SLOT[S]"""
    cards: NDArray[Any]
    """CARD[C]"""
    models: NDArray[Any]
    """MODEL[M]"""
    tenants: NDArray[Any]
    """TENANT[T]"""
    fleet: NDArray[Any]
    """FLEET[1]"""
    card_next_s: NDArray[np.float64]
    """[C] when the next event of each card comes; inf for never"""
    rings: NDArray[np.float64]
    """[S, most in flight] arrival times (s) of what a replica holds, oldest at `head`; for a tenant, demands (s)"""
    members: NDArray[np.int64]
    """[M, S] the open replicas of each model; the first `members` of a row count"""
    arrivals_s: NDArray[np.float64]
    """[N] rising"""
    arrival_models: NDArray[np.int16]
    """[N]"""
    phases: NDArray[np.float64]
    """[T, phases + 1, 2] start (s) and busy ratio; filled up with starts at inf"""
    edges_s: NDArray[np.float64]
    """[E] rising"""
    buckets: NDArray[np.int64]
    """[S, E + 1] not cumulative"""
    fine: NDArray[np.int64]
    """[M, FINE_BINS]"""
    offered_w: NDArray[np.int64]
    """[M, windows] requests by the window they came in"""
    within_w: NDArray[np.int64]
    """[M, windows] those of them that were answered within the objective"""


@_part
def _uniform(state: State, index: int) -> float:
    """A number in (0, 1] of the own sequence of slot `index`, so that nobody else's draws change it."""
    slot = state.slots[index]
    slot.rng += _GAMMA
    mixed = (slot.rng ^ (slot.rng >> _R30)) * _MIX_1
    mixed = (mixed ^ (mixed >> _R27)) * _MIX_2
    mixed = mixed ^ (mixed >> _R31)
    return (float(mixed >> _R11) + 1.0) * 2.0**-53


@_part
def _spread(state: State, index: int, sigma: float) -> float:
    """A lognormal factor of mean 1 whose logarithm has standard deviation `sigma` (Box and Muller's normal)."""
    if sigma == 0.0:
        return 1.0
    normal = math.sqrt(-2.0 * math.log(_uniform(state, index))) * math.cos(2.0 * math.pi * _uniform(state, index))
    return math.exp(sigma * normal - sigma * sigma / 2.0)


@_part
def _read(state: State, card: int, now_s: float) -> None:
    """Count up to `now_s` the engine time that the slots of `card` had since the last reading."""
    shared = state.cards[card]
    had_s = (now_s - shared.read_s) * shared.share
    shared.read_s = now_s
    if had_s > 0.0:
        per_card = state.fleet[0].slots_per_card
        for index in range(card * per_card, (card + 1) * per_card):
            slot = state.slots[index]
            if slot.phase == ENGINE:
                slot.engine_s += had_s


@_part
def settle(state: State, card: int, now_s: float) -> None:
    """Serve the slots of `card` up to `now_s` at the rate that held since the last event there.

    Only events settle. A mere reading does not, because its rounding would make the result depend on how often someone
    looks.
    """
    _read(state, card, now_s)
    shared = state.cards[card]
    served_s = (now_s - shared.served_s) * shared.rate
    shared.served_s = now_s
    if served_s > 0.0:
        per_card = state.fleet[0].slots_per_card
        for index in range(card * per_card, (card + 1) * per_card):
            slot = state.slots[index]
            if slot.phase == ENGINE:
                slot.left_s -= served_s


@_part
def reschedule(state: State, card: int, now_s: float) -> None:
    """Set the rates of `card`, which is settled at `now_s`, and when its next event comes.

    Every slot at work has the same share: best effort divides by those at work, equal share by those attached, fixed
    share by the most the profile allows. Several at work slow the engine down by the cost of switching.
    """
    fleet, shared = state.fleet[0], state.cards[card]
    first, last = card * fleet.slots_per_card, (card + 1) * fleet.slots_per_card
    at_work, next_s, least_s = 0, np.inf, np.inf
    for index in range(first, last):
        slot = state.slots[index]
        next_s = min(next_s, slot.next_job_s)
        if slot.phase == ENGINE:
            at_work += 1
            least_s = min(least_s, slot.left_s)
        elif slot.phase == HOST:
            next_s = min(next_s, slot.host_end_s)
    if at_work == 0:
        shared.share, shared.rate = 0.0, 0.0
    else:
        sharers = at_work
        if fleet.policy == EQUAL_SHARE:
            sharers = shared.attached
        elif fleet.policy == FIXED_SHARE:
            sharers = shared.most_per_gpu
        shared.share = 1.0 / sharers
        shared.rate = shared.share / (1.0 + fleet.switch_cost_ratio * (at_work - 1))
        next_s = min(next_s, now_s + max(least_s, 0.0) / shared.rate)
    state.card_next_s[card] = next_s


@_part
def _begin(state: State, index: int, now_s: float) -> None:
    """Take what waits in slot `index`, up to a batch, into execution."""
    slot = state.slots[index]
    slot.batches += 1
    if slot.tenant != NOBODY:
        slot.batch = 1
        slot.queued -= 1
        slot.left_s = state.rings[index, slot.head]
        slot.phase = ENGINE
        return
    model = state.models[slot.model]
    slot.batch = min(slot.queued, model.max_batch)
    slot.queued -= slot.batch
    factor = _spread(state, index, model.spread_sigma)
    slot.host_end_s = now_s + model.host_s * factor * slot.host_ratio
    card = state.cards[index // state.fleet[0].slots_per_card]
    slot.demand_s = (model.engine_s + model.per_item_s * (slot.batch - 1)) * factor * card.engine_ratio
    slot.phase = HOST


@_part
def _count_answer(state: State, index: int, arrived_s: float, latency_s: float) -> None:
    of_model = state.slots[index].model
    model = state.models[of_model]
    model.answered += 1
    model.latency_sum_s += latency_s
    if latency_s <= model.objective_s:
        model.within += 1
        state.within_w[of_model, int(arrived_s / state.fleet[0].window_s)] += 1
    state.buckets[index, np.searchsorted(state.edges_s, latency_s)] += 1
    fine = 0
    if latency_s > FINE_FROM_S:
        fine = min(FINE_BINS - 1, 1 + int(math.log(latency_s / FINE_FROM_S) / FINE_STEP))
    state.fine[of_model, fine] += 1


@_part
def _finish(state: State, index: int, now_s: float) -> None:
    """Answer the batch in execution in slot `index` and begin the next one, if something waits."""
    slot = state.slots[index]
    capacity = state.rings.shape[1]
    for _ in range(slot.batch):
        if slot.tenant == NOBODY:
            arrived_s = state.rings[index, slot.head]
            _count_answer(state, index, arrived_s, now_s - arrived_s)
        slot.head += 1
        if slot.head == capacity:
            slot.head = 0
    slot.answered += slot.batch
    slot.in_flight -= slot.batch
    slot.batch = 0
    if slot.queued > 0:
        _begin(state, index, now_s)
    else:
        slot.phase = IDLE
        slot.busy_s += now_s - slot.busy_from_s


@_part
def _enqueue(state: State, index: int, entry_s: float, now_s: float) -> None:
    """Put one entry (an arrival time or a tenant's demand) into slot `index`, and into execution if it is idle."""
    slot = state.slots[index]
    place = slot.head + slot.in_flight
    if place >= state.rings.shape[1]:
        place -= state.rings.shape[1]
    state.rings[index, place] = entry_s
    slot.in_flight += 1
    slot.queued += 1
    if slot.phase == IDLE:
        slot.busy_from_s = now_s
        _begin(state, index, now_s)


@_part
def plan_job(state: State, index: int, from_s: float) -> None:
    """Set when the tenant in slot `index` sends its next job after `from_s`.

    The process has no memory, so where a draw passes the end of its phase it is drawn anew from there.
    """
    slot = state.slots[index]
    tenant = state.tenants[slot.tenant]
    phases = state.phases[slot.tenant]
    while from_s < np.inf:
        until_s = phases[tenant.phase + 1, 0]
        busy_ratio = phases[tenant.phase, 1]
        if busy_ratio > 0.0 and from_s < until_s:
            job_s = from_s - math.log(_uniform(state, index)) * tenant.job_s / busy_ratio
            if job_s < until_s:
                slot.next_job_s = job_s
                return
        from_s = until_s
        tenant.phase += 1
    slot.next_job_s = np.inf


@_part
def _job_comes(state: State, index: int, now_s: float) -> None:
    slot = state.slots[index]
    tenant = state.tenants[slot.tenant]
    demand_s = -math.log(_uniform(state, index)) * tenant.job_s
    if slot.queued >= tenant.max_waiting:
        slot.refused += 1
    else:
        _enqueue(state, index, demand_s, now_s)
    plan_job(state, index, now_s)


@_part
def _card_event(state: State, card: int, now_s: float) -> None:
    """Do all that is due on `card` at `now_s`: jobs that come, host parts that end, engine parts that end."""
    settle(state, card, now_s)
    per_card = state.fleet[0].slots_per_card
    for index in range(card * per_card, (card + 1) * per_card):
        slot = state.slots[index]
        if slot.next_job_s <= now_s:
            _job_comes(state, index, now_s)
        if slot.phase == HOST and slot.host_end_s <= now_s:
            slot.phase = ENGINE
            slot.left_s = slot.demand_s
        if slot.phase == ENGINE and slot.left_s <= SERVED_S:
            _finish(state, index, now_s)
    reschedule(state, card, now_s)


@_part
def _choose(state: State, of_model: int) -> int:
    """The open replica with the fewest in flight, of equals the least recently chosen; NOBODY if none is open."""
    chosen = NOBODY
    for place in range(state.models[of_model].members):
        index = state.members[of_model, place]
        if chosen == NOBODY:
            chosen = index
            continue
        slot, best = state.slots[index], state.slots[chosen]
        if slot.in_flight < best.in_flight or (slot.in_flight == best.in_flight and slot.chosen < best.chosen):
            chosen = index
    return chosen


@_part
def _arrival(state: State, of_model: int, now_s: float) -> None:
    model, fleet = state.models[of_model], state.fleet[0]
    model.offered += 1
    state.offered_w[of_model, int(now_s / fleet.window_s)] += 1
    index = _choose(state, of_model)
    if index == NOBODY:
        model.ingress_refused += 1
        model.refused += 1
        return
    slot = state.slots[index]
    fleet.choices += 1
    slot.chosen = fleet.choices
    if slot.queued >= model.max_queue:
        slot.refused += 1
        model.refused += 1
        return
    was_idle = slot.phase == IDLE
    _enqueue(state, index, now_s, now_s)
    if was_idle:
        card = index // fleet.slots_per_card
        state.card_next_s[card] = min(state.card_next_s[card], slot.host_end_s)


@_entry
def advance(state: State, until_s: float) -> None:
    """Run everything due up to and including `until_s`, then bring all readings up to it."""
    fleet = state.fleet[0]
    count = state.arrivals_s.shape[0]
    while True:
        card = 0
        for other in range(1, state.card_next_s.shape[0]):
            if state.card_next_s[other] < state.card_next_s[card]:
                card = other
        card_s = state.card_next_s[card]
        place = fleet.next_arrival
        arrival_s = state.arrivals_s[place] if place < count else np.inf
        if min(arrival_s, card_s) > until_s:
            break
        if arrival_s < card_s:
            fleet.next_arrival += 1
            _arrival(state, state.arrival_models[place], arrival_s)
        else:
            _card_event(state, card, card_s)
    for card in range(state.cards.shape[0]):
        _read(state, card, until_s)
    for index in range(state.slots.shape[0]):
        slot = state.slots[index]
        if slot.phase != IDLE:
            slot.busy_s += until_s - slot.busy_from_s
            slot.busy_from_s = until_s
