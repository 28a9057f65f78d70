"""What `kubectl get` shows."""

from typing import Any

import pytest

from autoscaler.embedded.apiserver import tables
from autoscaler.embedded.apiserver.resources import DEPLOYMENTS, EVENTS, NODES, PODS, Resource
from tests.unit.apiserver import build


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (12600, "3h30m"),
        (28800, "8h"),
        (172799, "47h"),
        (172800, "2d"),
        (180000, "2d2h"),
        (691200, "8d"),
        (63072000, "2y"),
    ],
)
def test_an_age_is_written_as_kubectl_writes_it(seconds: float, text: str) -> None:
    assert tables.render_age(seconds) == text


def _cells(resource: Resource, item: Any, *, wide: bool = False, now_s: float = build.START_S + 300) -> dict[str, Any]:
    table = tables.render(resource, [item], {}, now_s)
    (row,) = table["rows"]
    columns = zip(table["columnDefinitions"], row["cells"], strict=True)
    return {column["name"]: cell for column, cell in columns if wide or not column["priority"]}


_ABOUT = {"name": "x", "creationTimestamp": "2027-01-15T08:00:00Z"}


def test_a_node_shows_readiness_cordon_and_roles() -> None:
    node = {
        "metadata": _ABOUT | {"labels": {"node-role.kubernetes.io/gpu": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [build.ready()],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.2"}],
            "nodeInfo": {"kubeletVersion": "v1.37.1+emulated"},
        },
    }
    assert _cells(NODES, node) == {
        "Name": "x",
        "Status": "Ready,SchedulingDisabled",
        "Roles": "gpu",
        "Age": "5m",
        "Version": "v1.37.1+emulated",
    }
    assert _cells(NODES, node, wide=True)["Internal-IP"] == "127.0.0.2"


@pytest.mark.parametrize(
    ("conditions", "expected"), [([], "Unknown"), ([build.ready(is_so=False)], "NotReady"), ([build.ready()], "Ready")]
)
def test_a_node_that_never_reported_is_unknown(conditions: Any, expected: str) -> None:
    assert _cells(NODES, {"metadata": _ABOUT, "status": {"conditions": conditions}})["Status"] == expected


def _pod(**status: Any) -> Any:
    return {"metadata": _ABOUT, "spec": build.pod()["spec"], "status": {"phase": "Running", **status}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, "Running"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}, "CrashLoopBackOff"),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 137}}}]}, "ExitCode:137"),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}]}, "OOMKilled"),
    ],
)
def test_a_pod_shows_its_most_telling_word(status: Any, expected: str) -> None:
    assert _cells(PODS, _pod(**status))["Status"] == expected


def test_a_pod_that_is_going_shows_so() -> None:
    pod = _pod() | {"metadata": _ABOUT | {"deletionTimestamp": "2027-01-15T08:00:30Z"}}
    assert _cells(PODS, pod)["Status"] == "Terminating"


def test_a_wide_pod_shows_where_it_runs() -> None:
    pod = _pod(podIP="127.0.0.1", containerStatuses=[{"ready": True, "restartCount": 2}])
    pod["spec"] = pod["spec"] | {"nodeName": "n1"}
    assert _cells(PODS, pod, wide=True) == {
        "Name": "x",
        "Ready": "1/1",
        "Status": "Running",
        "Restarts": 2,
        "Age": "5m",
        "IP": "127.0.0.1",
        "Node": "n1",
        "Nominated Node": "<none>",
        "Readiness Gates": "<none>",
    }


def test_a_deployment_shows_ready_of_wanted() -> None:
    deployment = build.deployment("w", replicas=3) | {"status": {"readyReplicas": 1, "updatedReplicas": 2}}
    deployment["metadata"] = deployment["metadata"] | _ABOUT
    cells = _cells(DEPLOYMENTS, deployment, wide=True)
    assert [cells[name] for name in ("Ready", "Up-to-date", "Available", "Selector")] == ["1/3", 2, 0, "app=w"]


def test_an_event_shows_when_it_was_last_seen_and_about_what() -> None:
    event = {
        "metadata": _ABOUT,
        "involvedObject": {"kind": "Pod", "name": "p"},
        "lastTimestamp": "2027-01-15T08:04:00Z",
        "reason": "Bound",
    }
    cells = _cells(EVENTS, event)
    assert [cells[name] for name in ("Last Seen", "Reason", "Object")] == ["60s", "Bound", "pod/p"]


def test_rows_carry_metadata_for_label_columns_and_headings_can_be_left_out() -> None:
    node = {"metadata": _ABOUT | {"labels": {"vgpu.type": "v100-8q-8GB"}}}
    table = tables.render(NODES, [node], {"resourceVersion": "5"}, build.START_S, headings=False)
    assert table["columnDefinitions"] == []
    assert table["rows"][0]["object"]["metadata"]["labels"] == {"vgpu.type": "v100-8q-8GB"}
    assert table["metadata"] == {"resourceVersion": "5"}
