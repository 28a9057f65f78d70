"""Creating, reading, replacing and deleting: identity, versions, concurrency and reasons."""

import threading
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.api_client import ApiClient

from tests.contracts.kubernetes import build, wire
from tests.contracts.kubernetes.wire import call, ok, refusal


def _maps(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps" + (f"/{name}" if name else "")


def _pods(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")


def _deployments(namespace: str, name: str = "") -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments" + (f"/{name}" if name else "")


def test_a_new_object_has_identity_version_and_time(api: ApiClient, namespace: str) -> None:
    made = ok(call(api, "POST", _maps(namespace), build.config_map("c")))
    about = made["metadata"]
    assert about["namespace"] == namespace
    assert len(about["uid"]) == 36
    assert int(about["resourceVersion"]) > 0
    assert about["creationTimestamp"].endswith("Z")
    assert ok(call(api, "GET", _maps(namespace, "c"))) == made


def test_an_object_made_anew_under_the_same_name_is_another_one(api: ApiClient, namespace: str) -> None:
    first = ok(call(api, "POST", _maps(namespace), build.config_map("c")))
    gone = ok(call(api, "DELETE", _maps(namespace, "c")))
    assert (gone["kind"], gone["status"], gone["details"]["uid"]) == ("Status", "Success", first["metadata"]["uid"])
    second = ok(call(api, "POST", _maps(namespace), build.config_map("c")))
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert int(first["metadata"]["resourceVersion"]) < int(second["metadata"]["resourceVersion"])


def test_names_can_be_generated(api: ApiClient, namespace: str) -> None:
    body = {"metadata": {"generateName": "w-"}}
    names = {ok(call(api, "POST", _maps(namespace), body))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("w-") and len(name) == 7 for name in names)


def test_defaults_are_filled_in(api: ApiClient, namespace: str) -> None:
    made = ok(call(api, "POST", _deployments(namespace), build.deployment("d") | {"status": {"replicas": 9}}))
    assert made["metadata"]["generation"] == 1
    assert made["spec"]["strategy"]["type"] == "RollingUpdate"
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "Always"
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    assert made["status"] == {}
    pod = ok(call(api, "POST", _pods(namespace), build.pod("p")))
    assert (pod["status"]["phase"], pod["status"]["qosClass"]) == ("Pending", "BestEffort")


def _invalid_pod() -> Any:
    body = build.pod("p")
    del body["spec"]["containers"][0]["image"]
    return body


def _mismatched_deployment() -> Any:
    body = build.deployment("d")
    body["spec"]["selector"]["matchLabels"] = {"app": "other"}
    return body


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        pytest.param("GET", "configmaps/none", None, (404, "NotFound"), id="reading what is not there"),
        pytest.param("DELETE", "pods/none", None, (404, "NotFound"), id="deleting what is not there"),
        pytest.param("PUT", "pods/none", build.pod("none"), (404, "NotFound"), id="replacing what is not there"),
        pytest.param(
            "POST", "configmaps", build.config_map("taken"), (409, "AlreadyExists"), id="a name that is taken"
        ),
        pytest.param("POST", "configmaps", build.config_map("Bad_Name"), (422, "Invalid"), id="a bad name"),
        pytest.param(
            "POST",
            "configmaps",
            build.config_map("c", labels={"a": "no such label!"}),
            (422, "Invalid"),
            id="a bad label",
        ),
        pytest.param("POST", "configmaps", {"data": {}}, (422, "Invalid"), id="no name at all"),
        pytest.param("POST", "pods", _invalid_pod(), (422, "Invalid"), id="a container without an image"),
        pytest.param(
            "POST",
            "configmaps",
            build.config_map("c", labels={"a": 1}),
            (400, "BadRequest"),
            id="a label that is no text",
        ),
        pytest.param(
            "POST",
            "configmaps",
            build.config_map("c", namespace="default"),
            (400, "BadRequest"),
            id="another namespace",
        ),
        pytest.param("POST", "configmaps", build.pod("p"), (400, "BadRequest"), id="another kind"),
        pytest.param("POST", "configmaps/c", build.config_map("c"), (405, "MethodNotAllowed"), id="a verb not served"),
        pytest.param("GET", "gizmos", None, (404, "NotFound"), id="a kind not served"),
    ],
)
def test_what_is_wrong_is_refused_with_its_reason(
    api: ApiClient, namespace: str, method: str, path: str, body: Any, expected: tuple[int, str]
) -> None:
    ok(call(api, "POST", _maps(namespace), build.config_map("taken")))
    assert refusal(call(api, method, f"/api/v1/namespaces/{namespace}/{path}", body)) == expected


def test_a_namespace_must_exist_before_its_objects(api: ApiClient) -> None:
    code, body = call(api, "POST", _maps("no-such-namespace"), build.config_map("c"))
    assert (code, body["reason"], body["message"]) == (404, "NotFound", 'namespaces "no-such-namespace" not found')


def test_a_selector_must_fit_its_template_and_stays_as_it_is(api: ApiClient, namespace: str) -> None:
    assert refusal(call(api, "POST", _deployments(namespace), _mismatched_deployment())) == (422, "Invalid")
    made = ok(call(api, "POST", _deployments(namespace), build.deployment("d")))
    labels = {"app": "other"}
    made["spec"]["selector"]["matchLabels"] = labels
    made["spec"]["template"]["metadata"]["labels"] = labels
    assert refusal(call(api, "PUT", _deployments(namespace, "d"), made)) == (422, "Invalid")


