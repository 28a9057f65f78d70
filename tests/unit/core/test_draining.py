"""The chosen replica leaves because its worker is drained, and drained workers go or are replaced, whoever did it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from autoscaler.core.actions import Fleet, plan_actions
from autoscaler.core.decision import Action, DrainWorkers, SetReplicas, SetWorkers
from autoscaler.core.observation import DeploymentSeen, PoolSeen, WorkerSeen
from tests import build
from tests.build import deployment, pool, worker
from tests.unit.core.test_actions import decision

POOL = "v100-8q"
RUNNING = {"r1": "s/w1", "r2": "s/w2", "r3": "s/w3"}
THREE = deployment(target=3, running=RUNNING)


def drained(name: str) -> WorkerSeen:
    return replace(worker(name), ready=False, draining=True)


def workers(*names: str) -> tuple[WorkerSeen, ...]:
    """Workers by their names; a drained one's ends with an exclamation mark."""
    return tuple(drained(f"s/{name[:-1]}") if name.endswith("!") else worker(f"s/{name}") for name in names)


def planned(
    seen: DeploymentSeen | Sequence[DeploymentSeen],
    there: PoolSeen | None,
    counts: int | Mapping[str, int],
    *victims: str,
    nodes: tuple[str, ...] = (),
) -> tuple[Action, ...]:
    deployments = [seen] if isinstance(seen, DeploymentSeen) else list(seen)
    decided = {"minilm": counts} if isinstance(counts, int) else counts
    fleet = Fleet(
        spec=build.fleet(*(build.model(name) for name in decided)),
        decisions={name: replace(decision(count, model=name), victims=victims) for name, count in decided.items()},
        deployments={one.model: one for one in deployments},
        pools={POOL: there} if there else {},
    )
    return plan_actions(fleet, {POOL: nodes}, {}, 100.0)[0]


def test_the_workers_of_the_first_victims_are_drained_right_before_the_fall() -> None:
    assert planned(THREE, pool(*workers("w1", "w2", "w3")), 1, "r2", "r3", "r1") == (
        DrainWorkers(model="minilm", workers=("s/w2", "s/w3")),
        SetReplicas(model="minilm", before=3, count=1),
    )


def test_each_models_drain_is_followed_by_its_own_fall() -> None:
    seen = [
        deployment(model="a", target=2, running={"a1": "s/w1", "a2": "s/w2"}),
        deployment(model="b", target=2, running={"b1": "s/w3", "b2": "s/w4"}),
    ]
    there = pool(*workers("w1", "w2", "w3", "w4"))
    assert planned(seen, there, {"a": 1, "b": 1}, "a2", "a1", "b1", "b2") == (
        DrainWorkers(model="a", workers=("s/w2",)),
        SetReplicas(model="a", before=2, count=1),
        DrainWorkers(model="b", workers=("s/w3",)),
        SetReplicas(model="b", before=2, count=1),
    )


@pytest.mark.parametrize(
    ("seen", "victims"),
    [
        (THREE, ()),
        (deployment(target=3, running={**RUNNING, "r2": None}), ("r2", "r1", "r3")),
        (deployment(target=3, running={"r1": "s/w1", "r2": "s/w2"}, starting=["r4"]), ("r2", "r1")),
        (THREE, ("gone",)),
    ],
    ids=["no opinion", "nobody knows where the victim lives", "a starting one leaves first", "the victim has left"],
)
def test_ray_serve_chooses_where_nothing_can_be_drained(seen: DeploymentSeen, victims: tuple[str, ...]) -> None:
    there = pool(*workers("w1", "w2", "w3"))
    assert planned(seen, there, 2, *victims) == (SetReplicas(model="minilm", before=3, count=2),)


def test_ray_serve_chooses_while_nobody_sees_the_workers() -> None:
    assert planned(THREE, None, 2, "r1", "r2", "r3") == (SetReplicas(model="minilm", before=3, count=2),)


def test_only_what_is_left_of_a_fall_after_the_starting_ones_is_drained() -> None:
    seen = deployment(target=3, running={"r1": "s/w1", "r2": "s/w2"}, starting=["r4"])
    assert planned(seen, pool(*workers("w1", "w2", "w3")), 1, "r2", "r1") == (
        DrainWorkers(model="minilm", workers=("s/w2",)),
        SetReplicas(model="minilm", before=3, count=1),
    )


