"""What each verb sends. That a server understands it is for the contract suite."""

from datetime import UTC, datetime
from typing import Any

import pytest

from vgpu.adapters import kube_verbs
from vgpu.adapters.kube_errors import Conflict, NotFound
from vgpu.adapters.kube_verbs import (
    DEPLOYMENTS,
    JSON_PATCH,
    MERGE,
    NODES,
    PODS,
    RAYCLUSTERS,
    STRATEGIC,
    Event,
    Request,
    Subject,
    Verbs,
)


class _Recorder(Verbs):
    """Answers from a list, the last answer again and again; keeps what was sent."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers) or [{}]
        self.sent: list[Request] = []

    def send(self, request: Request) -> Any:
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def _page(names: list[str], more: str = "") -> Any:
    items = [{"metadata": {"name": name}} for name in names]
    return {"items": items, "metadata": {"resourceVersion": "7", "continue": more}}


def test_all_pages_of_a_list_are_read() -> None:
    verbs = _Recorder(_page(["a", "b"], "token"), _page(["c"]))
    assert [item["metadata"]["name"] for item in verbs.list(PODS, "ns", labels="app=w")] == ["a", "b", "c"]
    assert [(request.path, request.query.get("labelSelector")) for request in verbs.sent] == [
        ("/api/v1/namespaces/ns/pods", "app=w")
    ] * 2
    assert verbs.sent[1].query["continue"] == "token"


@pytest.mark.parametrize(
    ("kind", "words", "path"),
    [
        (NODES, (), "/api/v1/nodes"),
        (NODES, ("", "n1", "status"), "/api/v1/nodes/n1/status"),
        (PODS, ("ns",), "/api/v1/namespaces/ns/pods"),
        (DEPLOYMENTS, ("ns", "d", "scale"), "/apis/apps/v1/namespaces/ns/deployments/d/scale"),
    ],
)
def test_an_object_has_its_path(kind: kube_verbs.Kind, words: tuple[str, ...], path: str) -> None:
    assert kind.path(*words) == path


_SENT: list[tuple[str, Any, Request]] = [
    (
        "an annotation, or its removal, is merged",
        lambda verbs: verbs.annotate(PODS, "p", {"a": "1", "b": None}, "ns"),
        Request(
            "PATCH",
            "/api/v1/namespaces/ns/pods/p",
            {"metadata": {"annotations": {"a": "1", "b": None}}},
            content_type=MERGE,
        ),
    ),
    (
        "a count goes through the scale",
        lambda verbs: verbs.set_replicas("d", "ns", 3),
        Request(
            "PATCH",
            "/apis/apps/v1/namespaces/ns/deployments/d/scale",
            {"spec": {"replicas": 3}},
            content_type=MERGE,
        ),
    ),
    (
        "parts of an object change only as long as it is what was read",
        lambda verbs: verbs.amend(
            RAYCLUSTERS,
            {"metadata": {"name": "r", "namespace": "ns", "resourceVersion": "7"}, "spec": {"a": 1}},
            [{"op": "add", "path": "/spec/a", "value": 2}],
        ),
        Request(
            "PATCH",
            "/apis/ray.io/v1/namespaces/ns/rayclusters/r",
            [
                {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "add", "path": "/spec/a", "value": 2},
            ],
            content_type=JSON_PATCH,
        ),
    ),
    (
        "a binding carries its annotations",
        lambda verbs: verbs.bind_pod("p", "ns", node="n1", annotations={"slot": "n1/0"}, uid="u"),
        Request(
            "POST",
            "/api/v1/namespaces/ns/pods/p/binding",
            {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": "p", "namespace": "ns", "annotations": {"slot": "n1/0"}, "uid": "u"},
                "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"},
            },
        ),
    ),
    (
        "a status merges its conditions by type",
        lambda verbs: verbs.set_pod_status("p", "ns", {"phase": "Running"}),
        Request(
            "PATCH",
            "/api/v1/namespaces/ns/pods/p/status",
            {"status": {"phase": "Running"}},
            content_type=STRATEGIC,
        ),
    ),
    (
        "uncordoning removes the field",
        lambda verbs: verbs.cordon("n1", unschedulable=False),
        Request("PATCH", "/api/v1/nodes/n1", {"spec": {"unschedulable": None}}, content_type=MERGE),
    ),
    (
        "a deletion may be meant for one life of an object",
        lambda verbs: verbs.delete(PODS, "p", "ns", grace_s=0, uid="u"),
        Request(
            "DELETE",
            "/api/v1/namespaces/ns/pods/p",
            {"propagationPolicy": "Background", "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}},
        ),
    ),
]


@pytest.mark.parametrize(("call", "expected"), [case[1:] for case in _SENT], ids=[case[0] for case in _SENT])
def test_what_is_sent(call: Any, expected: Request) -> None:
    verbs = _Recorder()
    call(verbs)
    assert verbs.sent == [expected]


def test_an_event_about_a_node_is_kept_in_the_default_namespace() -> None:
    verbs = _Recorder()
    wall = datetime(2027, 1, 15, 8, tzinfo=UTC)
    subject = Subject(kind="Node", name="n1", uid="u")
    event = Event(subject=subject, reason="Recut", message="m", component="switcher", is_warning=True)
    verbs.record_event(event, wall=wall)
    (request,) = verbs.sent
    assert request.path == "/api/v1/namespaces/default/events"
    assert isinstance(request.body, dict)
    assert request.body["involvedObject"] == {"kind": "Node", "apiVersion": "v1", "name": "n1", "uid": "u"}
    assert (request.body["type"], request.body["firstTimestamp"]) == ("Warning", "2027-01-15T08:00:00Z")


_MANIFEST = {"metadata": {"name": "d"}, "spec": {"replicas": 1, "template": {}}}
_THERE = {"metadata": {"name": "d", "resourceVersion": "9"}, "spec": {"replicas": 4}}


def test_a_deployment_that_is_there_keeps_its_count() -> None:
    verbs = _Recorder(Conflict("create", "exists"), _THERE, {"done": True})
    assert verbs.apply_deployment(_MANIFEST, "ns") == {"done": True}
    assert verbs.sent[-1] == Request(
        "PUT",
        "/apis/apps/v1/namespaces/ns/deployments/d",
        {"metadata": {"name": "d", "resourceVersion": "9"}, "spec": {"replicas": 4, "template": {}}},
    )


def test_a_deployment_that_changes_or_goes_meanwhile_is_tried_again() -> None:
    exists, stale, gone = Conflict("create", "exists"), Conflict("replace", "stale"), NotFound("read", "gone")
    verbs = _Recorder(exists, _THERE, stale, exists, gone, {"done": True})
    assert verbs.apply_deployment(_MANIFEST, "ns") == {"done": True}


def test_a_deployment_that_changes_for_ever_is_given_up() -> None:
    verbs = _Recorder(Conflict("any", "always"))
    with pytest.raises(Conflict, match=r"apply deployment d: it changed 10 times"):
        verbs.apply_deployment(_MANIFEST, "ns")
    assert len(verbs.sent) == 2 * kube_verbs.APPLY_TRIES
