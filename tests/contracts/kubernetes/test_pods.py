"""A pod's life as the API tells it: binding, status, eviction, and the two steps of its end."""

from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.api_client import ApiClient

from tests.contracts.kubernetes import build, wire
from tests.contracts.kubernetes.wire import call, ok, refusal


@pytest.fixture
def pods(namespace: str) -> str:
    """The path of the test's pods."""
    return f"/api/v1/namespaces/{namespace}/pods"


def _bind(api: ApiClient, pods: str, node: str, name: str = "p", **about: Any) -> tuple[int, Any]:
    binding = {"metadata": {"name": name, **about}, "target": {"apiVersion": "v1", "kind": "Node", "name": node}}
    return call(api, "POST", f"{pods}/{name}/binding", binding)


def _run(api: ApiClient, pods: str, node: str, name: str = "p", **about: Any) -> None:
    """Make a pod, bind it and report it running and ready."""
    ok(call(api, "POST", pods, build.pod(name, **about)))
    ok(_bind(api, pods, node, name))
    status = {"phase": "Running", "conditions": [build.ready()]}
    ok(call(api, "PATCH", f"{pods}/{name}/status", {"status": status}, content_type=wire.STRATEGIC))


def test_a_binding_sets_node_and_annotations_in_one_write(api: ApiClient, pods: str, node: str) -> None:
    made = ok(call(api, "POST", pods, build.pod("p", annotations={"kept": "1"})))
    answer = ok(_bind(api, pods, node, annotations={"vgpu-serve.io/slot": f"{node}/0"}))
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    with wire.watch(api, pods, resourceVersion=made["metadata"]["resourceVersion"]) as events:
        bound = next(events)["object"]
    assert bound["spec"]["nodeName"] == node
    assert bound["metadata"]["annotations"] == {"kept": "1", "vgpu-serve.io/slot": f"{node}/0"}
    assert [(known["type"], known["status"]) for known in bound["status"]["conditions"]] == [("PodScheduled", "True")]


def test_a_pod_is_bound_once(api: ApiClient, pods: str, node: str) -> None:
    ok(call(api, "POST", pods, build.pod("p")))
    ok(_bind(api, pods, node))
    assert refusal(_bind(api, pods, node)) == (409, "Conflict")
    assert refusal(_bind(api, pods, node, name="none")) == (404, "NotFound")


def test_a_pods_node_cannot_be_changed_by_a_patch(api: ApiClient, pods: str) -> None:
    ok(call(api, "POST", pods, build.pod("p")))
    patch = {"spec": {"nodeName": "elsewhere"}}
    assert refusal(call(api, "PATCH", f"{pods}/p", patch, content_type=wire.MERGE)) == (422, "Invalid")


