"""What an autoscaler would see of a modelled fleet, faults included: an Observation and an Inventory.

Metrics are sampled first (`sample`) and shown later (`look`), as old as the world's `metric_age_s`; what Kubernetes and
Ray Serve say is as fresh as the tick. Gaps are named as `autoscaler.loop` and `autoscaler.adapters.scrape` name them.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from autoscaler.adapters.scrape import MOST_BUSY_RATIO
from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import (
    Counters,
    DeploymentSeen,
    IngressSample,
    Missing,
    MissingReason,
    Observation,
    PoolSeen,
    ReplicaSample,
    ReplicaSeen,
    ReplicaState,
    SlotReading,
    Source,
    WorkerSeen,
)
from autoscaler.sim.deployments import Deployment, Replica
from autoscaler.sim.engine import Engine
from autoscaler.sim.faults import (
    ApiAway,
    Fault,
    MetricsFrozen,
    MetricsGarbage,
    MetricsMissing,
    SharedSpan,
    SlotReadingsMissing,
    Span,
)
from autoscaler.sim.fleet import Fleet
from autoscaler.sim.pods import Pool
from autoscaler.sim.world import World
from vgpu.core.inventory import Inventory

EDGES_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
"""Edges of every replica's latency histogram, next to the objectives."""

_Span = TypeVar("_Span", bound=Span)
_Seen = tuple[int, tuple[ReplicaSeen, ...]]


