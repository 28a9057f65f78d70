"""A modelled fleet that serves requests: what is attached, opened, closed or killed, and what has been counted.

Times are seconds from the start of the simulation. Equal world, arrivals, seed and calls give equal counts: every slot
draws from its own sequence, so engines do not disturb one another and a foreign tenant sends the same jobs whatever
our replicas do. The events themselves are in `kernel`.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autoscaler.sim import kernel
from autoscaler.sim.kernel import NOBODY, State
from autoscaler.sim.world import MS_PER_S, World
from vgpu.core.share import SchedulerPolicy

_POLICY = {
    SchedulerPolicy.BEST_EFFORT: kernel.BEST_EFFORT,
    SchedulerPolicy.EQUAL_SHARE: kernel.EQUAL_SHARE,
    SchedulerPolicy.FIXED_SHARE: kernel.FIXED_SHARE,
}

WINDOW_S = 10.0
"""Requests are also counted by the window of this length in which they came in."""

FINE_EDGES_S: NDArray[np.float64] = np.geomspace(kernel.FINE_FROM_S, kernel.FINE_TO_S, kernel.FINE_BINS - 1)
"""511 edges (s), 2.6 % apart: fine[m, i] counts latencies above edge i - 1 and at most edge i; the last bin is open."""


def fine_quantile_s(counts: NDArray[np.int64], quantile: float) -> float:
    """The latency (s) that `quantile` of the counted requests stayed within; nan without requests.

    `counts` is one row of `Engine.fine`, or a difference of two. The answer is a bin's upper edge: never too small, and
    too large by at most 2.6 %; beyond 600 s it is inf.
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile is {quantile}; above 0, at most 1")
    total = int(counts.sum())
    if total == 0:
        return math.nan
    place = int(np.searchsorted(np.cumsum(counts), quantile * total))
    return float(FINE_EDGES_S[place]) if place < len(FINE_EDGES_S) else math.inf


