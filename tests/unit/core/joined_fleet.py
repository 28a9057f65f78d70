"""A toy fleet of several models and pools in seconds: as `fleet`, for models that may live on several slot types."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autoscaler.core.decide import decide
from autoscaler.core.decision import DrainWorkers, Plan, SetReplicas, SetWorkers
from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import Counters, Observation, ReplicaSample, SlotReading
from autoscaler.core.spec import FleetSpec, ModelSpec
from autoscaler.core.state import State
from tests import build
from tests.unit.core.fleet import ToyFleet, ToyReplica
from vgpu.core.inventory import Inventory, Slot

AWAY_S = 0.02


@dataclass
class JoinedFleet:
    """`tick` decides, obeys and lets a second pass. Workers and replicas take time to start."""

    spec: FleetSpec
    stock: Inventory
    loads_per_s: Mapping[str, Callable[[float], float]]
    """By model, over time."""
    engine_s: Mapping[str, float]
    """By pool: of a request."""
    worker_delay_s: float = 5.0
    replica_delay_s: float = 15.0
    now_s: float = 0.0
    state: State = field(default_factory=State)
    wanted: dict[str, int] = field(default_factory=dict)
    preferred: dict[str, tuple[str, ...]] = field(default_factory=dict)
    workers: dict[str, dict[str, float]] = field(default_factory=dict)
    """By pool and pod: when it is ready."""
    drained: set[str] = field(default_factory=set)
    replicas: dict[str, dict[str, ToyReplica]] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    made: int = 0
    plans: list[Plan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.workers = {pool.name: {} for pool in self.spec.pools}
        self.replicas = {model.name: {} for model in self.spec.models}
        self.targets = {model.name: model.min_replicas for model in self.spec.models}

    def counts(self, model: str) -> list[int]:
        return [made.count for plan in self.plans for made in plan.decisions if made.model == model]

    def running(self, model: str) -> list[ToyReplica]:
        return [replica for replica in self.replicas[model].values() if replica.ready_s <= self.now_s]

    def run(self, seconds: int) -> "JoinedFleet":
        for _ in range(seconds):
            self.tick()
        return self

    def tick(self) -> None:
        self.state, plan = decide(self.spec, self.state, self.observe(), self.stock, self.now_s)
        self.plans.append(plan)
        for action in plan.actions:
            match action:
                case SetReplicas():
                    self.targets[action.model] = action.count
                case DrainWorkers(workers=pods):
                    self.drained.update(pods)
                case SetWorkers():
                    self.size_pool(action)
        self.now_s += 1.0
        for pool in self.workers:
            self.create_workers(pool)
        for model in self.spec.models:
            self.start_replicas(model)
        for model in self.spec.models:
            self.serve(model.name)

    def slots(self) -> dict[str, Slot]:
        """By worker."""
        return {slot.holder: slot for slot in self.stock.slots if slot.holder is not None}

    def size_pool(self, action: SetWorkers) -> None:
        self.wanted[action.pool] = action.count
        self.preferred[action.pool] = action.preferred_nodes or self.preferred.get(action.pool, ())
        held = self.held()
        for pod in action.victims:
            assert pod not in held, f"{pod} still holds a replica"
            del self.workers[action.pool][pod]
            self.drained.discard(pod)
            self.stock = self.stock.with_holders({self.slots()[pod].slot_id: None})

    def held(self) -> set[str]:
        return {replica.worker for replicas in self.replicas.values() for replica in replicas.values()}

    def create_workers(self, pool: str) -> None:
        profile = next(each.profile for each in self.spec.pools if each.name == pool)
        order = {name: place for place, name in enumerate(self.preferred.get(pool, ()))}
        while len(self.workers[pool]) < self.wanted.get(pool, 0):
            free = [slot for slot in self.stock.free_slots if slot.profile == profile]
            if not free:
                return
            slot = min(free, key=lambda slot: (order.get(slot.node, len(order)), slot.slot_id))
            self.made += 1
            self.workers[pool][f"s/w{self.made:04}"] = self.now_s + self.worker_delay_s
            self.stock = self.stock.with_holders({slot.slot_id: f"s/w{self.made:04}"})

    def start_replicas(self, model: ModelSpec) -> None:
        """Those that do not run yet go first, then those in drained workers, then the newest. One that starts in a
        worker that was drained since goes at once."""
        mine, target = self.replicas[model.name], self.targets[model.name]
        for one in [one for one in mine.values() if one.ready_s > self.now_s and one.worker in self.drained]:
            del mine[one.replica_id]
        while len(mine) > target:
            leaving = max(
                mine.values(), key=lambda one: (one.ready_s > self.now_s, one.worker in self.drained, one.replica_id)
            )
            del mine[leaving.replica_id]
        taken = self.held() | self.drained
        for pool in model.pools:
            for pod, ready_s in sorted(self.workers[pool].items()):
                if len(mine) < target and ready_s <= self.now_s and pod not in taken:
                    self.made += 1
                    key = f"{model.name}{self.made:04}"
                    mine[key] = ToyReplica(replica_id=key, worker=pod, ready_s=self.now_s + self.replica_delay_s)

    def serve(self, model: str) -> None:
        running, slots = self.running(model), self.slots()
        homes = {pod: pool for pool, pods in self.workers.items() for pod in pods}
        alone_s = {replica.replica_id: self.engine_s[homes[replica.worker]] for replica in running}
        mates = [one for name in self.replicas for one in self.running(name)]
        rates = {}
        for replica in running:
            card = slots[replica.worker].gpu_key
            beside = [one for one in mates if slots[one.worker].gpu_key == card]
            others = sum(one.busy_ratio for one in beside if one is not replica)
            part = max(1 / len(beside), 1 - others)
            rates[replica.replica_id] = 1 / (AWAY_S + alone_s[replica.replica_id] / part)
        level_s = ToyFleet.wait_s(self.loads_per_s[model](self.now_s), running, rates)
        for replica in running:
            per_s, before_s = rates[replica.replica_id], replica.busy_s
            replica.serve(max(0.0, level_s * per_s - replica.backlog), per_s, 1 / per_s)
            replica.busy_ratio = min(1.0, replica.used_per_s * alone_s[replica.replica_id])
            replica.busy_s = before_s + replica.busy_ratio

    def observe(self) -> Observation:
        slots, busy, samples, deployments = self.slots(), dict[str, float](), [], []
        for model in self.replicas:
            running = self.running(model)
            waiting = [key for key, one in self.replicas[model].items() if one not in running]
            waiting += [f"{model}-{index}" for index in range(self.targets[model] - len(self.replicas[model]))]
            homes = {one.replica_id: one.worker for one in running}
            deployments.append(
                build.deployment(
                    model=model, at_s=self.now_s, target=self.targets[model], running=homes, starting=waiting
                )
            )
            for one in running:
                busy[slots[one.worker].slot_id] = one.busy_ratio
                samples.append(self.sample(model, one, slots[one.worker].slot_id))
        pools = [
            build.pool(
                *(
                    build.worker(pod, slots[pod].node, ready=ready_s <= self.now_s, draining=pod in self.drained)
                    for pod, ready_s in pods.items()
                ),
                name=pool,
                at_s=self.now_s,
                wanted=self.wanted.get(pool, 0),
            )
            for pool, pods in self.workers.items()
        ]
        readings = [
            SlotReading(slot_id=slot.slot_id, at_s=self.now_s, busy_ratio=busy.get(slot.slot_id, 0.0))
            for slot in self.stock.slots
        ]
        return Observation(
            replicas=tuple(samples), deployments=tuple(deployments), pools=tuple(pools), slots=tuple(readings)
        )

    def sample(self, model: str, one: ToyReplica, slot_id: str) -> ReplicaSample:
        duration = Histogram(edges_s=build.EDGES_S, counts=tuple(one.counts))
        counters = Counters(answered=one.answered, refused=0, failed=0, duration=duration, engine_busy_s=one.busy_s)
        return ReplicaSample(
            replica_id=one.replica_id,
            model=model,
            slot_id=slot_id,
            at_s=self.now_s,
            counters=counters,
            in_flight=int(one.backlog) + int(one.used_per_s > 0),
            queued=int(one.backlog),
        )
