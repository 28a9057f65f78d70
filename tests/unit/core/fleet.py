"""A toy fleet in seconds: workers on slots, replicas in workers, a fluid queue in each replica.

It obeys plans as Kubernetes and Ray Serve would (with delays) and shows what their metrics would show, so that whole
stories can be told to `decide` without a clock. One busy slot of a best-effort card slows the other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from autoscaler.core.decide import decide
from autoscaler.core.decision import Decision, DrainWorkers, Plan, SetReplicas, SetWorkers
from autoscaler.core.histogram import Histogram
from autoscaler.core.learning import Learned
from autoscaler.core.observation import Counters, Observation, ReplicaSample, SlotReading
from autoscaler.core.spec import FleetSpec
from autoscaler.core.state import State
from tests import build
from vgpu.core.inventory import Inventory, Slot
from vgpu.core.share import SchedulerPolicy


@dataclass
class ToyReplica:
    """One replica: its queue, and what it has counted."""

    replica_id: str
    worker: str
    ready_s: float
    backlog: float = 0.0
    owed: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(build.EDGES_S) + 1))
    answered: int = 0
    busy_s: float = 0.0
    busy_ratio: float = 0.0
    used_per_s: float = 0.0
    """What it did in the last second."""

    def serve(self, arrivals: float, per_s: float, solo_s: float) -> None:
        """One second: take in arrivals, answer what the engine manages, note how long that took."""
        waiting = self.backlog + arrivals
        done = min(waiting, per_s)
        latency_s = solo_s + max(0.0, waiting - done) / per_s
        self.backlog = waiting - done
        self.busy_ratio = done / per_s
        self.used_per_s = done
        self.busy_s += done / per_s
        self.owed += done
        whole = int(self.owed)
        self.owed -= whole
        self.answered += whole
        for index, edge in enumerate((*build.EDGES_S, float("inf"))):
            if latency_s <= edge:
                self.counts[index] += whole


@dataclass
class ToyFleet:
    """One model on one pool; `tick` decides, obeys and lets a second pass."""

    spec: FleetSpec
    stock: Inventory
    load_per_s: Callable[[float], float]
    capacity_per_s: float = 20.0
    solo_s: float = 0.04
    worker_delay_s: float = 2.0
    replica_delay_s: float = 3.0
    seen_filter: Callable[[Observation, float], Observation] = lambda seen, now_s: seen
    learns: bool = True
    """False: what was learned is forgotten at every tick, as if batches had never been enough to tell their cost."""
    now_s: float = 0.0
    state: State = field(default_factory=State)
    target: int = 1
    wanted: int = 0
    preferred_nodes: tuple[str, ...] = ()
    workers: dict[str, float] = field(default_factory=dict)
    drained: set[str] = field(default_factory=set)
    replicas: dict[str, ToyReplica] = field(default_factory=dict)
    made: int = 0
    unanswered: float = 0.0
    """Requests that found no replica; shown where the model may have none."""
    plans: list[Plan] = field(default_factory=list)

    @property
    def counts(self) -> list[int]:
        return [plan.decisions[0].count for plan in self.plans if plan.decisions]

    @property
    def decision(self) -> Decision:
        return self.plans[-1].decisions[0]

    def running(self) -> list[ToyReplica]:
        return [replica for replica in self.replicas.values() if replica.ready_s <= self.now_s]

    def run(self, seconds: int) -> "ToyFleet":
        for _ in range(seconds):
            self.tick()
        return self

    def tick(self) -> Plan:
        seen = self.seen_filter(self.observe(), self.now_s)
        self.state, plan = decide(self.spec, self.state, seen, self.stock, self.now_s)
        self.plans.append(plan)
        if not self.learns:
            known = {name: replace(model, learned=Learned()) for name, model in self.state.models.items()}
            self.state = replace(self.state, models=known)
        for action in plan.actions:
            match action:
                case SetReplicas(count=count):
                    ready = sum(at_s <= self.now_s and pod not in self.drained for pod, at_s in self.workers.items())
                    assert count <= max(action.before, ready)
                    self.target = count
                case DrainWorkers(workers=pods):
                    self.drained.update(pods)
                case SetWorkers():
                    self.size_pool(action)
        self.now_s += 1.0
        self.create_workers()
        self.start_replicas()
        self.serve()
        return plan

    def size_pool(self, action: SetWorkers) -> None:
        """Take the new size; remove exactly the victims, which must hold no replica."""
        self.wanted = action.count
        self.preferred_nodes = action.preferred_nodes or self.preferred_nodes
        held = {replica.worker for replica in self.replicas.values()}
        for pod in action.victims:
            assert pod not in held, f"{pod} still holds a replica"
            self.remove_worker(pod)

    def remove_worker(self, pod: str) -> None:
        """The pod is gone, with the replica in it; its slot is free."""
        del self.workers[pod]
        self.drained.discard(pod)
        self.replicas = {key: replica for key, replica in self.replicas.items() if replica.worker != pod}
        slot = next(slot for slot in self.stock.slots if slot.holder == pod)
        self.stock = self.stock.with_holders({slot.slot_id: None})

    def create_workers(self) -> None:
        """As a Deployment does: as many pods as wanted, preferred nodes first, while there are free slots."""
        order = {name: place for place, name in enumerate(self.preferred_nodes)}
        while len(self.workers) < self.wanted and self.stock.free_slots:
            slot = min(self.stock.free_slots, key=lambda slot: (order.get(slot.node, len(order)), slot.slot_id))
            self.made += 1
            pod = f"serving/w{self.made:03}"
            self.workers[pod] = self.now_s + self.worker_delay_s
            self.stock = self.stock.with_holders({slot.slot_id: pod})

    def start_replicas(self) -> None:
        """Serve keeps as many replicas as its target, each alone in a ready worker.

        Those that do not run yet go first, then those in drained workers, then the newest. One that starts in a worker
        that was drained since goes at once.
        """
        self.replicas = {
            key: one
            for key, one in self.replicas.items()
            if one.ready_s <= self.now_s or one.worker not in self.drained
        }
        while len(self.replicas) > self.target:
            leaving = max(
                self.replicas.values(),
                key=lambda one: (one.ready_s > self.now_s, one.worker in self.drained, one.replica_id),
            )
            del self.replicas[leaving.replica_id]
        held = {replica.worker for replica in self.replicas.values()}
        for pod, ready_s in sorted(self.workers.items()):
            if len(self.replicas) < self.target and ready_s <= self.now_s and pod not in held | self.drained:
                self.made += 1
                key = f"r{self.made:03}"
                self.replicas[key] = ToyReplica(replica_id=key, worker=pod, ready_s=self.now_s + self.replica_delay_s)

    def serve(self) -> None:
        """A router that knows the queues sends each request where the wait is shortest; none moves afterwards."""
        running = self.running()
        self.unanswered += 0.0 if running else self.load_per_s(self.now_s)
        rates = {replica.replica_id: self.rate(replica) for replica in running}
        level_s = self.wait_s(self.load_per_s(self.now_s), running, rates)
        for replica in running:
            per_s = rates[replica.replica_id]
            replica.serve(max(0.0, level_s * per_s - replica.backlog), per_s, self.solo_s)

    @staticmethod
    def wait_s(arrivals: float, running: list[ToyReplica], rates: dict[str, float]) -> float:
        """The wait up to which the arrivals fill the shortest queues."""
        level_s, filled_per_s = 0.0, 0.0
        for replica in sorted(running, key=lambda one: one.backlog / rates[one.replica_id]):
            next_s = replica.backlog / rates[replica.replica_id]
            room = filled_per_s * (next_s - level_s)
            if filled_per_s and arrivals <= room:
                break
            arrivals, level_s = arrivals - room, next_s
            filled_per_s += rates[replica.replica_id]
        return level_s + arrivals / filled_per_s if filled_per_s else level_s

    def rate(self, replica: ToyReplica) -> float:
        """What the engine leaves a replica: its turn, and under best effort also what the neighbours leave over."""
        slot = self.slot_of(replica)
        if slot.gpu.policy is SchedulerPolicy.FIXED_SHARE or slot.gpu.uuid is None:
            return self.capacity_per_s
        beside = [other for other in self.running() if self.slot_of(other).gpu_key == slot.gpu_key]
        turn = 1 / len(beside)
        if slot.gpu.policy is SchedulerPolicy.EQUAL_SHARE:
            return self.capacity_per_s * turn
        used = sum(other.used_per_s for other in beside if other is not replica) / self.capacity_per_s
        return self.capacity_per_s * max(turn, 1 - used)

    def slot_of(self, replica: ToyReplica) -> Slot:
        return next(slot for slot in self.stock.slots if slot.holder == replica.worker)

    def observe(self) -> Observation:
        running = self.running()
        ids = {replica.replica_id for replica in running}
        nodes = {slot.holder: slot.node for slot in self.stock.slots if slot.holder}
        busy = {
            self.slot_of(replica).slot_id: min(1.0, replica.used_per_s / self.capacity_per_s) for replica in running
        }
        waiting = [key for key in self.replicas if key not in ids]
        waiting += [f"unplaced-{n}" for n in range(self.target - len(self.replicas))]
        return build.world(
            self.stock,
            pools=[
                build.pool(
                    *(
                        build.worker(pod, nodes[pod], ready=at <= self.now_s, draining=pod in self.drained)
                        for pod, at in self.workers.items()
                    ),
                    at_s=self.now_s,
                    wanted=self.wanted,
                )
            ],
            deployments=[
                build.deployment(
                    at_s=self.now_s,
                    target=self.target,
                    running={replica.replica_id: replica.worker for replica in running},
                    starting=waiting,
                )
            ],
            replicas=[self.scrape(replica) for replica in running],
            slots=[
                SlotReading(slot_id=slot.slot_id, at_s=self.now_s, busy_ratio=busy.get(slot.slot_id, 0.0))
                for slot in self.stock.slots
            ],
            ingress=[
                build.ingress(int(self.unanswered), self.now_s, model=model.name)
                for model in self.spec.models
                if model.min_replicas == 0
            ],
        )

    def scrape(self, replica: ToyReplica) -> ReplicaSample:
        waiting = int(replica.backlog)
        return ReplicaSample(
            replica_id=replica.replica_id,
            model=self.spec.models[0].name,
            slot_id=self.slot_of(replica).slot_id,
            at_s=self.now_s,
            counters=Counters(
                answered=replica.answered,
                refused=0,
                failed=0,
                duration=Histogram(edges_s=build.EDGES_S, counts=tuple(replica.counts)),
                engine_busy_s=replica.busy_s,
            ),
            in_flight=waiting + int(replica.busy_ratio > 0),
            queued=waiting,
        )