def edges_of(world: World) -> tuple[float, ...]:
    """The edges of the latency histograms: rising, with every model's objective among them."""
    return tuple(sorted({*EDGES_S, *(model.objective_s for model in world.models)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scraped:
    """One round of scrapes."""

    replicas: tuple[ReplicaSample, ...]
    slots: tuple[SlotReading, ...]
    ingress: tuple[IngressSample, ...]
    missing: tuple[Missing, ...]


class Observer:
    """The eyes of one autoscaler; `sample` and `look` take turns."""

    def __init__(self, fleet: Fleet, engine: Engine, *, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        self._world = fleet.world
        self._fleet = fleet
        self._engine = engine
        self._seed = seed
        self._missing = _of_kind(faults, MetricsMissing)
        self._frozen = _of_kind(faults, MetricsFrozen)
        self._garbage = _of_kind(faults, MetricsGarbage)
        self._slots_missing = _of_kind(faults, SlotReadingsMissing)
        self._away = _of_kind(faults, ApiAway)
        self._edges_s = edges_of(self._world)
        self._slots = list(self._world.slots)
        self._slot_ids = {slot: f"{self._world.node_name(slot)}/0" for slot in self._slots}
        self._engine_s = engine.engine_s.copy()
        self._sampled_s = engine.now_s
        self._stuck: dict[str, ReplicaSample] = {}
        self._rounds: deque[_Scraped] = deque()
        self._replicas_seen: dict[str, _Seen] = {}
        self._workers_seen: dict[str, tuple[int, tuple[WorkerSeen, ...]]] = {}
        self._pools_seen = self._see_pools(engine.now_s)
        self._inventory_seen = fleet.inventory()

    def is_api_away(self, at_s: float) -> bool:
        return any(fault.covers(at_s) for fault in self._away)

    def sample(self, now_s: float) -> None:
        """Scrape every running replica and every slot; the next `look` that has shown all before shows it."""
        missing: list[Missing] = []
        replicas = self._sample_replicas(now_s, missing)
        slots = self._read_slots(now_s, missing)
        ingress = tuple(
            IngressSample(model=model.name, at_s=now_s, unanswered=count)
            for model, count in zip(self._world.models, self._engine.ingress_refused_m.tolist(), strict=True)
        )
        self._rounds.append(_Scraped(replicas=replicas, slots=slots, ingress=ingress, missing=tuple(missing)))

    def look(self, now_s: float) -> tuple[Observation, Inventory]:
        """Everything as it is shown now; one call for each `sample`, IndexError without."""
        scraped = self._rounds.popleft()
        slots, missing = scraped.slots, scraped.missing
        if self.is_api_away(now_s):
            # As the loop does: what it read last, and no reading of a slot, for who holds which may have changed.
            slots = ()
            gaps = [
                *(_gap(Source.POOL, pool.pool) for pool in self._pools_seen),
                *(_gap(Source.SLOT, slot_id) for slot_id in self._slot_ids.values()),
            ]
            missing = (*gaps, *missing)
        else:
            self._pools_seen = self._see_pools(now_s)
            self._inventory_seen = self._fleet.inventory()
        seen = Observation(
            replicas=scraped.replicas,
            deployments=tuple(self._see_deployment(deployment, now_s) for deployment in self._fleet.deployments),
            pools=self._pools_seen,
            slots=slots,
            ingress=scraped.ingress,
            missing=missing,
        )
        return seen, self._inventory_seen

    def _sample_replicas(self, now_s: float, missing: list[Missing]) -> tuple[ReplicaSample, ...]:
        engine, running = self._engine, self._fleet.running()
        if self.is_api_away(now_s):
            known = {w.pod for pool in self._pools_seen for w in pool.workers if w.ready or w.draining}
            running = [replica for replica in running if replica.worker is not None and replica.worker.pod in known]
        slots = [replica.slot for replica in running]
        columns = zip(
            running,
            slots,
            engine.answered[slots].tolist(),
            engine.refused[slots].tolist(),
            engine.busy_s[slots].tolist(),
            engine.batches[slots].tolist(),
            engine.in_flight[slots].tolist(),
            engine.queued[slots].tolist(),
            np.cumsum(engine.buckets[slots], axis=1).tolist(),
            strict=True,
        )
        samples = [
            ReplicaSample(
                replica_id=replica.replica_id,
                model=self._world.models[replica.model].name,
                slot_id=self._slot_ids[slot],
                at_s=now_s,
                counters=Counters(
                    answered=answered,
                    refused=refused,
                    failed=0,
                    duration=Histogram(edges_s=self._edges_s, counts=tuple(counts)),
                    engine_busy_s=busy_s,
                    batches=batches,
                ),
                in_flight=in_flight,
                queued=queued,
            )
            for replica, slot, answered, refused, busy_s, batches, in_flight, queued, counts in columns
        ]
        if self._missing or self._frozen:
            samples = self._disturbed(samples, now_s, missing)
        return tuple(samples)

    def _disturbed(self, samples: list[ReplicaSample], now_s: float, missing: list[Missing]) -> list[ReplicaSample]:
        """The samples as faults leave them; the gaps are added to `missing`."""
        left = []
        for sample in samples:
            name = sample.replica_id
            if _hit(self._frozen, name, now_s, self._seed) is None:
                self._stuck.pop(name, None)
            else:
                sample = replace(self._stuck.setdefault(name, sample), at_s=now_s)
            if _hit(self._missing, name, now_s, self._seed) is None:
                left.append(sample)
            else:
                missing.append(_gap(Source.REPLICA, name))
        return left

    def _read_slots(self, now_s: float, missing: list[Missing]) -> tuple[SlotReading, ...]:
        """Each slot's engine time since the last sample; without time between the two there is nothing to read."""
        over_s = now_s - self._sampled_s
        if over_s <= 0:
            missing += [_gap(Source.SLOT, slot_id, MissingReason.NOT_SEEN) for slot_id in self._slot_ids.values()]
            return ()
        ratios = np.clip((self._engine.engine_s - self._engine_s)[self._slots] / over_s, 0.0, 1.0).tolist()
        self._engine_s = self._engine.engine_s.copy()
        self._sampled_s = now_s
        if self._garbage or self._slots_missing:
            return self._disturbed_slots(ratios, now_s, missing)
        return tuple(
            SlotReading(slot_id=slot_id, at_s=now_s, busy_ratio=ratio)
            for slot_id, ratio in zip(self._slot_ids.values(), ratios, strict=True)
        )

    def _disturbed_slots(
        self, ratios: Sequence[float], now_s: float, missing: list[Missing]
    ) -> tuple[SlotReading, ...]:
        readings = []
        for slot_id, true_ratio in zip(self._slot_ids.values(), ratios, strict=True):
            garbage = _hit(self._garbage, slot_id, now_s, self._seed)
            ratio = true_ratio if garbage is None else garbage.busy_ratio
            if _hit(self._slots_missing, slot_id, now_s, self._seed) is not None:
                missing.append(_gap(Source.SLOT, slot_id))
            elif not 0 <= ratio < math.inf:
                missing.append(_gap(Source.SLOT, slot_id, MissingReason.NOT_SEEN))
            elif ratio > MOST_BUSY_RATIO:
                missing.append(_gap(Source.SLOT, slot_id, MissingReason.OUT_OF_RANGE))
            else:
                readings.append(SlotReading(slot_id=slot_id, at_s=now_s, busy_ratio=min(1.0, ratio)))
        return tuple(readings)

    def _see_deployment(self, deployment: Deployment, now_s: float) -> DeploymentSeen:
        name = deployment.model.name
        changes, replicas = self._replicas_seen.get(name, (-1, ()))
        if changes != deployment.changes:
            replicas = tuple(_see_replica(replica) for replica in deployment.replicas)
            self._replicas_seen[name] = (deployment.changes, replicas)
        return DeploymentSeen(model=name, at_s=now_s, target=deployment.target, replicas=replicas)

    def _see_pools(self, now_s: float) -> tuple[PoolSeen, ...]:
        return tuple(self._see_pool(pool, now_s) for pool in self._fleet.pools)

    def _see_pool(self, pool: Pool, now_s: float) -> PoolSeen:
        changes, workers = self._workers_seen.get(pool.name, (-1, ()))
        if changes != pool.changes:
            workers = tuple(
                WorkerSeen(
                    pod=worker.pod,
                    node=None if worker.slot is None else self._world.node_name(worker.slot),
                    ready=worker.ready and not worker.draining,
                    deleting=worker.deleting,
                    draining=worker.draining,
                )
                for worker in pool.workers
            )
            self._workers_seen[pool.name] = (pool.changes, workers)
        return PoolSeen(pool=pool.name, at_s=now_s, wanted=pool.wanted, workers=workers)


def _see_replica(replica: Replica) -> ReplicaSeen:
    # Ray Serve lists a replica's node from the moment it runs (2.60).
    pod = replica.worker.pod if replica.worker is not None and replica.state is not ReplicaState.STARTING else None
    return ReplicaSeen(replica_id=replica.replica_id, state=replica.state, worker=pod)


def _of_kind(faults: Sequence[Fault], kind: type[_Span]) -> tuple[_Span, ...]:
    return tuple(fault for fault in faults if isinstance(fault, kind))


_Shared = TypeVar("_Shared", bound=SharedSpan)


def _hit(faults: Sequence[_Shared], name: str, at_s: float, seed: int) -> _Shared | None:
    """The first fault that hits `name` now."""
    return next((fault for fault in faults if fault.hits(name, at_s, seed)), None)


def _gap(source: Source, name: str, reason: MissingReason = MissingReason.UNREACHABLE) -> Missing:
    return Missing(source=source, name=name, reason=reason)