def test_never_more_is_drained_than_the_fall() -> None:
    """Serve has not stopped the replica of the last fall yet: it chooses that one itself."""
    late = deployment(target=2, running=RUNNING)
    assert planned(late, pool(*workers("w1", "w2", "w3")), 1, "r3", "r2", "r1") == (
        DrainWorkers(model="minilm", workers=("s/w3",)),
        SetReplicas(model="minilm", before=2, count=1),
    )


def test_what_is_drained_already_leaves_first_and_is_not_drained_again() -> None:
    there = pool(*workers("w1!", "w2", "w3"))
    assert planned(THREE, there, 2, "r3", "r2", "r1") == (SetReplicas(model="minilm", before=3, count=2),)
    assert planned(THREE, there, 1, "r3", "r2", "r1") == (
        DrainWorkers(model="minilm", workers=("s/w3",)),
        SetReplicas(model="minilm", before=3, count=1),
    )


def test_a_replica_on_a_drained_worker_gets_another_worker_when_its_target_stays() -> None:
    there = pool(*workers("w1!", "w2", "w3"))
    assert planned(THREE, there, 3, "r1", "r2", "r3", nodes=("n4",)) == (
        SetWorkers(pool=POOL, before=3, count=4, preferred_nodes=("n4",)),
    )
    assert planned(THREE, pool(*workers("w1!", "w2", "w3", "w4")), 3) == ()


def test_a_drained_worker_is_nobodys_ready_worker() -> None:
    two = deployment(target=2, running={"r2": "s/w2", "r3": "s/w3"})
    assert planned(two, pool(*workers("w1!", "w2", "w3"), wanted=3), 3) == (
        SetWorkers(pool=POOL, before=3, count=3, victims=("s/w1",)),
    )


def test_replicas_that_leave_drained_workers_do_not_take_ready_ones_from_others() -> None:
    a = deployment(model="a", target=1, running={"a1": "s/w1"}, stopping={"a2": "s/w2"})
    b = deployment(model="b", target=1, running={"b1": "s/w3"}, stopping={"b2": "s/w4"})
    there = pool(*workers("w1", "w2!", "w3", "w4!", "w5"))
    assert planned([a, b], there, {"a": 1, "b": 2}) == (SetReplicas(model="b", before=1, count=2),)


def test_an_empty_drained_worker_goes_at_once_when_nobody_needs_it() -> None:
    two = deployment(target=2, running={"r2": "s/w2", "r3": "s/w3"})
    assert planned(two, pool(*workers("w1!", "w2", "w3")), 2) == (
        SetWorkers(pool=POOL, before=3, count=2, victims=("s/w1",)),
    )


def test_of_several_empty_drained_workers_as_many_are_replaced_as_are_needed() -> None:
    one = deployment(target=1, running={"r3": "s/w3"})
    assert planned(one, pool(*workers("w1!", "w2!", "w3")), 2) == (
        SetWorkers(pool=POOL, before=3, count=2, victims=("s/w1",)),
        SetWorkers(pool=POOL, before=2, count=2, victims=("s/w2",)),
    )


def test_a_pool_grows_beside_the_replacement_of_a_drained_worker() -> None:
    two = deployment(target=2, running={"r2": "s/w2", "r3": "s/w3"})
    assert planned(two, pool(*workers("w1!", "w2", "w3")), 4) == (
        SetWorkers(pool=POOL, before=3, count=4),
        SetWorkers(pool=POOL, before=4, count=4, victims=("s/w1",)),
    )


def test_a_drained_worker_is_replaced_while_a_shrinking_pool_would_take_another() -> None:
    """Kubernetes removes pods that are not ready before any that is marked."""
    two = deployment(target=2, running={"r2": "s/w2", "r3": "s/w3"})
    there = pool(*workers("w1!", "w2", "w3"), worker("s/w4", ready=False))
    assert planned(two, there, 3) == (SetWorkers(pool=POOL, before=4, count=4, victims=("s/w1",)),)


def test_a_drained_worker_stays_while_a_replica_stops_in_it_or_may() -> None:
    stopping = deployment(target=2, running={"r2": "s/w2", "r3": "s/w3"}, stopping={"r1": "s/w1"})
    there = pool(*workers("w1!", "w2", "w3"))
    assert planned(stopping, there, 2) == ()
    two = deployment(model="a", target=2, running={"r2": "s/w2", "r3": "s/w3"})
    assert planned([two], there, {"a": 2, "b": 0}) == ()


def test_a_drained_worker_that_is_being_deleted_is_left_alone() -> None:
    two = deployment(target=2, running={"r2": "s/w2", "r3": "s/w3"})
    there = pool(replace(drained("s/w1"), deleting=True), *workers("w2", "w3"), wanted=2)
    assert planned(two, there, 2) == ()