class Engine:
    """The data plane of a modelled fleet. Slots are numbered card * stride + i, models as in `world.models`.

    The arrays are views that change with `advance`; copy what you keep. Per slot, int64: answered, refused, failed
    (requests lost with a replica count for its model only, so this stays 0), batches, in_flight, queued (part of
    in_flight); float64: busy_s (a batch is in execution, waits for the engine included), engine_s (the slot has the
    engine, switching included: the host's reading); buckets[slot, edges + 1], not cumulative.
    All but engine_s start at 0 when a replica opens; in_flight and queued are gauges. A foreign slot counts jobs.
    Per model: offered, answered_m, within_m, refused_m (ingress included), ingress_refused_m, failed_m,
    latency_sum_s, fine[model, 512], and offered_w, within_w[model, window] by the 10 s window of arrival.
    """

    def __init__(
        self, world: World, arrivals: Mapping[str, NDArray[np.float64]], *, seed: int, edges_s: Sequence[float]
    ) -> None:
        """`arrivals` maps each model's name to rising times; `edges_s` are rising latency edges. ValueError if not."""
        self.world = world
        self.now_s = 0.0
        self._state = _new_state(world, arrivals, seed, edges_s)
        slots, models = self._state.slots, self._state.models
        self.answered: NDArray[np.int64] = slots["answered"]
        self.refused: NDArray[np.int64] = slots["refused"]
        self.failed: NDArray[np.int64] = slots["failed"]
        self.batches: NDArray[np.int64] = slots["batches"]
        self.in_flight: NDArray[np.int64] = slots["in_flight"]
        self.queued: NDArray[np.int64] = slots["queued"]
        self.busy_s: NDArray[np.float64] = slots["busy_s"]
        self.engine_s: NDArray[np.float64] = slots["engine_s"]
        self.buckets = self._state.buckets
        self.offered: NDArray[np.int64] = models["offered"]
        self.answered_m: NDArray[np.int64] = models["answered"]
        self.within_m: NDArray[np.int64] = models["within"]
        self.refused_m: NDArray[np.int64] = models["refused"]
        self.ingress_refused_m: NDArray[np.int64] = models["ingress_refused"]
        self.failed_m: NDArray[np.int64] = models["failed"]
        self.latency_sum_s: NDArray[np.float64] = models["latency_sum_s"]
        self.fine = self._state.fine
        self.offered_w = self._state.offered_w
        self.within_w = self._state.within_w
        for index in world.foreign_slots:
            self._change_attached(index, +1)

    def attach(self, slot: int) -> None:
        """A worker's guest runs on `slot` from now on; under equal share it takes its part of the engine."""
        self._check_ours(slot)
        if self._state.slots["attached"][slot]:
            raise ValueError(f"slot is {slot}; a guest runs there already, detach it first")
        self._change_attached(slot, +1)

    def detach(self, slot: int) -> None:
        """The guest on `slot` is gone. It holds nothing any more: `kill` first what it held."""
        self._check_ours(slot)
        if not self._state.slots["attached"][slot]:
            raise ValueError(f"slot is {slot}; no guest runs there, attach one first")
        if self._state.slots["open"][slot] or self.in_flight[slot]:
            raise ValueError(
                f"slot is {slot}; its replica holds {self.in_flight[slot]} requests, close or kill it first"
            )
        self._change_attached(slot, -1)

    def open(self, slot: int, model: int) -> None:
        """A new replica of `model` answers on `slot` from now on; its counters start at 0."""
        self._check_ours(slot)
        slots, models = self._state.slots, self._state.models
        if not 0 <= model < len(self.world.models):
            raise ValueError(f"model is {model}; models are 0 to {len(self.world.models) - 1}")
        if not slots["attached"][slot]:
            raise ValueError(f"slot is {slot}; no guest runs there, attach one first")
        if slots["open"][slot] or self.in_flight[slot]:
            raise ValueError(
                f"slot is {slot}; its replica holds {self.in_flight[slot]} requests, close or kill it first"
            )
        for name in ("answered", "refused", "failed", "batches", "busy_s", "chosen"):
            slots[name][slot] = 0
        self.buckets[slot] = 0
        slots["model"][slot] = model
        slots["open"][slot] = 1
        self._state.members[model, models["members"][model]] = slot
        models["members"][model] += 1

    def close(self, slot: int) -> None:
        """The replica on `slot` gets no new request and finishes what it holds; watch in_flight."""
        self._check_ours(slot)
        if not self._state.slots["open"][slot]:
            raise ValueError(f"slot is {slot}; no replica is open there")
        self._leave(slot)

    def kill(self, slot: int) -> int:
        """Whatever runs on `slot` dies at once; returns how many requests failed with it. Killing nothing returns 0."""
        self._check_ours(slot)
        slots = self._state.slots
        if slots["open"][slot]:
            self._leave(slot)
        lost = int(self.in_flight[slot])
        if lost:
            self._settle(slot)
            self.failed_m[slots["model"][slot]] += lost
            for name in ("in_flight", "queued", "batch", "head"):
                slots[name][slot] = 0
            slots["phase"][slot] = kernel.IDLE
            self._reschedule(slot)
        return lost

    def slow(self, slot: int, ratio: float) -> None:
        """Batches that start on `slot` from now on take `ratio` times as long on the host; 1 ends it."""
        self._check_ours(slot)
        if not (math.isfinite(ratio) and ratio > 0):
            raise ValueError(f"ratio is {ratio}; a finite number above 0, 1 is normal")
        self._state.slots["host_ratio"][slot] = ratio

    def advance(self, until_s: float) -> None:
        """Run all that is due up to and including `until_s`; ValueError when that is past or infinite."""
        if not (math.isfinite(until_s) and until_s >= self.now_s):
            raise ValueError(f"until_s is {until_s}; the fleet is at {self.now_s} s and does not run backwards")
        kernel.advance(self._state, float(until_s))
        self.now_s = float(until_s)

    def _check_ours(self, slot: int) -> None:
        if not 0 <= slot < self.world.slot_count:
            raise ValueError(f"slot is {slot}; slots are 0 to {self.world.slot_count - 1}")
        if self._state.slots["tenant"][slot] != NOBODY:
            raise ValueError(f"slot is {slot}; a foreign tenant holds it")

    def _change_attached(self, slot: int, by: int) -> None:
        self._settle(slot)
        self._state.slots["attached"][slot] += by
        self._state.cards["attached"][self.world.card_of(slot)] += by
        self._reschedule(slot)

    def _leave(self, slot: int) -> None:
        """Take `slot` out of its model's open replicas; the order of the others stays, as it breaks first ties."""
        model = self._state.slots["model"][slot]
        row = self._state.members[model]
        count = self._state.models["members"][model]
        stay = [index for index in row[:count] if index != slot]
        row[: len(stay)] = stay
        self._state.models["members"][model] = len(stay)
        self._state.slots["open"][slot] = 0

    def _reschedule(self, slot: int) -> None:
        kernel.reschedule(self._state, self.world.card_of(slot), self.now_s)

    def _settle(self, slot: int) -> None:
        kernel.settle(self._state, self.world.card_of(slot), self.now_s)


