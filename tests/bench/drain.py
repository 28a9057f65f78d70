"""`python -m tests.bench.drain --times 100`: replicas leave a live system under load, each time the chosen one.

Up to three replicas and down to two again, by the system's own plan and adapters, with a decision made here in place of
the autoscaler's, which runs dry meanwhile. Warm workers stand by, so that a cycle costs one model load and not a Ray
node's start. Every request of the open loop must be answered with 200.
"""

import argparse
import asyncio
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from autoscaler import config
from autoscaler.actuation import Actuator
from autoscaler.adapters.cluster import KubernetesCluster
from autoscaler.adapters.deployment_pools import DeploymentPools
from autoscaler.adapters.lease import LeaseLeadership
from autoscaler.adapters.ray_serve import RayServe
from autoscaler.core.actions import Fleet, plan_actions
from autoscaler.core.decision import Decision
from autoscaler.core.observation import DeploymentSeen, ReplicaState
from autoscaler.core.spec import FleetSpec
from autoscaler.embedded import guard
from autoscaler.embedded.installation import NAMESPACE, Installation
from autoscaler.load import client, schedule
from autoscaler.loop import with_drained
from autoscaler.process import RealClock
from tests import build
from tests.bench.installed import install
from vgpu.adapters import kube

MODEL = "minilm"
MOST, LEAST = 3, 2
WORKERS = 6
POLL_S = 0.2
GIVE_UP_S = 120.0
RATE_PER_S = 8.0


Holds = Callable[[DeploymentSeen], bool]


class TookTooLong(Exception):
    """Something that was asked for did not happen in time."""


@dataclass
class Hand:
    """Decides in the autoscaler's place, and acts as it does."""

    spec: FleetSpec
    cluster: KubernetesCluster
    serving: RayServe
    leadership: LeaseLeadership
    failed_actions: list[str] = field(default_factory=list)
    clock: RealClock = field(default_factory=RealClock)

    def tick(self, count: int, victims: tuple[str, ...] = ()) -> DeploymentSeen:
        """Look, plan for `count` replicas, act; what was seen before acting."""
        now_s = self.clock.now_s()
        there = self.cluster.read(self.spec, now_s)
        served = self.serving.read([MODEL], now_s)
        (seen,), (pool,) = served.deployments, with_drained(there.pools, served.draining)
        decision = Decision(
            model=MODEL, current=seen.target, count=count, steps=(), signals=build.signals(), victims=victims
        )
        fleet = Fleet(spec=self.spec, decisions={MODEL: decision}, deployments={MODEL: seen}, pools={pool.pool: pool})
        actions, _ = plan_actions(fleet, {}, {}, now_s)
        actuator = Actuator(cluster=self.cluster, serving=self.serving, leadership=self.leadership, clock=self.clock)
        self.failed_actions += actuator.carry_out(actions, there.workers).failed
        if pool.wanted < WORKERS and not actions:
            self.cluster.set_workers(pool.pool, WORKERS, preferred_nodes=(), victims=())
        return seen

    def until(self, what: str, count: int, victims: tuple[str, ...], holds: Holds) -> tuple[DeploymentSeen, float]:
        """Tick until something holds; what was seen then, and after how many seconds."""
        began_s = time.monotonic()
        while not holds(seen := self.tick(count, victims)):
            if time.monotonic() - began_s > GIVE_UP_S:
                raise TookTooLong(f"{what}: not within {GIVE_UP_S:g} s; {seen}; {self.failed_actions[-3:]}")
            time.sleep(POLL_S)
        return seen, time.monotonic() - began_s


