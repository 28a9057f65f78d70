"""Observe, decide, act, record: one tick of the autoscaler, again and again.

A part of the world that cannot be read keeps its last reading, which ages until `decide` treats it as missing; so
nothing shrinks on it. A port that fails is left alone for a growing, jittered, capped time, and serving goes on
meanwhile: nothing in the data plane depends on this process.

Of several autoscalers one leads. The others tick as in a dry run, so that they know what the leader knows. The leader
renews its lease right before each write.

What to decide by is asked for at each tick. Another specification takes effect in the same tick and keeps what was
learned; one that is refused leaves the last in force, and each tick tells why. A pool that no model names any more is
kept until it is empty.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from autoscaler import lodgers
from autoscaler.actuation import Actuator, Outcome
from autoscaler.core.decide import decide
from autoscaler.core.decision import Plan
from autoscaler.core.observation import IngressSample, Missing, MissingReason, Observation, PoolSeen, Source
from autoscaler.core.respec import respecified
from autoscaler.core.spec import FleetSpec, PoolSpec
from autoscaler.core.state import State
from autoscaler.ports import (
    Clock,
    Cluster,
    ClusterSeen,
    Ingress,
    Leadership,
    Metrics,
    Recorder,
    Scraped,
    Serving,
    ServingSeen,
    SpecSource,
    Tick,
    Unavailable,
)
from autoscaler.uncollected import uncollected
from vgpu.adapters.kube_watch import Backoff
from vgpu.core.inventory import Inventory

log = logging.getLogger(__name__)

Reading = TypeVar("Reading")
NOTHING = ClusterSeen(inventory=Inventory(), pools=(), workers=(), exporters=(), problems=())
NOTHING_SERVED = ServingSeen(deployments=(), draining=frozenset())


@dataclass(slots=True)
class Patience:
    """When a failing port may be asked again. `draw` gives the jitter, a number from [0, 1)."""

    draw: Callable[[], float]
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=1.0, cap_s=30.0))
    failures: int = 0
    not_before_s: float = 0.0
    reason: str = ""

    def failed(self, reason: str, now_s: float) -> float:
        """Take in one more failure; the pause that follows."""
        self.failures += 1
        self.reason = reason
        pause_s = self.backoff.delay_s(self.failures, self.draw())
        self.not_before_s = now_s + pause_s
        return pause_s

    def answered(self) -> None:
        """Take in an answer."""
        self.failures, self.not_before_s, self.reason = 0, 0.0, ""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The ports of the loop."""

    models: SpecSource
    cluster: Cluster
    serving: Serving
    metrics: Metrics
    leadership: Leadership
    recorder: Recorder
    clock: Clock
    draw: Callable[[], float]
    ingress: Ingress | None = None
    """None: nobody hears requests for a model without a replica, so none goes to zero."""


