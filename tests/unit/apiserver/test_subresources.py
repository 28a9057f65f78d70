"""Binding and scale."""

from typing import Any

import pytest

from autoscaler.embedded.apiserver import deletion, subresources
from autoscaler.embedded.apiserver.deletion import DeleteOptions
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.resources import DEPLOYMENTS, PODS
from autoscaler.embedded.apiserver.store import Store
from tests.unit.apiserver import build


def _bind(store: Store, **about: Any) -> Any:
    return subresources.bind(store, "default", "p", {"metadata": about, "target": {"kind": "Node", "name": "n1"}})


def test_a_binding_sets_node_and_annotations_in_one_write() -> None:
    store = build.store()
    body = build.pod()
    body["metadata"]["annotations"] = {"kept": "1", "vgpu-serve.io/slot": "old"}
    pod = store.create(PODS, "default", body)
    _bind(store, annotations={"vgpu-serve.io/slot": "n1/0"}, uid=pod["metadata"]["uid"])
    bound = store.get(PODS, "default", "p")
    assert store.version == int(pod["metadata"]["resourceVersion"]) + 1
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["metadata"]["annotations"] == {"kept": "1", "vgpu-serve.io/slot": "n1/0"}
    assert bound["status"]["conditions"] == [
        {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": "2027-01-15T08:00:00Z"}
    ]


def test_a_pod_is_bound_once() -> None:
    store = build.store()
    store.create(PODS, "default", build.pod())
    _bind(store)
    with pytest.raises(ApiError) as refusal:
        _bind(store, annotations={"late": "1"})
    assert (refusal.value.code, refusal.value.reason) == (409, "Conflict")
    assert refusal.value.message == (
        'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"'
    )
    assert "annotations" not in store.get(PODS, "default", "p")["metadata"]


def test_a_pod_that_is_going_is_not_bound() -> None:
    store = build.store()
    body = build.pod()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    store.create(PODS, "default", body)
    deletion.delete(store, PODS, "default", "p", DeleteOptions())
    with pytest.raises(ApiError) as refusal:
        _bind(store)
    assert refusal.value.code == 409


@pytest.mark.parametrize(
    ("binding", "code"),
    [
        (None, 400),
        ({"target": "n1"}, 400),
        ({"target": {}}, 422),
        ({"target": {"kind": "Pod", "name": "x"}}, 422),
        ({"metadata": {"name": "other"}, "target": {"name": "n1"}}, 400),
        ({"metadata": {"annotations": {"a": 1}}, "target": {"name": "n1"}}, 400),
        ({"metadata": {"uid": "another"}, "target": {"name": "n1"}}, 409),
        ({"metadata": {"resourceVersion": "1"}, "target": {"name": "n1"}}, 409),
    ],
)
def test_a_binding_that_does_not_fit_is_refused(binding: Any, code: int) -> None:
    store = build.store()
    store.create(PODS, "default", build.pod())
    with pytest.raises(ApiError) as refusal:
        subresources.bind(store, "default", "p", binding)
    assert refusal.value.code == code
    assert "nodeName" not in store.get(PODS, "default", "p")["spec"]


def test_a_scale_shows_count_and_selector() -> None:
    store = build.store()
    store.create(DEPLOYMENTS, "default", build.deployment("d", replicas=2))
    deployment = store.update(DEPLOYMENTS, "default", "d", lambda old: old | {"status": {"replicas": 1}}, part="status")
    scale = subresources.scale_of(deployment)
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "app=d"})
    assert scale["metadata"]["resourceVersion"] == deployment["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("scale", "code"),
    [
        ("3", 400),
        ({"kind": "Deployment"}, 400),
        ({"spec": 3}, 400),
        ({"spec": {"replicas": "3"}}, 400),
        ({"spec": {"replicas": True}}, 400),
        ({"spec": {"replicas": -1}}, 422),
        ({"spec": {"replicas": 3}, "metadata": {"resourceVersion": "1"}}, 409),
        ({"spec": {"replicas": 3}, "metadata": {"uid": "another"}}, 409),
    ],
)
def test_a_scale_that_does_not_fit_is_refused(scale: Any, code: int) -> None:
    store = build.store()
    store.create(DEPLOYMENTS, "default", build.deployment())
    with pytest.raises(ApiError) as refusal:
        store.update(DEPLOYMENTS, "default", "d", lambda old: subresources.with_scale(old, scale))
    assert refusal.value.code == code
    assert store.get(DEPLOYMENTS, "default", "d")["spec"]["replicas"] == 1
