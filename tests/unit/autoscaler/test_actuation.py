"""Actions on the world: in their order, under a lease, and finished by whoever comes next."""

from dataclasses import dataclass, field

from autoscaler.actuation import Actuator, Outcome
from autoscaler.adapters.lease import LeaseLeadership
from autoscaler.core.actions import Fleet, plan_actions
from autoscaler.core.decision import Action, DrainWorkers, SetReplicas, SetWorkers
from autoscaler.loop import with_drained
from autoscaler.ports import ACTIONS, Acted, Leadership
from tests import build
from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.leadership import FakeLeadership
from tests.fakes.leases import MemoryLeases
from tests.fakes.serving import FakeServing
from tests.unit.core.test_actions import decision

POOL = "v100-8q"
W1, W2, W3 = (f"serving/{POOL}-{number}" for number in (1, 2, 3))
FALL: tuple[Action, ...] = (
    DrainWorkers(model="minilm", workers=(W1,)),
    SetReplicas(model="minilm", before=3, count=2),
)


@dataclass
class World:
    """Three replicas on three workers, and a free slot."""

    changes: list[tuple[object, ...]] = field(default_factory=list)
    clock: VirtualClock = field(default_factory=VirtualClock)
    leadership: Leadership = field(default_factory=FakeLeadership)

    def __post_init__(self) -> None:
        stock = build.inventory(*(build.node(f"n{index}", card=f"GPU-{index}") for index in range(4)))
        self.cluster = FakeCluster(stock, wanted={POOL: 3}, changes=self.changes)
        self.serving = FakeServing(lambda: self.cluster.workers, targets={"minilm": 3}, changes=self.changes)

    def actuator(self, leadership: Leadership | None = None) -> Actuator:
        return Actuator(
            cluster=self.cluster,
            serving=self.serving,
            leadership=leadership or self.leadership,
            clock=self.clock,
        )

    def carry_out(self, actions: tuple[Action, ...], leadership: Leadership | None = None) -> list[str]:
        """Why it ended early."""
        seen = self.cluster.read(build.fleet(), 0.0)
        return list(self.actuator(leadership).carry_out(actions, seen.workers).failed)

    def tick(self, count: int) -> list[str]:
        """One pass that remembers nothing of any other: see, plan for a count, act."""
        there, served = self.cluster.read(build.fleet(), 0.0), self.serving.read(["minilm"], 0.0)
        fleet = Fleet(
            spec=build.fleet(),
            decisions={"minilm": decision(count)},
            deployments={seen.model: seen for seen in served.deployments},
            pools={pool.pool: pool for pool in with_drained(there.pools, served.draining)},
        )
        return self.carry_out(plan_actions(fleet, {}, {}, 0.0)[0])


def test_each_action_reaches_its_port_in_the_plans_order() -> None:
    world = World()
    actions = (
        SetWorkers(pool=POOL, before=3, count=4, preferred_nodes=("n3",)),
        *FALL,
        SetWorkers(pool=POOL, before=4, count=4, victims=(W1,)),
    )
    assert world.carry_out(actions) == []
    assert world.changes == [
        (POOL, 4, ("n3",), ()), ("drain", (W1,)), ("minilm", 2), (POOL, "replace", (W1,)),
    ]  # fmt: skip


def test_exactly_the_replica_on_the_drained_worker_leaves() -> None:
    world = World()
    world.carry_out(FALL)
    assert sorted(world.serving.running) == [W2, W3]


def test_no_target_falls_after_a_drain_that_failed() -> None:
    world = World()
    world.serving.fail_next("drain_workers")
    assert world.carry_out(FALL) == ["Ray Serve: the dashboard is away"]
    assert world.changes == []


def test_a_worker_that_cannot_be_reached_is_named_and_nothing_falls() -> None:
    world = World()
    gone = (DrainWorkers(model="minilm", workers=("serving/gone",)), FALL[1])
    assert world.carry_out(gone) == [
        "worker serving/gone: it has no address, for its pod is not ready; it cannot be drained now"
    ]
    assert world.changes == []


def test_the_lease_is_asked_for_before_each_write_and_a_lost_one_ends_them() -> None:
    leadership = FakeLeadership()

    def taken_over(number: int) -> None:
        leadership.held = number < 1

    leadership.before_answer = taken_over
    world = World(leadership=leadership)
    assert world.carry_out(FALL) == [
        "lease: another autoscaler has taken over; what is left of this plan is left to it"
    ]
    assert world.changes == [("drain", (W1,))]


