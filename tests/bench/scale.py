"""How long one tick takes and how much memory it needs, from 10 to 1,000 nodes: `python -m tests.bench.scale`.

Eight slots a node, all of one card; half as many models as nodes. At rest every slot is held and the load stays; most
models would do with fewer replicas, and as the fleet obeys nothing, each tick decides that fall anew. Growing: half of
the slots are free, and the load of every model rises at every tick. Short: the same with no slot free, so that models
yield to one another. Each size runs in a process of its own, learns first, and is then timed over
consecutive ticks with new readings. One core, called as the live loop calls it: the cyclic collector waits until the
plan is made; what it then takes to look at the young records is said beside. Building the readings does not count. A
1,000-node fleet is modelled here, never measured on one.
"""

import argparse
import gc
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from autoscaler.core.decide import decide
from autoscaler.core.decision import Plan
from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import (
    Counters,
    DeploymentSeen,
    Observation,
    PoolSeen,
    ReplicaSample,
    ReplicaSeen,
    ReplicaState,
    SlotReading,
    WorkerSeen,
)
from autoscaler.core.spec import FleetSpec, ModelSpec, PoolSpec
from autoscaler.core.state import State
from autoscaler.uncollected import uncollected
from vgpu.core.inventory import Gpu, Inventory, Node, Slot
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy

SIZES = (10, 30, 100, 300, 1000)
CASES = ("at_rest", "growing", "short")
PROFILE = parse_profile("v100d-4q-4GB")
SLOTS = PROFILE.most_per_gpu
INTERVAL_S = 5.0
LEARNING_TICKS, TIMED_TICKS = 12, 7
AWAY_S, ENGINE_S = 0.033, 0.027
"""A batch alone on its card: time off the engine and on it."""
EDGES_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
SPREAD = (0, 0, 0.1, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1, 1, 1, 1, 1, 1, 1, 1, 1)
"""The part of requests within each edge, and the total."""


@dataclass(slots=True)
class Replica:
    """What one replica has counted, and where it is."""

    replica_id: str
    model: str
    slot_id: str
    worker: str
    answered: int = 0
    owed: float = 0.0
    busy_s: float = 0.0
    counts: tuple[int, ...] = (0,) * len(SPREAD)


@dataclass(slots=True)
class ModelledFleet:
    """A fleet that shows readings of a given load and obeys nothing."""

    spec: FleetSpec
    stock: Inventory
    replicas: list[Replica]
    random: Random
    now_s: float = 0.0
    rates_per_s: dict[str, float] = field(default_factory=dict)
    """By model, of each replica."""

    def observe(self, growth_ratio: float) -> Observation:
        """Let a tick pass under a load that is this much larger than in the tick before, a little noise beside."""
        self.now_s += INTERVAL_S
        for model in self.spec.models:
            before = self.rates_per_s.get(model.name, self.random.uniform(2.0, 3.5))
            self.rates_per_s[model.name] = before * growth_ratio
        pool = self.spec.pools[0].name
        running: dict[str, list[ReplicaSeen]] = {model.name: [] for model in self.spec.models}
        for replica in self.replicas:
            seen = ReplicaSeen(replica_id=replica.replica_id, state=ReplicaState.RUNNING, worker=replica.worker)
            running[replica.model].append(seen)
        ratios: dict[str, float] = {}
        samples = tuple(self._scrape(replica, ratios) for replica in self.replicas)
        return Observation(
            replicas=samples,
            deployments=tuple(
                DeploymentSeen(model=name, at_s=self.now_s, target=len(seen), replicas=tuple(seen))
                for name, seen in running.items()
            ),
            pools=(PoolSeen(pool=pool, at_s=self.now_s, wanted=len(self.replicas), workers=self._workers()),),
            slots=tuple(
                SlotReading(slot_id=slot.slot_id, at_s=self.now_s, busy_ratio=ratios.get(slot.slot_id, 0.0))
                for slot in self.stock.slots
            ),
        )

    def _scrape(self, replica: Replica, ratios: dict[str, float]) -> ReplicaSample:
        rate_per_s = self.rates_per_s[replica.model] * self.random.uniform(0.9, 1.1)
        ratios[replica.slot_id] = min(1.0, rate_per_s * ENGINE_S)
        replica.owed += rate_per_s * INTERVAL_S
        done = int(replica.owed)
        replica.owed -= done
        replica.answered += done
        replica.busy_s += min(INTERVAL_S, rate_per_s * INTERVAL_S * (AWAY_S + 1.5 * ENGINE_S))
        replica.counts = tuple(count + int(done * part) for count, part in zip(replica.counts, SPREAD, strict=True))
        return ReplicaSample(
            replica_id=replica.replica_id,
            model=replica.model,
            slot_id=replica.slot_id,
            at_s=self.now_s,
            counters=Counters(
                answered=replica.answered,
                refused=0,
                failed=0,
                duration=Histogram(edges_s=EDGES_S, counts=replica.counts),
                engine_busy_s=replica.busy_s,
                batches=replica.answered,
            ),
            in_flight=1,
            queued=0,
        )

    def _workers(self) -> tuple[WorkerSeen, ...]:
        return tuple(
            WorkerSeen(pod=replica.worker, node=replica.slot_id.split("/")[0], ready=True) for replica in self.replicas
        )


