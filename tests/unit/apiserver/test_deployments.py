"""The stand-in Deployment controller: how many pods, which go first, and what the status says."""

from typing import Any

import pytest

from autoscaler.embedded.apiserver import controllers, deletion, deployments, resources, subresources
from autoscaler.embedded.apiserver.deletion import DeleteOptions
from autoscaler.embedded.apiserver.deployments import removal_order
from autoscaler.embedded.apiserver.resources import DEPLOYMENTS, PODS
from autoscaler.embedded.apiserver.store import Store
from tests.unit.apiserver import build


def _pod(
    name: str,
    *,
    node: str = "n1",
    phase: str = "Running",
    ready_since: str = "2027-01-15T08:00:00Z",
    cost: str = "",
    restarts: int = 0,
    created: str = "2027-01-15T07:00:00Z",
) -> Any:
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "annotations": {deployments.DELETION_COST: cost} if cost else {},
        },
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": phase,
            "conditions": [build.ready(ready_since, is_so=bool(ready_since))],
            "containerStatuses": [{"restartCount": restarts}],
        },
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(_pod("b", node="", cost="9"), _pod("a", phase="Pending", ready_since=""), id="no node yet"),
        pytest.param(
            _pod("b", phase="Pending", ready_since="", cost="9"), _pod("a", ready_since=""), id="not started yet"
        ),
        pytest.param(_pod("b", ready_since="", cost="9"), _pod("a"), id="not ready"),
        pytest.param(_pod("b", cost="-5"), _pod("a", cost="5"), id="cheaper to delete"),
        pytest.param(_pod("b"), _pod("a", cost="1"), id="no cost given counts as zero"),
        pytest.param(_pod("b", cost="many"), _pod("a", cost="1"), id="a cost that is no number counts as zero"),
        pytest.param(_pod("b", ready_since="2027-01-15T08:05:00Z"), _pod("a"), id="ready for a shorter time"),
        pytest.param(_pod("b", restarts=2), _pod("a"), id="restarted more often"),
        pytest.param(_pod("b", created="2027-01-15T07:30:00Z"), _pod("a"), id="newer"),
    ],
)
def test_of_two_pods_the_first_to_go_is_the_one_that(first: Any, second: Any) -> None:
    assert [pod["metadata"]["name"] for pod in removal_order([second, first])] == ["b", "a"]
    assert [pod["metadata"]["name"] for pod in removal_order([first, second])] == ["b", "a"]


def test_a_pod_that_shares_its_node_with_others_goes_before_one_that_is_alone() -> None:
    pods = [_pod("alone", node="n2"), _pod("x"), _pod("y")]
    assert [pod["metadata"]["name"] for pod in removal_order(pods)] == ["x", "y", "alone"]


def _settle(store: Store) -> None:
    """Reconcile as the running controllers do: until nothing changes."""
    version = -1
    while store.version != version:
        version = store.version
        controllers.reconcile(store)


def _fleet(replicas: int) -> Store:
    store = build.store()
    store.create(DEPLOYMENTS, "default", build.deployment("w", replicas=replicas))
    _settle(store)
    return store


def _scale(store: Store, replicas: int) -> None:
    store.update(DEPLOYMENTS, "default", "w", lambda old: old | {"spec": old["spec"] | {"replicas": replicas}})
    _settle(store)


def _names(store: Store) -> list[str]:
    return [pod["metadata"]["name"] for pod in store.list(PODS)]


def _run(store: Store, name: str, node: str = "n1") -> None:
    """Bind a pod and let it become ready, as scheduler and kubelet would."""
    subresources.bind(store, "default", name, {"target": {"name": node}})
    status = {"phase": "Running", "conditions": [build.ready()]}
    store.update(PODS, "default", name, lambda old: old | {"status": status}, part="status")
    _settle(store)


