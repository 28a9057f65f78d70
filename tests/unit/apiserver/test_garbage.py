"""What goes because something else went, and how many losses a disruption budget allows."""

from typing import Any

import pytest

from autoscaler.embedded.apiserver import controllers, deletion, garbage, subresources
from autoscaler.embedded.apiserver.deletion import DeleteOptions
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.resources import (
    CONFIG_MAPS,
    DISRUPTION_BUDGETS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
)
from autoscaler.embedded.apiserver.store import Store
from tests.unit.apiserver import build


def _owner(kind: str, name: str, uid: str, api_version: str = "v1") -> Any:
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid}


def _settle(store: Store) -> None:
    version = -1
    while store.version != version:
        version = store.version
        controllers.reconcile(store)


def test_a_dependant_goes_with_the_last_of_its_owners() -> None:
    store = build.store()
    owners = [store.create(NODES, "", {"metadata": {"name": name}})["metadata"]["uid"] for name in ("a", "b")]
    references = [_owner("Node", name, uid) for name, uid in zip("ab", owners, strict=True)]
    store.create(LEASES, "kube-node-lease", {"metadata": {"name": "l", "ownerReferences": references}})
    deletion.delete(store, NODES, "", "a", DeleteOptions())
    _settle(store)
    assert [lease["metadata"]["ownerReferences"] for lease in store.list(LEASES)] == [references[1:]]
    deletion.delete(store, NODES, "", "b", DeleteOptions())
    _settle(store)
    assert store.list(LEASES) == []


def test_an_owner_of_an_unknown_kind_is_not_taken_for_gone() -> None:
    store = build.store()
    body = build.pod()
    body["metadata"]["ownerReferences"] = [_owner("RayService", "r", "u", "ray.io/v1")]
    store.create(PODS, "default", body)
    _settle(store)
    assert len(store.list(PODS)) == 1


def test_a_namespace_ends_with_all_that_is_in_it() -> None:
    store = build.store()
    store.create(NAMESPACES, "", {"metadata": {"name": "old"}})
    store.create(CONFIG_MAPS, "old", {"metadata": {"name": "c"}})
    store.create(PODS, "old", build.pod())
    subresources.bind(store, "old", "p", {"target": {"name": "n1"}})
    deletion.delete(store, NAMESPACES, "", "old", DeleteOptions())
    _settle(store)
    assert "old" in [item["metadata"]["name"] for item in store.list(NAMESPACES)]  # its pod has a grace period
    deletion.delete(store, PODS, "old", "p", DeleteOptions(grace_s=0))
    _settle(store)
    assert "old" not in [item["metadata"]["name"] for item in store.list(NAMESPACES)]
    assert store.list(CONFIG_MAPS) == []


def test_events_are_forgotten_after_an_hour() -> None:
    clock = build.Clock()
    store = build.store(clock)
    store.create(EVENTS, "default", {"metadata": {"name": "e"}})
    clock.now_s += garbage.EVENT_LIFE_S
    _settle(store)
    assert len(store.list(EVENTS)) == 1
    clock.now_s += 1
    _settle(store)
    assert store.list(EVENTS) == []


def _pods(ready: int, *, waiting: int = 0) -> list[Any]:
    statuses = [{"phase": "Running", "conditions": [build.ready()]}] * ready + [{"phase": "Pending"}] * waiting
    return [
        {"metadata": {"name": f"p{place}", "labels": {"app": "w"}}, "spec": {}, "status": status}
        for place, status in enumerate(statuses)
    ]


def _budget(**spec: Any) -> Any:
    selector = {"matchLabels": {"app": "w"}}
    return {"metadata": {"generation": 2}, "spec": {"selector": selector, **spec}, "status": {}}


@pytest.mark.parametrize(
    ("spec", "pods", "desired", "allowed"),
    [
        ({"minAvailable": 2}, _pods(3), 2, 1),
        ({"minAvailable": 2}, _pods(2), 2, 0),
        ({"minAvailable": 2}, _pods(1, waiting=2), 2, 0),
        ({"minAvailable": "50%"}, _pods(3), 2, 1),
        ({"minAvailable": "100%"}, _pods(3), 3, 0),
        ({"maxUnavailable": 1}, _pods(3), 2, 1),
        ({"maxUnavailable": 1}, _pods(2, waiting=1), 2, 0),
        ({"maxUnavailable": "50%"}, _pods(3), 1, 2),
        ({"maxUnavailable": 5}, _pods(3), 0, 3),
        ({}, _pods(2), 1, 1),
        ({"minAvailable": 0}, [], 0, 0),
    ],
)
def test_a_budget_allows_what_keeps_enough_pods_ready(spec: Any, pods: Any, desired: int, allowed: int) -> None:
    status = garbage.budget_status(_budget(**spec), pods, build.START_S)
    ready = sum(pod["status"]["phase"] == "Running" for pod in pods)
    assert status == {
        "observedGeneration": 2,
        "currentHealthy": ready,
        "desiredHealthy": desired,
        "expectedPods": len(pods),
        "disruptionsAllowed": allowed,
    }