def test_a_fall_that_stopped_after_its_drain_is_finished_by_an_autoscaler_that_knows_nothing_of_it() -> None:
    world = World()
    world.serving.fail_next("set_replicas")
    world.carry_out(FALL)
    assert sorted(world.serving.running) == [W1, W2, W3]
    world.tick(2)
    assert sorted(world.serving.running) == [W2, W3]
    world.tick(2)
    assert world.changes == [("drain", (W1,)), ("minilm", 2), (POOL, 2, (), (W1,))]
    assert sorted(world.cluster.workers) == [W2, W3]


def test_a_drain_whose_fall_is_not_wanted_any_more_becomes_a_move_and_costs_no_replica() -> None:
    world = World()
    world.serving.fail_next("set_replicas")
    world.carry_out(FALL)
    world.changes.clear()
    for _ in range(4):
        world.tick(3)
        assert len(world.serving.running) == 3
    assert world.changes == [(POOL, 4, (), ()), (POOL, 3, (), (W1,))]
    assert sorted(world.cluster.workers) == [W2, W3, f"serving/{POOL}-4"]


def test_a_drained_worker_is_replaced_when_its_replica_is_wanted_back() -> None:
    world = World()
    world.carry_out(FALL)
    world.changes.clear()
    for _ in range(3):
        world.tick(3)
    assert world.changes == [(POOL, "replace", (W1,)), ("minilm", 3)]
    assert len(world.serving.running) == 3


def test_two_autoscalers_never_both_write_also_when_the_leader_is_killed() -> None:
    """Each tries to write every second; the first is gone from 30 s on."""
    world, leases = World(), MemoryLeases()
    candidates = {
        holder: LeaseLeadership(leases, namespace="default", holder=holder, interval_s=1.0) for holder in ("a", "b")
    }
    writers: list[str] = []
    for second in range(60):
        for holder, leadership in candidates.items():
            world.clock.at_s = float(second)
            if holder == "a" and second >= 30:
                continue
            if not world.carry_out((SetReplicas(model="minilm", before=3, count=3),), leadership):
                writers.append(f"{holder} {second}")
    # 17 s after b last saw the lease change: twice the interval and 15 s.
    assert writers == [*(f"a {second}" for second in range(30)), *(f"b {second}" for second in range(46, 60))]


def test_what_earlier_changes_left_behind_is_taken_back_after_the_plan_and_under_the_lease() -> None:
    asked = list[int]()
    world = World(leadership=FakeLeadership(before_answer=asked.append))
    world.cluster.is_untidy = True
    assert world.carry_out(FALL) == []
    assert world.changes == [("drain", (W1,)), ("minilm", 2), ("tidy",)]
    assert asked == [0, 1, 2]
    assert world.carry_out(()) == []
    assert asked == [0, 1, 2]


def test_nothing_is_tidied_by_who_has_lost_the_lead() -> None:
    world = World(leadership=FakeLeadership(held=False))
    world.cluster.is_untidy = True
    assert world.carry_out(()) == ["lease: another autoscaler has taken over; what is left of this plan is left to it"]
    assert world.changes == []


def test_tidying_that_fails_is_told_and_tried_again() -> None:
    world = World()
    world.cluster.is_untidy = True
    world.cluster.fail_next("tidy")
    assert world.carry_out(()) == ["Kubernetes: the API server is away"]
    assert world.carry_out(()) == []
    assert world.changes == [("tidy",)]


def test_each_call_is_timed_the_one_that_failed_as_well() -> None:
    world = World()
    seen = world.cluster.read(build.fleet(), 0.0)
    world.cluster.takes = lambda verb: world.clock.pass_s({"set_workers": 2.0, "replace_workers": 3.0}[verb])
    actions: tuple[Action, ...] = (
        SetWorkers(pool=POOL, before=3, count=4),
        *FALL,
        SetWorkers(pool=POOL, before=4, count=4, victims=(W1,)),
        SetWorkers(pool=POOL, before=4, count=3),
    )
    world.cluster.fail_next("replace_workers")
    outcome = world.actuator().carry_out(actions, seen.workers)
    assert outcome == Outcome(
        acted=(
            Acted(action="set_workers", duration_s=2.0),
            Acted(action="drain_workers", duration_s=0.0),
            Acted(action="set_replicas", duration_s=0.0),
            Acted(action="replace_workers", duration_s=3.0),
        ),
        failed=("Kubernetes: the API server is away",),
    )
    assert {acted.action for acted in outcome.acted} == set(ACTIONS)