@dataclass
class Score:
    """What the cycles showed."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    down_s: list[float] = field(default_factory=list)
    cycle_s: list[float] = field(default_factory=list)


@contextmanager
def load(url: str, *, rate_per_s: float) -> Iterator[Counter[int]]:
    """An open loop in the background; statuses of the answers, complete once the block has ended."""
    statuses: Counter[int] = Counter()
    steps = (schedule.Step(rate_per_s=rate_per_s, duration_s=schedule.MAX_DURATION_S),)
    stop = threading.Event()
    driving = client.drive(
        client.Target(url, MODEL),
        schedule.arrivals(steps, seed=5),
        record=lambda sample: statuses.update([sample.status]),
        texts=client.sentences(),
        stop=stop,
    )
    sender = threading.Thread(target=asyncio.run, args=(driving,))
    sender.start()
    try:
        yield statuses
    finally:
        stop.set()
        sender.join()


@contextmanager
def hand(installation: Installation, models: Path) -> Iterator[Hand]:
    """Take the autoscaler's place: its Lease too, which one that runs dry does not take."""
    with (
        closing(kube.connect(installation.kubeconfig)) as kubernetes,
        closing(LeaseLeadership(kubernetes, namespace=NAMESPACE, holder="bench", interval_s=1.0)) as leadership,
        closing(
            RayServe(
                installation.dashboard_url,
                token_file=Path(installation.environment["RAY_AUTH_TOKEN_PATH"]),
                namespace=NAMESPACE,
            )
        ) as serving,
    ):
        cluster = KubernetesCluster(kubernetes, DeploymentPools(kubernetes, namespace=NAMESPACE))
        yield Hand(config.load(models), cluster, serving, leadership)


def settled(seen: DeploymentSeen) -> bool:
    """The most replicas run, and none is coming or going."""
    return seen.target == MOST and seen.count(ReplicaState.RUNNING) == MOST == len(seen.replicas)


def cycle(at: Hand, chosen: random.Random, score: Score) -> None:
    """From three replicas to two, without the chosen one, and to three again."""
    began_s = time.monotonic()
    before = at.until("three replicas", MOST, (), settled)[0].running_ids
    victim = chosen.choice(before)
    others = tuple(replica for replica in before if replica != victim)
    victims = (victim, *others)
    seen, down_s = at.until(
        "the fall", LEAST, victims, lambda seen: seen.target == LEAST and len(seen.running_ids) <= LEAST
    )
    score.down_s.append(down_s)
    # Up again while the victim still stops; whoever was to stay is there to the end.
    after, _ = at.until("three replicas again", MOST, (), settled)
    if seen.running_ids == others and set(after.running_ids) & set(before) == set(others):
        score.right += 1
    else:
        score.wrong.append(f"{victim} of {before} was to leave; {seen.running_ids}, then {after.running_ids} were left")
    score.cycle_s.append(time.monotonic() - began_s)


def measure(directory: Path, *, times: int, rate_per_s: float = RATE_PER_S) -> dict[str, Any]:
    """Failed requests, right victims, and how long a fall and a whole cycle take."""
    score, chosen = Score(), random.Random(7)
    with (
        install(directory, cost_ratio=8.0, dry_run=True) as installation,
        hand(installation, directory / "models.yaml") as at,
    ):
        at.until("three replicas", MOST, (), settled)
        with load(installation.url, rate_per_s=rate_per_s) as statuses:
            for number in range(times):
                cycle(at, chosen, score)
                said = f"{score.cycle_s[-1]:.1f} s, {score.right} right, {dict(statuses)}"
                print(f"  {number + 1} of {times}: {said}", file=sys.stderr)
        failed_actions = at.failed_actions
    return {
        "times": times,
        "requests": statuses.total(),
        "failed_requests": statuses.total() - statuses[200],
        "statuses": dict(statuses),
        "victims_right": score.right,
        "victims_wrong": score.wrong,
        "median_down_s": round(median(score.down_s), 2),
        "median_cycle_s": round(median(score.cycle_s), 2),
        "failed_actions": failed_actions,
    }


def main() -> int:
    """Print the figures as JSON; 1 when a request failed or another replica left."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.drain", description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--rate-per-s", type=float, default=RATE_PER_S)
    options = parser.parse_args()
    figures = measure(Path(".run") / "bench" / "drain", times=options.times, rate_per_s=options.rate_per_s)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 1 if figures["failed_requests"] or figures["victims_right"] != options.times else 0


if __name__ == "__main__":
    sys.exit(guard.run(main))