def _new_state(world: World, arrivals: Mapping[str, NDArray[np.float64]], seed: int, edges_s: Sequence[float]) -> State:
    edges = _checked_edges(edges_s)
    times_s, of_models = _merged(world, arrivals)
    windows = int((times_s[-1] if len(times_s) else 0.0) // WINDOW_S) + 2
    models = len(world.models)
    most_held = [model.service.max_queue + model.service.max_batch for model in world.models]
    most_jobs = [tenant.max_waiting + 1 for tenant in world.foreign]
    state = State(
        slots=_slots(world, seed),
        cards=_cards(world),
        models=_models(world),
        tenants=_tenants(world),
        fleet=_fleet(world),
        card_next_s=np.full(world.card_count, np.inf),
        rings=np.zeros((world.slot_count, max(most_held + most_jobs))),
        members=np.full((models, world.slot_count), NOBODY, dtype=np.int64),
        arrivals_s=times_s,
        arrival_models=of_models,
        phases=_phases(world),
        edges_s=edges,
        buckets=np.zeros((world.slot_count, len(edges) + 1), dtype=np.int64),
        fine=np.zeros((models, kernel.FINE_BINS), dtype=np.int64),
        offered_w=np.zeros((models, windows), dtype=np.int64),
        within_w=np.zeros((models, windows), dtype=np.int64),
    )
    for index, tenant in zip(world.foreign_slots, world.foreign, strict=True):
        kernel.plan_job(state, index, tenant.phases[0][0])
    return state


def _checked_edges(edges_s: Sequence[float]) -> NDArray[np.float64]:
    if not edges_s or any(low >= high for low, high in pairwise(edges_s)):
        raise ValueError(f"edges_s is {tuple(edges_s)}; at least one edge, rising")
    return np.array(edges_s, dtype=np.float64)


def _merged(world: World, arrivals: Mapping[str, NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """All arrivals in order of time, and whose they are; a model without arrivals may be left out."""
    known = [model.name for model in world.models]
    if unknown := sorted(set(arrivals) - set(known)):
        raise ValueError(f"arrivals names {', '.join(unknown)}; the world's models are {', '.join(known)}")
    parts = [np.asarray(arrivals.get(name, ()), dtype=np.float64) for name in known]
    for name, part in zip(known, parts, strict=True):
        if len(part) and not (part[0] >= 0 and np.isfinite(part).all() and (np.diff(part) >= 0).all()):
            raise ValueError(f"arrivals of {name!r} are not finite, rising times from 0 on; sort them")
    times_s = np.concatenate(parts)
    of_models = np.repeat(np.arange(len(known), dtype=np.int16), [len(part) for part in parts])
    order = np.argsort(times_s, kind="stable")
    return times_s[order], of_models[order]


def _slots(world: World, seed: int) -> NDArray[np.void]:
    slots = np.zeros(world.slot_count, dtype=kernel.SLOT)
    slots["tenant"] = NOBODY
    slots["host_ratio"] = 1.0
    slots["next_job_s"] = np.inf
    slots["rng"] = np.random.SeedSequence(seed).generate_state(world.slot_count, np.uint64)
    for tenant, index in enumerate(world.foreign_slots):
        slots["tenant"][index] = tenant
    return slots


def _cards(world: World) -> NDArray[np.void]:
    cards = np.zeros(world.card_count, dtype=kernel.CARD)
    counts = [group.cards for group in world.groups]
    cards["most_per_gpu"] = np.repeat([group.profile.most_per_gpu for group in world.groups], counts)
    cards["engine_ratio"] = np.repeat([group.engine_ratio for group in world.groups], counts)
    return cards


def _models(world: World) -> NDArray[np.void]:
    models = np.zeros(len(world.models), dtype=kernel.MODEL)
    for row, model in enumerate(world.models):
        service = model.service
        models["max_batch"][row] = service.max_batch
        models["max_queue"][row] = service.max_queue
        models["host_s"][row] = service.host_ms / MS_PER_S
        models["engine_s"][row] = service.engine_ms / MS_PER_S
        models["per_item_s"][row] = service.engine_per_item_ms / MS_PER_S
        models["spread_sigma"][row] = math.sqrt(math.log1p(service.spread_ratio**2))
        models["objective_s"][row] = model.objective_s
    return models


def _tenants(world: World) -> NDArray[np.void]:
    tenants = np.zeros(len(world.foreign), dtype=kernel.TENANT)
    tenants["max_waiting"] = [tenant.max_waiting for tenant in world.foreign]
    tenants["job_s"] = [tenant.job_ms / MS_PER_S for tenant in world.foreign]
    return tenants


def _phases(world: World) -> NDArray[np.float64]:
    most = max((len(tenant.phases) for tenant in world.foreign), default=0)
    phases = np.zeros((len(world.foreign), most + 1, 2))
    phases[:, :, 0] = np.inf
    for row, tenant in enumerate(world.foreign):
        phases[row, : len(tenant.phases)] = tenant.phases
    return phases


def _fleet(world: World) -> NDArray[np.void]:
    fleet = np.zeros(1, dtype=kernel.FLEET)
    fleet["policy"] = _POLICY[world.policy]
    fleet["slots_per_card"] = world.stride
    fleet["switch_cost_ratio"] = world.switch_cost_ratio
    fleet["window_s"] = WINDOW_S
    return fleet
