"""Nodes and pods as the switcher reads them, and what it changes: one write for each change of a node."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.switcher.world import NAMESPACE, World, world
from vgpu.adapters import kube
from vgpu.adapters.kube_errors import TooManyRequests, Unavailable
from vgpu.core import names
from vgpu.core.switching.seen import NodeSeen, PodSeen
from vgpu.switcher.cluster import Cluster, counts, node_event, parse_node


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("cluster")) as made:
        yield made


def node(**parts: Any) -> Any:
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2027-01-15T08:00:00Z"}
    about = {"name": "n", "labels": {names.LABEL_PROFILE: "v100-4q-4GB"}, **parts.pop("metadata", {})}
    status = {
        "conditions": [{"type": "MemoryPressure", "status": "False"}, ready],
        "allocatable": {"nvidia.com/gpu": "2"},
    }
    return {"metadata": about, "spec": {}, "status": status} | parts


WELL = NodeSeen(name="n", ready=True, schedulable=True, profile="v100-4q-4GB", gpus=2, heartbeat="2027-01-15T08:00:00Z")


@pytest.mark.parametrize(
    ("given", "lease", "seen"),
    [
        (node(), None, {}),
        (node(), {"spec": {"renewTime": "t9"}}, {"heartbeat": "2027-01-15T08:00:00Z t9"}),
        (node(spec={"unschedulable": True}), None, {"schedulable": False}),
        (node(metadata={"labels": {"virtual.gpu.type": "GRID V100-4Q"}}), None, {}),
        (node(metadata={"labels": {names.LABEL_PROFILE: "mine"}}), None, {"profile": "mine"}),
        (node(metadata={"labels": {}}), None, {"profile": ""}),
        (
            node(metadata={"annotations": {names.ANNOTATION_LEAVING: "night", names.ANNOTATION_LABEL_CONFLICT: "no"}}),
            None,
            {"leaving": True, "conflict": "no"},
        ),
        (node(metadata={"annotations": {names.ANNOTATION_ASLEEP: "night"}}), None, {"asleep": True}),
        (node(status={}), None, {"ready": False, "gpus": 0, "heartbeat": ""}),
        (
            node(status={"conditions": [{"type": "Ready", "status": "Unknown"}], "capacity": {"nvidia.com/gpu": "?"}}),
            None,
            {"ready": False, "gpus": 0, "heartbeat": ""},
        ),
    ],
)
def test_a_node(given: Any, lease: Any, seen: dict[str, Any]) -> None:
    fields = {name: getattr(WELL, name) for name in WELL.__slots__}
    assert parse_node(given, lease) == NodeSeen(**(fields | {"profile": "v100-4q-4GB"} | seen))


def pod(**metadata: Any) -> Any:
    return {"metadata": {"name": "p", **metadata}, "spec": {}, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("given", "is_counted"),
    [
        (pod(), True),
        (pod(ownerReferences=[{"kind": "ReplicaSet", "controller": True}]), True),
        (pod(ownerReferences=[{"kind": "DaemonSet", "controller": True}]), False),
        (pod(ownerReferences=[{"kind": "DaemonSet"}]), True),  # it is mentioned there, and another made it
        (pod(annotations={"kubernetes.io/config.mirror": "x"}), False),
        (pod() | {"status": {"phase": "Succeeded"}}, False),
        (pod() | {"status": {"phase": "Failed"}}, False),
    ],
)
def test_which_pods_a_node_waits_for(given: Any, is_counted: bool) -> None:
    assert counts(given) is is_counted


def test_what_is_not_there_is_left_out(here: World) -> None:
    assert list(here.cluster.nodes(["node-1", "node-77"])) == ["node-1"]


def test_the_pods_of_some_nodes(here: World) -> None:
    here.add_worker("worker", "node-1")
    here.add_pod("batch", "node-2")
    here.add_pod("elsewhere", "node-8")
    here.client.delete(kube.PODS, "batch", NAMESPACE)
    found = {each.key: (each.node, each.is_worker, each.deleting) for each in here.cluster.pods(["node-1", "node-2"])}
    assert found == {
        "default/batch": ("node-2", False, True),
        "default/worker": ("node-1", True, False),
    }


def patches(here: World, work: Callable[[Cluster], None]) -> int:
    here.server.faults.clear()
    work(here.cluster)
    return here.server.faults.seen["patch", "nodes"]


def test_each_change_of_a_node_is_one_write(here: World) -> None:
    """Between two writes a process may end: a node must not be cordoned without its mark, or marked and schedulable."""

    def seen() -> tuple[bool, bool, bool]:
        found = here.cluster.nodes(["node-3"])["node-3"]
        return found.schedulable, found.leaving, found.asleep

    steps: list[tuple[Callable[[Cluster], None], tuple[bool, bool, bool]]] = [
        (lambda cluster: cluster.give_up("node-3", "night"), (False, True, False)),
        (lambda cluster: cluster.put_to_sleep("node-3", "night"), (False, False, True)),
        (lambda cluster: cluster.take_back("node-3"), (True, False, False)),
        (lambda cluster: cluster.take_back("node-3"), (True, False, False)),
    ]
    assert [(patches(here, work), seen()) for work, _ in steps] == [(1, after) for _, after in steps]


def test_a_node_that_is_not_there_needs_no_change(here: World) -> None:
    here.cluster.give_up("node-77", "night")


def seen_pod(here: World, name: str, uid: str = "") -> PodSeen:
    uid = uid or here.client.read(kube.PODS, name, NAMESPACE)["metadata"]["uid"]
    return PodSeen(key=f"{NAMESPACE}/{name}", uid=uid, node="node-1", is_worker=False)


def test_an_eviction_takes_the_pod_that_was_seen_and_no_other(here: World) -> None:
    here.add_pod("one", "node-1")
    here.cluster.evict(seen_pod(here, "one", uid="another"))
    assert "deletionTimestamp" not in here.client.read(kube.PODS, "one", NAMESPACE)["metadata"]
    here.cluster.evict(seen_pod(here, "one"))
    assert "deletionTimestamp" in here.client.read(kube.PODS, "one", NAMESPACE)["metadata"]
    here.cluster.evict(seen_pod(here, "gone", uid="gone"))


def test_a_pods_own_grace_is_kept(here: World) -> None:
    spec = {
        "nodeName": "node-1",
        "terminationGracePeriodSeconds": 77,
        "containers": [{"name": "m", "image": "x"}],
    }
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "slow"}, "spec": spec}
    here.client.create(kube.PODS, manifest, NAMESPACE)
    here.cluster.evict(seen_pod(here, "slow"))
    assert here.client.read(kube.PODS, "slow", NAMESPACE)["metadata"]["deletionGracePeriodSeconds"] == 77


def test_not_now_is_said_as_such(here: World) -> None:
    here.add_pod("kept", "node-1")
    here.server.faults.refuse(429, verb="create", plural="pods")
    with pytest.raises(TooManyRequests):
        here.cluster.evict(seen_pod(here, "kept"))


def test_an_api_that_is_away_is_no_empty_cluster(here: World) -> None:
    for call in (
        lambda: here.cluster.nodes(["node-1"]),
        lambda: here.cluster.pods(["node-1"]),
        lambda: here.cluster.everything(),
        lambda: here.cluster.give_up("node-1", "night"),
    ):
        here.server.faults.clear()
        here.server.faults.refuse(503, times=9)
        with pytest.raises(Unavailable):
            call()
    here.server.faults.clear()


def test_an_event_that_cannot_be_written_holds_nothing_up(here: World, caplog: pytest.LogCaptureFixture) -> None:
    here.server.faults.refuse(503, verb="create", plural="events")
    here.cluster.tell([node_event("node-1", "SwitchDone", "lost"), node_event("node-1", "SwitchDone", "written")])
    assert [event["message"] for event in here.client.list(kube.EVENTS)] == ["written"]
    assert "cannot write an Event" in caplog.text