class Loop:
    """The autoscaler, one tick at a time. With `dry_run` it decides and records, and changes nothing."""

    def __init__(self, world: World, *, interval_s: float, dry_run: bool = False) -> None:
        self._models_file = world.models.read()
        self._spec = self._models_file.spec
        self._world = world
        self._interval_s = interval_s
        self._dry_run = dry_run
        self._state = State()
        self._cluster_seen = NOTHING
        self._lent: dict[str, int] = {}
        self._serving_seen = NOTHING_SERVED
        self._ingress_seen: tuple[IngressSample, ...] = ()
        self._actuator = Actuator(
            cluster=world.cluster, serving=world.serving, leadership=world.leadership, clock=world.clock
        )
        self._patience = {port: Patience(world.draw) for port in ("cluster", "serving")}
        # Behind this one somebody may wait for a model that is asleep, and asking is cheap.
        self._patience["ingress"] = Patience(world.draw, Backoff(first_s=1.0, cap_s=4.0))
        self._number = 0

    def run(self) -> None:
        """Tick until the clock says stop. A tick that outlasts the interval is followed at once by the next."""
        clock = self._world.clock
        while True:
            began_s = clock.now_s()
            self._world.recorder.record(self.tick())
            if not clock.sleep(max(0.0, self._interval_s - (clock.now_s() - began_s))):
                return

    def tick(self) -> Tick:
        """One pass. Never raises: a defect before the plan stands keeps the state and changes nothing."""
        began_s = self._world.clock.now_s()
        self._number += 1
        problems: list[str] = []
        outcome = Outcome()
        seen, plan, defect = Observation(), None, None
        dry_run = self._dry_run
        try:
            self._follow(problems)
            seen = self._observe(problems)
            now_s = self._world.clock.now_s()
            with uncollected():
                self._state, plan = decide(self._spec, self._state, seen, self._cluster_seen.inventory, now_s)
            plan = lodgers.put_back(plan, self._lent, is_unread=self._patience["serving"].failures > 0)
            dry_run = dry_run or not self._leads(problems)
            if not dry_run:
                outcome = self._actuator.carry_out(plan.actions, self._cluster_seen.workers)
                self._announce(plan, problems)
            if dry_run or outcome.failed:
                self._state = self._state.unposted()  # a target that nobody set is no sign of another writer
        except Exception as error:  # the one broad except of the product: the next tick may well succeed
            log.exception("tick %d failed", self._number)
            defect = f"tick failed: {type(error).__name__}: {error}"
            problems.append(defect)
        return Tick(
            number=self._number,
            at_s=began_s,
            duration_s=self._world.clock.now_s() - began_s,
            seen=seen,
            inventory=self._cluster_seen.inventory,
            plan=plan,
            problems=(*problems, *self._cluster_seen.problems),
            failed_actions=outcome.failed,
            defect=defect,
            dry_run=dry_run,
            spec=self._spec,
            models_file=self._models_file,
            acted=outcome.acted,
            lent=self._lent,
        )

    def _follow(self, problems: list[str]) -> None:
        """Take in the models file as it is now."""
        self._models_file = read = self._world.models.read()
        problems += read.problems
        before, left = self._spec, self._left_behind(read.spec)
        self._spec = replace(read.spec, pools=(*read.spec.pools, *left)) if left else read.spec
        if self._spec != before or read.reworked:
            now_s = self._world.clock.now_s()
            self._state = respecified(self._state, before, self._spec, reworked=read.reworked, now_s=now_s)

    def _left_behind(self, spec: FleetSpec) -> list[PoolSpec]:
        """Pools of the last tick that the specification names no more and that still have workers, for all we know."""
        named, seen = {pool.name for pool in spec.pools}, self._cluster_seen
        used = {pool.pool for pool in seen.pools if pool.wanted or pool.workers}
        return [pool for pool in self._spec.pools if pool.name not in named and (pool.name in used or seen is NOTHING)]

    def _observe(self, problems: list[str]) -> Observation:
        """Read everything. Each reading carries its own time: one that hangs must not make the next look older."""
        world, now_s = self._world, self._world.clock.now_s
        models = [model.name for model in self._spec.models]
        gaps: list[Missing] = []
        self._cluster_seen, cluster_gap = self._ask(
            "cluster", lambda: world.cluster.read(self._spec, now_s()), self._cluster_seen, problems
        )
        self._serving_seen, serving_gap = self._ask(
            "serving", lambda: world.serving.read(models, now_s()), self._serving_seen, problems
        )
        scraped = world.metrics.scrape(self._cluster_seen.workers, self._cluster_seen.exporters, now_s())
        slots = scraped.slots
        if cluster_gap:
            gaps += [_unreachable(Source.POOL, pool.name) for pool in self._spec.pools]
            # Which worker holds which slot may have changed: what a device says belongs to nobody for certain, and an
            # unknown never shrinks anything.
            gaps += [_unreachable(Source.SLOT, slot.slot_id) for slot in self._cluster_seen.inventory.slots]
            slots = ()
        if serving_gap:
            gaps += [_unreachable(Source.DEPLOYMENT, model) for model in models]
        if self._read_ingress(models, problems):
            gaps += [_unreachable(Source.INGRESS, model) for model in models]
        serving = self._serving_seen
        drained = with_drained(self._cluster_seen.pools, serving.draining)
        pools, self._lent = lodgers.without(drained, serving.lent, serving.deployments, self._spec)
        return Observation(
            replicas=scraped.replicas,
            deployments=serving.deployments,
            pools=pools,
            slots=slots,
            ingress=self._ingress_seen,
            missing=(*gaps, *self._explained(scraped)),
        )

    def _read_ingress(self, models: Sequence[str], problems: list[str]) -> bool:
        """Read the ingress where there is one to read; True when it could not be read."""
        ingress = self._world.ingress
        if ingress is None:
            return False
        self._ingress_seen, gap = self._ask(
            "ingress", lambda: ingress.read(models, self._world.clock.now_s()), self._ingress_seen, problems
        )
        return gap

    def _announce(self, plan: Plan, problems: list[str]) -> None:
        """Tell the ingress when the replicas that clients may ask for are expected; nothing else depends on it."""
        ingress = self._world.ingress
        starts_s = {made.model: made.starts_in_s for made in plan.decisions if made.starts_in_s is not None}
        if ingress is None or not starts_s or self._patience["ingress"].failures:
            return  # one that has just not answered is left alone here too
        try:
            ingress.announce(starts_s)
        except Unavailable as error:
            problems.append(f"{error}; clients are told the usual time to come back")

    def _explained(self, scraped: Scraped) -> tuple[Missing, ...]:
        """Scrape gaps under the names `decide` asks by: the replicas that live in a worker, the slots of a node."""
        by_worker = {
            replica.worker: replica.replica_id
            for deployment in self._serving_seen.deployments
            for replica in deployment.replicas
            if replica.worker
        }
        explained = []
        for gap in scraped.missing:
            if gap.source is Source.REPLICA:
                # A worker that holds no replica serves no metrics: that is no gap.
                names = [by_worker[gap.name]] if gap.name in by_worker else []
            else:
                slots = [slot.slot_id for slot in self._cluster_seen.inventory.slots if slot.node == gap.name]
                names = slots or [gap.name]
            explained += [Missing(source=gap.source, name=name, reason=gap.reason) for name in names]
        return tuple(explained)

    def _ask(self, port: str, read: Callable[[], Reading], last: Reading, problems: list[str]) -> tuple[Reading, bool]:
        """A new reading, or the last one and True."""
        patience, now_s = self._patience[port], self._world.clock.now_s()
        if now_s < patience.not_before_s:
            # The reason stays in sight: a failure that took longer than an interval is followed at once by this tick.
            problems.append(f"{patience.reason}; next try in {patience.not_before_s - now_s:.1f} s")
            return last, True
        try:
            reading = read()
        except Unavailable as error:
            # The pause counts from the failure: a call that hung for 10 s has not paused for any of them.
            pause_s = patience.failed(str(error), self._world.clock.now_s())
            problems.append(f"{error}; next try in {pause_s:.1f} s")
            return last, True
        patience.answered()
        return reading, False

    def _leads(self, problems: list[str]) -> bool:
        """Take or renew the lead, each tick; who cannot ask does not lead."""
        try:
            return self._world.leadership.is_held(self._world.clock.now_s())
        except Unavailable as error:
            problems.append(f"{error}; nothing is changed until the lease can be renewed")
            return False


def with_drained(pools: Sequence[PoolSeen], draining: frozenset[str]) -> tuple[PoolSeen, ...]:
    """The pools as Kubernetes shows them, with what only Ray knows: which workers are drained, and so not ready."""
    return tuple(
        replace(
            pool,
            workers=tuple(
                replace(worker, ready=False, draining=True) if worker.pod in draining else worker
                for worker in pool.workers
            ),
        )
        for pool in pools
    )


def _unreachable(source: Source, name: str) -> Missing:
    return Missing(source=source, name=name, reason=MissingReason.UNREACHABLE)