def test_a_pod_whose_eviction_was_granted_is_not_counted_on_for_two_minutes() -> None:
    budget = _budget(minAvailable=1) | {"status": {"disruptedPods": {"p0": "2027-01-15T08:00:00Z"}}}
    soon = garbage.budget_status(budget, _pods(2), build.START_S + 120)
    late = garbage.budget_status(budget, _pods(2), build.START_S + 121)
    assert (soon["disruptionsAllowed"], soon["disruptedPods"]) == (0, {"p0": "2027-01-15T08:00:00Z"})
    assert (late["disruptionsAllowed"], "disruptedPods" in late) == (1, False)


def _protected(**status: Any) -> Store:
    """A store with one running pod under a budget of a given status."""
    store = build.store()
    store.create(PODS, "default", build.pod(labels={"app": "w"}))
    subresources.bind(store, "default", "p", {"target": {"name": "n1"}})
    budget = {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"app": "w"}}, "minAvailable": 1}}
    store.create(DISRUPTION_BUDGETS, "default", budget)
    status = {"observedGeneration": 1, **status}
    store.update(DISRUPTION_BUDGETS, "default", "b", lambda old: old | {"status": status}, part="status")
    return store


def _become(store: Store, phase: str, *, is_ready: bool) -> None:
    status = {"phase": phase, "conditions": [build.ready(is_so=is_ready)]}
    store.update(PODS, "default", "p", lambda old: old | {"status": status}, part="status")


def _evicted(store: Store) -> bool:
    try:
        subresources.evict(store, "default", "p", {})
    except ApiError as refusal:
        if refusal.code != 429:
            raise
        return False
    return True


@pytest.mark.parametrize(
    ("status", "phase", "is_ready", "goes"),
    [
        pytest.param({"disruptionsAllowed": 1}, "Running", True, True, id="one loss is allowed"),
        pytest.param({"disruptionsAllowed": 0}, "Running", True, False, id="no loss is allowed"),
        pytest.param({"disruptionsAllowed": 1, "observedGeneration": 0}, "Running", True, False, id="not counted yet"),
        pytest.param({"disruptionsAllowed": 0}, "Pending", False, True, id="a waiting pod may always go"),
        pytest.param(
            {"disruptionsAllowed": 0, "desiredHealthy": 1, "currentHealthy": 1},
            "Running",
            False,
            True,
            id="a pod that is not ready may go where the others suffice",
        ),
        pytest.param(
            {"disruptionsAllowed": 0, "desiredHealthy": 2, "currentHealthy": 1},
            "Running",
            False,
            False,
            id="but not where they do not",
        ),
    ],
)
def test_an_eviction_asks_the_budget(status: Any, phase: str, is_ready: bool, goes: bool) -> None:
    store = _protected(**status)
    _become(store, phase, is_ready=is_ready)
    assert _evicted(store) is goes
    assert ("deletionTimestamp" in store.get(PODS, "default", "p")["metadata"]) is goes


def test_a_refused_eviction_says_which_budget_and_why() -> None:
    store = _protected(disruptionsAllowed=0, desiredHealthy=1, currentHealthy=1)
    _become(store, "Running", is_ready=True)
    with pytest.raises(ApiError) as refusal:
        subresources.evict(store, "default", "p", {})
    assert refusal.value.as_status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "reason": "TooManyRequests",
        "details": {
            "causes": [
                {
                    "reason": "DisruptionBudget",
                    "message": "The disruption budget b needs 1 healthy pods and has 1 currently",
                }
            ]
        },
        "code": 429,
    }


def test_a_granted_eviction_is_taken_off_the_budget() -> None:
    store = _protected(disruptionsAllowed=1)
    _become(store, "Running", is_ready=True)
    assert _evicted(store)
    status = store.get(DISRUPTION_BUDGETS, "default", "b")["status"]
    assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["p"])


def test_a_pod_under_two_budgets_cannot_be_evicted() -> None:
    store = _protected(disruptionsAllowed=1)
    second = {"metadata": {"name": "b2"}, "spec": {"selector": {"matchLabels": {"app": "w"}}}}
    store.create(DISRUPTION_BUDGETS, "default", second)
    _become(store, "Running", is_ready=True)
    with pytest.raises(ApiError) as refusal:
        subresources.evict(store, "default", "p", {})
    assert (refusal.value.code, refusal.value.reason) == (500, "InternalError")
