"""Nodes that will be taken away: what is on them gets successors elsewhere first, and then goes, exactly that.

The count that the load needs stays what it is. For a while there are more: as many as find a slot on nodes that stay
begin at once, with no step limit, for they replace and do not add; beyond `max_replicas` too, for without that a model
that has all it may have could never leave. Those on leaving nodes serve until their successors run, and where slots are
short, as long as their nodes are there. Ray Serve's word alone says who runs: no reading of a device is waited for.
Once the nodes are cordoned it was found that what is wanted has room without them: what the model wants beyond that
from then on, because those that stay share fuller cards or the load grows, keeps nobody there.

Nothing is drained while a successor still starts: Ray Serve would end replicas that start before those that are to go.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from autoscaler.core.decision import Decision, Reason, Stage, Step, numbers
from autoscaler.core.draft import Draft
from autoscaler.core.observation import DeploymentSeen, Missing, PoolSeen, ReplicaState
from autoscaler.core.placement import Grant
from autoscaler.core.record import replace
from autoscaler.core.spec import FleetSpec, ModelSpec
from autoscaler.core.state import Evacuation, ModelState
from vgpu.core.inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """What is on nodes that will be taken away, at one tick; empty where no node is."""

    nodes: frozenset[str] = frozenset()
    workers: Mapping[str, str] = field(default_factory=dict)
    """By pod on these nodes: its pool."""
    announced: frozenset[str] = frozenset()
    """Those of the pods whose nodes still take pods: that they will go is only foretold."""
    pools: Mapping[str, PoolSeen] = field(default_factory=dict)
    """Those that could be read, all workers in them."""

    @classmethod
    def of(cls, inventory: Inventory, seen: Iterable[PoolSeen], fresh: Mapping[str, PoolSeen | Missing]) -> "Leaving":
        """`seen` are all pools as they were read last, `fresh` those that were read now, or why not."""
        pools = {name: read for name, read in fresh.items() if isinstance(read, PoolSeen)}
        nodes = frozenset([node.name for node in inventory.nodes if node.leaving])
        if not nodes:
            return cls(pools=pools)
        workers = {worker.pod: pool.pool for pool in seen for worker in pool.workers if worker.node in nodes}
        open_nodes = {node.name for node in inventory.nodes if node.leaving and node.schedulable}
        announced = frozenset(worker.pod for pool in seen for worker in pool.workers if worker.node in open_nodes)
        return cls(nodes=nodes, workers=workers, announced=announced, pools=pools)

    def noticed(self, spec: ModelSpec, seen: DeploymentSeen, state: ModelState, now_s: float) -> ModelState:
        """The state with the model's replicas on leaving nodes; as it is while one of its pools is unread.

        Where a node stays after all, what runs is what is wanted from now on, within the bounds; then it falls as it
        always does.
        """
        before = state.evacuation
        if (before is None and not self.workers) or not self._are_read(spec):
            return state
        homes = {each.replica_id: each.worker for each in seen.replicas if each.state is ReplicaState.RUNNING}
        here = frozenset(replica_id for replica_id, worker in homes.items() if worker in self.workers)
        if before is not None and not (before.replicas & homes.keys()) <= here:
            draining = self._draining(spec)
            lasting = sum(key not in here and worker not in draining for key, worker in homes.items())
            desired = max(state.desired, min(lasting, spec.max_replicas))
            if desired != state.desired:
                state = replace(state, desired=desired, changed_s=now_s)
        if not here:
            return state if before is None else replace(state, evacuation=None)
        if before is None:
            before = Evacuation(replicas=here, seats=len(homes) - len(here), count=state.desired)
        promised = state.desired if before.promised is None else before.promised
        is_sure = not any(homes[replica_id] in self.announced for replica_id in here)
        return replace(state, evacuation=replace(before, replicas=here, promised=promised if is_sure else None))

    def marked(self, draft: Draft, seen: DeploymentSeen) -> Draft:
        """The draft with the model's running replicas on leaving nodes, those first that are drained already, and how
        many run elsewhere for good."""
        if draft.state.evacuation is None:
            return draft
        here = draft.state.evacuation.replicas
        placed = {replica_id: slot for replica_id, slot in draft.placed.items() if replica_id not in here}
        if not self._are_read(draft.spec):
            return replace(draft, placed=placed)
        draining = self._draining(draft.spec)
        running = [each for each in seen.replicas if each.state is ReplicaState.RUNNING]
        running.sort(key=lambda each: (each.worker not in draining, each.worker or "", each.replica_id))
        return replace(
            draft,
            leaving={r.replica_id: self.workers[r.worker or ""] for r in running if r.replica_id in here},
            staying=sum(each.replica_id not in here and each.worker not in draining for each in running),
            placed=placed,
        )

    def decided(self, draft: Draft, grant: Grant, made: Decision, now_s: float) -> tuple[Decision, Evacuation | None]:
        """The decision with what is kept on leaving nodes beside it; `made` is for the nodes that stay."""
        before = draft.state.evacuation
        if before is None:
            return made, None
        if draft.signals is None or not self._are_read(draft.spec):
            count = max(before.count, grant.count)
            return replace(made, count=count, spread=()), replace(before, count=count)
        leaving, need = len(draft.leaving), grant.count
        seats = grant.seats
        if now_s < (draft.state.backoff_until_s or now_s):
            seats = min(seats, draft.staying)  # the last ones did not start
        owed = need if before.promised is None else min(need, before.promised)
        kept = min(leaving, max(0, owed - draft.staying))
        released = leaving - kept if draft.staying >= seats else 0
        count = seats + leaving - released
        seen = numbers(on_leaving=leaving, successors_running=leaving - kept, short=min(kept, need - grant.seats))
        step = Step(stage=Stage.PLACEMENT, before=need, after=count, reason=Reason.NODE_LEAVING, numbers=seen)
        made = replace(
            made,
            count=count,
            steps=(*made.steps, step),
            spread=self._spread(draft, grant, released) if draft.types else (),
            victims=(*draft.leaving, *made.victims),
            leaving=tuple(draft.leaving),
            released=released,
        )
        return made, replace(before, seats=seats, count=count)

    def _spread(self, draft: Draft, grant: Grant, released: int) -> tuple[tuple[str, int], ...]:
        """How many are for each pool, those included that leave later."""
        spread = dict(grant.spread)
        for pool in list(draft.leaving.values())[released:]:
            spread[pool] = spread.get(pool, 0) + 1
        return tuple(sorted(spread.items()))

    def _are_read(self, spec: ModelSpec) -> bool:
        return all(pool in self.pools for pool in spec.pools)

    def _draining(self, spec: ModelSpec) -> frozenset[str]:
        return frozenset(w.pod for pool in spec.pools for w in self.pools[pool].workers if w.draining)


def vacated(
    leaving: Leaving, spec: FleetSpec, deployments: Mapping[str, DeploymentSeen], absent: Collection[str]
) -> tuple[Mapping[str, PoolSeen], frozenset[str]]:
    """The pools, with empty workers on leaving nodes as drained ones: nobody may sit down in them, and they go. And the
    pools that have such.

    They are not drained in fact: only a replica's own server can do that. So no target rises meanwhile, or Ray Serve
    would start a replica in one of them; and while some replica starts nobody knows where, it may be there.
    """
    if not leaving.workers:
        return leaving.pools, frozenset()
    pools, closing = dict(leaving.pools), set[str]()
    replicas = [(seen.model, replica.worker) for seen in deployments.values() for replica in seen.replicas]
    held, homeless = {worker for _, worker in replicas}, {model for model, worker in replicas if worker is None}
    for name, pool in leaving.pools.items():
        empty = {worker.pod for worker in pool.live if worker.pod in leaving.workers and worker.pod not in held}
        models = {model.name for model in spec.models_of(name)}
        if not empty or not models <= deployments.keys() | absent:
            continue
        is_certain = homeless.isdisjoint(models)
        pools[name] = replace(
            pool,
            workers=tuple(
                replace(each, ready=False, draining=is_certain or not each.ready) if each.pod in empty else each
                for each in pool.workers
            ),
        )
        closing.add(name)
    return pools, frozenset(closing)