def test_a_replacement_based_on_an_old_version_is_refused(api: ApiClient, namespace: str) -> None:
    first = ok(call(api, "POST", _maps(namespace), build.config_map("c")))
    ok(call(api, "PUT", _maps(namespace, "c"), first | {"data": {"k": "2"}}))
    code, body = call(api, "PUT", _maps(namespace, "c"), first | {"data": {"k": "3"}})
    assert (code, body["reason"]) == (409, "Conflict")
    assert body["message"].endswith("please apply your changes to the latest version and try again")
    assert ok(call(api, "GET", _maps(namespace, "c")))["data"] == {"k": "2"}


def test_a_replacement_that_names_no_version_is_taken_except_for_leases(api: ApiClient, namespace: str) -> None:
    ok(call(api, "POST", _maps(namespace), build.config_map("c")))
    assert ok(call(api, "PUT", _maps(namespace, "c"), build.config_map("c")))["data"] == {"k": "v"}
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 5}}
    ok(call(api, "POST", leases, lease))
    assert refusal(call(api, "PUT", f"{leases}/l", lease)) == (422, "Invalid")


def test_a_replacement_that_changes_nothing_makes_no_new_version(api: ApiClient, namespace: str) -> None:
    made = ok(call(api, "POST", _maps(namespace), build.config_map("c")))
    assert ok(call(api, "PUT", _maps(namespace, "c"), made)) == made


def test_a_replacement_meant_for_another_life_of_the_object_is_refused(api: ApiClient, namespace: str) -> None:
    made = ok(call(api, "POST", _maps(namespace), build.config_map("c")))
    made["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    assert refusal(call(api, "PUT", _maps(namespace, "c"), made)) == (409, "Conflict")


def test_no_increment_is_lost_among_writers_who_check_the_version(api: ApiClient, namespace: str) -> None:
    """Eight writers count up one annotation ten times each; a refused write is read and tried again."""
    ok(call(api, "POST", _maps(namespace), build.config_map("c", annotations={"count": "0"})))
    start_together, refused = threading.Barrier(8), []

    def count_up() -> None:
        start_together.wait()
        done = 0
        while done < 10:
            read = ok(call(api, "GET", _maps(namespace, "c")))
            read["metadata"]["annotations"]["count"] = str(int(read["metadata"]["annotations"]["count"]) + 1)
            code, _ = call(api, "PUT", _maps(namespace, "c"), read)
            assert code in (200, 409)
            done += code == 200
            refused.extend([code] * (code == 409))

    writers = [threading.Thread(target=count_up) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert ok(call(api, "GET", _maps(namespace, "c")))["metadata"]["annotations"] == {"count": "80"}
    assert refused, "eight writers that never met prove nothing"


def test_the_spec_and_the_status_are_written_apart(api: ApiClient, namespace: str) -> None:
    made = ok(call(api, "POST", _deployments(namespace), build.deployment("d", replicas=1)))
    both = made | {"spec": made["spec"] | {"replicas": 5}, "status": {"replicas": 2, "observedGeneration": 1}}
    by_status = ok(call(api, "PUT", f"{_deployments(namespace, 'd')}/status", both))
    assert (by_status["spec"]["replicas"], by_status["status"]["replicas"]) == (1, 2)
    assert by_status["metadata"]["generation"] == 1
    patch = {"spec": {"replicas": 7}, "status": {"replicas": 9}}
    by_spec = ok(call(api, "PATCH", _deployments(namespace, "d"), patch, content_type=wire.MERGE))
    assert (by_spec["spec"]["replicas"], by_spec["status"]["replicas"]) == (7, 2)
    assert by_spec["metadata"]["generation"] == 2


def test_the_typed_client_reads_and_writes_every_kind(api: ApiClient, namespace: str, node: str) -> None:
    """Its models refuse an answer in which a required field is missing or of the wrong type."""
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    meta = client.V1ObjectMeta(name="x")
    core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=meta, data={"a": "b"}))
    made = apps.create_namespaced_deployment(namespace, build.deployment("d"))
    assert made.spec.replicas == 1
    assert core.read_node(node).metadata.labels == {"test": namespace}
    core.create_namespaced_pod(namespace, build.pod("p"))
    assert [pod.status.phase for pod in core.list_namespaced_pod(namespace).items] == ["Pending"]
    spec = client.V1LeaseSpec(holder_identity="a", lease_duration_seconds=5)
    client.CoordinationV1Api(api).create_namespaced_lease(namespace, client.V1Lease(metadata=meta, spec=spec))
    client.PolicyV1Api(api).create_namespaced_pod_disruption_budget(namespace, build.budget("b", {"app": "d"}))
    about = {"kind": "Pod", "name": "p", "namespace": namespace}
    event = {"metadata": {"generateName": "p."}, "involvedObject": about, "reason": "Test", "type": "Normal"}
    core.create_namespaced_event(namespace, event)
    listed = core.list_namespaced_event(namespace, field_selector="involvedObject.name=p,reason=Test").items
    assert [found.involved_object.kind for found in listed] == ["Pod"]
    assert namespace in [found.metadata.name for found in core.list_namespace().items]
    assert client.VersionApi(api).get_code().major == "1"
    assert {group.name for group in client.ApisApi(api).get_api_versions().groups} >= {"apps", "policy"}


def test_a_collection_can_be_deleted_by_labels(api: ApiClient, namespace: str) -> None:
    for name, tier in (("a", "gold"), ("b", "tin"), ("c", "gold")):
        ok(call(api, "POST", _maps(namespace), build.config_map(name, labels={"tier": tier})))
    ok(call(api, "DELETE", _maps(namespace), labelSelector="tier=gold"))
    left = ok(call(api, "GET", _maps(namespace), labelSelector="tier"))["items"]
    assert [item["metadata"]["name"] for item in left] == ["b"]