def test_a_reported_status_changes_nothing_but_the_status(api: ApiClient, pods: str, node: str) -> None:
    _run(api, pods, node)
    patch = {"spec": {"nodeName": "elsewhere"}, "status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    ok(call(api, "PATCH", f"{pods}/p/status", patch, content_type=wire.MERGE))
    pod = ok(call(api, "GET", f"{pods}/p"))
    assert (pod["spec"]["nodeName"], pod["status"]["phase"], pod["status"]["podIP"]) == (node, "Running", "127.0.0.1")


def test_a_pod_without_a_node_goes_at_once(api: ApiClient, pods: str) -> None:
    ok(call(api, "POST", pods, build.pod("p")))
    ok(call(api, "DELETE", f"{pods}/p"))
    assert refusal(call(api, "GET", f"{pods}/p")) == (404, "NotFound")


def test_a_bound_pod_is_marked_and_goes_when_its_kubelet_says_so(api: ApiClient, pods: str, node: str) -> None:
    _run(api, pods, node)
    marked = ok(call(api, "DELETE", f"{pods}/p", {"gracePeriodSeconds": 20}))
    assert (marked["kind"], marked["metadata"]["deletionGracePeriodSeconds"]) == ("Pod", 20)
    assert ok(call(api, "GET", f"{pods}/p"))["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
    ok(call(api, "DELETE", f"{pods}/p", {"gracePeriodSeconds": 0}))
    assert refusal(call(api, "GET", f"{pods}/p")) == (404, "NotFound")


def test_a_grace_period_comes_from_the_pod_and_can_only_be_cut_short(api: ApiClient, pods: str, node: str) -> None:
    _run(api, pods, node)
    assert ok(call(api, "DELETE", f"{pods}/p"))["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = ok(call(api, "DELETE", f"{pods}/p", {"gracePeriodSeconds": 5}))
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = ok(call(api, "DELETE", f"{pods}/p", {"gracePeriodSeconds": 60}))
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5


def test_a_deletion_may_insist_on_one_life_of_the_pod(api: ApiClient, pods: str) -> None:
    made = ok(call(api, "POST", pods, build.pod("p")))
    other = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    assert refusal(call(api, "DELETE", f"{pods}/p", other)) == (409, "Conflict")
    ok(call(api, "DELETE", f"{pods}/p", {"preconditions": {"uid": made["metadata"]["uid"]}}))


def test_a_finalizer_holds_a_deleted_object_until_it_is_lifted(api: ApiClient, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    ok(call(api, "POST", maps, build.config_map("c", finalizers=["example.com/hold"])))
    assert "deletionTimestamp" in ok(call(api, "DELETE", f"{maps}/c"))["metadata"]
    more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    assert refusal(call(api, "PATCH", f"{maps}/c", more, content_type=wire.MERGE)) == (422, "Invalid")
    ok(call(api, "PATCH", f"{maps}/c", {"metadata": {"finalizers": None}}, content_type=wire.MERGE))
    assert refusal(call(api, "GET", f"{maps}/c")) == (404, "NotFound")


def _allow(api: ApiClient, namespace: str, count: int) -> None:
    """Write a budget's status, as its controller would."""
    path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/b/status"
    counts = {"disruptionsAllowed": count, "currentHealthy": 1 + count, "desiredHealthy": 1, "expectedPods": 2}
    patch = {"status": {"observedGeneration": 1, **counts}}
    ok(call(api, "PATCH", path, patch, content_type=wire.MERGE))


def test_an_eviction_is_refused_while_the_budget_allows_no_loss(
    api: ApiClient, namespace: str, pods: str, node: str
) -> None:
    _run(api, pods, node, labels={"app": "w"})
    client.PolicyV1Api(api).create_namespaced_pod_disruption_budget(namespace, build.budget("b", {"app": "w"}))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": namespace}}
    _allow(api, namespace, 0)
    code, body = call(api, "POST", f"{pods}/p/eviction", eviction)
    assert (code, body["reason"]) == (429, "TooManyRequests")
    assert body["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert [cause["reason"] for cause in body["details"]["causes"]] == ["DisruptionBudget"]
    _allow(api, namespace, 1)
    ok(call(api, "POST", f"{pods}/p/eviction", eviction))
    assert "deletionTimestamp" in ok(call(api, "GET", f"{pods}/p"))["metadata"]
    budget = client.PolicyV1Api(api).read_namespaced_pod_disruption_budget("b", namespace)
    assert budget.status.disruptions_allowed == 0


def test_a_scale_reads_and_writes_the_count_alone(api: ApiClient, namespace: str) -> None:
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    made = ok(call(api, "POST", deployments, build.deployment("d", replicas=2)))
    patch = {"status": {"replicas": 1, "observedGeneration": 1}}
    ok(call(api, "PATCH", f"{deployments}/d/status", patch, content_type=wire.MERGE))
    scale = ok(call(api, "GET", f"{deployments}/d/scale"))
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "app=d"})
    assert scale["metadata"]["uid"] == made["metadata"]["uid"]
    raised = ok(call(api, "PUT", f"{deployments}/d/scale", scale | {"spec": {"replicas": 5}}))
    assert raised["spec"]["replicas"] == 5
    assert refusal(call(api, "PUT", f"{deployments}/d/scale", scale | {"spec": {"replicas": 6}})) == (409, "Conflict")
    ok(call(api, "PATCH", f"{deployments}/d/scale", {"spec": {"replicas": 3}}, content_type=wire.MERGE))
    deployment = ok(call(api, "GET", f"{deployments}/d"))
    assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (3, 3)
    broken = {"spec": {"replicas": -1}}
    code, reason = refusal(call(api, "PATCH", f"{deployments}/d/scale", broken, content_type=wire.MERGE))
    assert (code, reason) == (422, "Invalid")