def modelled_fleet(nodes: int, case: str) -> ModelledFleet:
    """A fleet of so many nodes: every second slot held where it shall grow, every one at rest."""
    models, every = max(1, nodes // 2), 2 if case == "growing" else 1
    pool = PoolSpec(name="p", profile=PROFILE)
    names = [f"model-{index:04d}" for index in range(models)]
    replicas: list[Replica] = []
    made: list[Node] = []
    for number in range(nodes):
        node = f"node-{number:05d}"
        card = Gpu(
            uuid=f"GPU-{number:05d}", framebuffer_mib=PROFILE.board_framebuffer_mib, policy=SchedulerPolicy.BEST_EFFORT
        )
        slots = []
        for index in range(SLOTS):
            pod = f"serving/worker-{number:05d}-{index}" if index % every == 0 else None
            slots.append(Slot(node=node, index=index, profile=PROFILE, gpu=card, holder=pod))
            if pod is not None:
                model = names[len(replicas) % models]
                replicas.append(
                    Replica(
                        replica_id=f"{model}-{len(replicas):06d}", model=model, slot_id=f"{node}/{index}", worker=pod
                    )
                )
        made.append(Node(name=node, ready=True, schedulable=True, slots=tuple(slots)))
    spec = FleetSpec(
        pools=(pool,),
        models=tuple(
            ModelSpec(name=name, pool=pool.name, objective_p95_ms=300, max_replicas=min(32, SLOTS * nodes))
            for name in names
        ),
    )
    return ModelledFleet(spec=spec, stock=Inventory(nodes=tuple(made)), replicas=replicas, random=Random(nodes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One size in one case."""

    case: str
    nodes: int
    slots: int
    models: int
    tick_ms: float
    worst_tick_ms: float
    collection_ms: float
    """The collection of young records that follows."""
    peak_mib: float
    growing_models: int
    """Models whose count rose in the last timed tick."""
    placed: int
    """Models whose whole wish found its slots in that tick."""


def measure(nodes: int, case: str) -> Timed:
    """Learn, then time consecutive ticks. To be called in a process of its own: the peak is the process's."""
    fleet = modelled_fleet(nodes, case)
    state = State()
    for _ in range(LEARNING_TICKS):
        state, plan = decide(fleet.spec, state, fleet.observe(1.0), fleet.stock, fleet.now_s)
    taken_ms, collected_ms = list[float](), list[float]()
    for _ in range(TIMED_TICKS):
        seen = fleet.observe(1.0 if case == "at_rest" else 1.12)
        began_s = time.process_time()
        with uncollected():
            state, plan = decide(fleet.spec, state, seen, fleet.stock, fleet.now_s)
        ended_s = time.process_time()
        gc.collect(0)
        taken_ms.append((ended_s - began_s) * 1000)
        collected_ms.append((time.process_time() - ended_s) * 1000)
    known = sum(model.learned.service.is_known for model in state.models.values())
    if known < len(fleet.spec.models):
        raise AssertionError(f"only {known} of {len(fleet.spec.models)} models know their cost: nothing was measured")
    return _timed(fleet, case, plan, taken_ms, collected_ms)


def _timed(fleet: ModelledFleet, case: str, plan: Plan, taken_ms: list[float], collected_ms: list[float]) -> Timed:
    return Timed(
        case=case,
        nodes=len(fleet.stock.nodes),
        slots=len(fleet.stock.slots),
        models=len(fleet.spec.models),
        tick_ms=round(statistics.median(taken_ms), 1),
        worst_tick_ms=round(max(taken_ms), 1),
        collection_ms=round(statistics.median(collected_ms), 1),
        peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        growing_models=sum(decision.count > len(fleet.replicas) // len(plan.decisions) for decision in plan.decisions),
        placed=sum(decision.unplaced == 0 for decision in plan.decisions),
    )


def exponent(rows: list[dict[str, float]]) -> float:
    """The slope of a straight line through log(nodes), log(tick): 1 is linear growth."""
    points = [(math.log(row["nodes"]), math.log(row["tick_ms"])) for row in rows]
    slope, _ = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
    return round(slope, 2)


def main() -> int:
    """Measure all sizes and cases; JSON to standard output, a table to standard error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--one", choices=CASES, help="measure one case of one size in this process")
    given = parser.parse_args()
    if given.one:
        timed = measure(given.nodes[0], given.one)
        sys.stdout.write(json.dumps({name: getattr(timed, name) for name in Timed.__slots__}) + "\n")
        return 0
    rows = []
    for case in CASES:
        for nodes in given.nodes:
            command = [sys.executable, "-m", "tests.bench.scale", "--one", case, "--nodes", str(nodes)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path.cwd(), env=os.environ)
            rows.append(json.loads(done.stdout))
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), file=sys.stderr)
    growth = {case: exponent([row for row in rows if row["case"] == case]) for case in CASES} if rows[1:] else {}
    sys.stdout.write(json.dumps({"ticks": rows, "growth_exponent": growth}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