def test_pods_are_made_from_the_template_and_belong_to_the_deployment() -> None:
    store = _fleet(2)
    owner = store.get(DEPLOYMENTS, "default", "w")
    for pod in store.list(PODS):
        assert pod["metadata"]["name"].startswith("w-")
        assert pod["metadata"]["labels"]["app"] == "w"
        assert pod["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": "w",
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        assert pod["spec"] == owner["spec"]["template"]["spec"]
    assert len(store.list(PODS)) == 2


def test_the_status_counts_pods_and_ready_pods() -> None:
    store = _fleet(2)
    first, _ = _names(store)
    _run(store, first)
    status = store.get(DEPLOYMENTS, "default", "w")["status"]
    assert {key: value for key, value in status.items() if key != "conditions"} == {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 1,
        "availableReplicas": 1,
        "unavailableReplicas": 1,
    }
    assert [(known["type"], known["status"]) for known in status["conditions"]] == [
        ("Available", "False"),
        ("Progressing", "True"),
    ]


def test_scaling_in_takes_the_waiting_pod_and_keeps_the_running_one() -> None:
    store = _fleet(2)
    _, second = _names(store)
    _run(store, second)
    _scale(store, 1)
    assert _names(store) == [second]


def test_a_pod_that_is_going_is_replaced_before_it_is_gone() -> None:
    store = _fleet(1)
    (first,) = _names(store)
    _run(store, first)
    deletion.delete(store, PODS, "default", first, DeleteOptions())
    _settle(store)
    assert len(_names(store)) == 2
    deletion.delete(store, PODS, "default", first, DeleteOptions(grace_s=0))
    _settle(store)
    assert len(_names(store)) == 1
    assert first not in _names(store)


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_an_ended_pod_is_replaced_and_the_last_few_are_kept_to_look_at(phase: str) -> None:
    store = _fleet(1)
    for _ in range(8):
        (active,) = [pod for pod in store.list(PODS) if pod["status"]["phase"] == "Pending"]
        ended = active | {"status": {"phase": phase}}
        store.update(PODS, "default", active["metadata"]["name"], lambda _, ended=ended: ended, part="status")
        _settle(store)
    phases = sorted(pod["status"]["phase"] for pod in store.list(PODS))
    assert phases == sorted(["Pending", *[phase] * deployments.FINISHED_KEPT])


def test_a_changed_template_is_rolled_out_one_ready_pod_at_a_time() -> None:
    store = _fleet(2)
    for name in _names(store):
        _run(store, name)
    store.update(DEPLOYMENTS, "default", "w", lambda old: build.deployment("w", replicas=2, image="i:2"))
    _settle(store)
    going = [pod for pod in store.list(PODS) if "deletionTimestamp" in pod["metadata"]]
    waiting = [pod for pod in store.list(PODS) if pod["status"]["phase"] == "Pending"]
    assert (len(going), len(waiting), len(store.list(PODS))) == (1, 1, 3)
    _run(store, waiting[0]["metadata"]["name"])
    assert len([pod for pod in store.list(PODS) if "deletionTimestamp" in pod["metadata"]]) == 2


def test_a_changed_template_replaces_pods_that_never_became_ready_at_once() -> None:
    store = _fleet(3)
    store.update(DEPLOYMENTS, "default", "w", lambda old: build.deployment("w", replicas=3, image="i:2"))
    _settle(store)
    assert {pod["spec"]["containers"][0]["image"] for pod in store.list(PODS)} == {"i:2"}


def test_a_settled_deployment_is_left_alone() -> None:
    store = _fleet(2)
    before = store.version
    controllers.reconcile(store)
    assert store.version == before


def test_a_template_no_pod_can_be_made_of_stops_no_other_deployment() -> None:
    store = build.store()
    bad = build.deployment("bad")
    bad["spec"]["template"]["metadata"]["labels"]["note"] = "no such label!"
    store.create(DEPLOYMENTS, "default", bad)
    store.create(DEPLOYMENTS, "default", build.deployment("good"))
    _settle(store)
    assert [pod["metadata"]["labels"]["app"] for pod in store.list(PODS)] == ["good"]


def test_pods_go_with_their_deployment_and_strangers_stay() -> None:
    store = _fleet(2)
    store.create(PODS, "default", build.pod("stranger", labels={"app": "w"}))
    _run(store, _names(store)[1])
    deletion.delete(store, DEPLOYMENTS, "default", "w", DeleteOptions())
    _settle(store)
    left = {pod["metadata"]["name"]: "deletionTimestamp" in pod["metadata"] for pod in store.list(PODS)}
    assert left.pop("stranger") is False
    assert list(left.values()) == [True]  # the bound one waits for its kubelet
    assert store.list(resources.DEPLOYMENTS) == []
