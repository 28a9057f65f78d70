"""Our own adapter: every verb against a server, and its three ways of failing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.contracts.kubernetes import build
from vgpu.adapters import kube
from vgpu.adapters.kube_lease import Claim, Lease
from vgpu.adapters.kube_watch import DeltaKind, Reflector


def _bound_pod(adapter: kube.Kube, namespace: str, node: str) -> None:
    adapter.create(kube.PODS, build.pod("p", labels={"app": "w"}), namespace)
    adapter.bind_pod("p", namespace, node=node, annotations={"vgpu-serve.io/slot": f"{node}/0"})


def test_a_worker_from_creation_to_its_end(adapter: kube.Kube, namespace: str, node: str) -> None:
    _bound_pod(adapter, namespace, node)
    adapter.set_pod_status("p", namespace, {"phase": "Running", "conditions": [build.ready("Initialized")]})
    adapter.set_pod_status("p", namespace, {"conditions": [build.ready()]})
    adapter.annotate(kube.PODS, "p", {"controller.kubernetes.io/pod-deletion-cost": "-1"}, namespace)
    (pod,) = adapter.list(kube.PODS, namespace, labels="app=w", fields=f"spec.nodeName={node}")
    assert {known["type"] for known in pod["status"]["conditions"]} == {"PodScheduled", "Initialized", "Ready"}
    assert pod["metadata"]["annotations"] == {
        "vgpu-serve.io/slot": f"{node}/0",
        "controller.kubernetes.io/pod-deletion-cost": "-1",
    }
    adapter.delete(kube.PODS, "p", namespace, grace_s=10)
    assert adapter.read(kube.PODS, "p", namespace)["metadata"]["deletionGracePeriodSeconds"] == 10
    adapter.delete(kube.PODS, "p", namespace, grace_s=0, uid=pod["metadata"]["uid"])
    assert adapter.list(kube.PODS, namespace) == ()


def test_a_node_is_labelled_reported_and_cordoned(adapter: kube.Kube, node: str) -> None:
    adapter.label_node(node, {"vgpu.type": "v100-8q-8GB", "test": None})
    capacity = {"nvidia.com/gpu": "2"}
    adapter.set_node_status(node, {"capacity": capacity, "conditions": [build.ready()]})
    adapter.cordon(node)
    read = adapter.read(kube.NODES, node)
    assert read["metadata"]["labels"] == {"vgpu.type": "v100-8q-8GB"}
    assert (read["status"]["capacity"], read["spec"]["unschedulable"]) == (capacity, True)
    assert "unschedulable" not in adapter.cordon(node, unschedulable=False)["spec"]


def test_a_deployment_is_applied_twice_and_keeps_the_count_it_was_scaled_to(adapter: kube.Kube, namespace: str) -> None:
    adapter.apply_deployment(build.deployment("d", replicas=1), namespace)
    adapter.set_replicas("d", namespace, 4)
    changed = build.deployment("d", replicas=1)
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/main:2"
    applied = adapter.apply_deployment(changed, namespace)
    assert applied["spec"]["template"]["spec"]["containers"][0]["image"] == "example.com/main:2"
    assert adapter.read_replicas("d", namespace) == 4


def test_an_event_is_found_by_its_subject(adapter: kube.Kube, namespace: str) -> None:
    pod = adapter.create(kube.PODS, build.pod("p"), namespace)
    subject = kube.Subject(kind="Pod", name="p", namespace=namespace, uid=pod["metadata"]["uid"])
    wall = datetime(2027, 1, 15, 8, tzinfo=UTC)
    event = kube.Event(subject=subject, reason="SlotBound", message="bound to n1/0", component="test")
    adapter.record_event(event, wall=wall)
    fields = f"involvedObject.uid={pod['metadata']['uid']},reason=SlotBound"
    (found,) = adapter.list(kube.EVENTS, namespace, fields=fields)
    assert (found["message"], found["count"], found["lastTimestamp"]) == ("bound to n1/0", 1, "2027-01-15T08:00:00Z")


def test_a_lease_passes_from_holder_to_holder(adapter: kube.Kube, namespace: str) -> None:
    def lease(holder: str) -> Lease:
        return Lease(adapter, Claim(namespace=namespace, name="leader", holder=holder, duration_s=15))

    first, second, wall = lease("a"), lease("b"), datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert first.renew(now_s=0.0, wall=wall)
    assert not second.renew(now_s=0.0, wall=wall)
    assert first.renew(now_s=10.0, wall=wall + timedelta(seconds=10))
    assert not second.renew(now_s=15.0, wall=wall)
    assert second.renew(now_s=30.0, wall=wall)
    assert not first.renew(now_s=30.0, wall=wall)


def test_the_three_ways_of_failing(adapter: kube.Kube, namespace: str, node: str, tmp_path: Path) -> None:
    _bound_pod(adapter, namespace, node)
    with pytest.raises(kube.NotFound, match="404"):
        adapter.read(kube.PODS, "none", namespace)
    with pytest.raises(kube.Conflict, match="already exists"):
        adapter.create(kube.PODS, build.pod("p"), namespace)
    with pytest.raises(kube.Conflict, match="already assigned"):
        adapter.bind_pod("p", namespace, node=node, annotations={})
    with pytest.raises(kube.Unavailable, match="422"):
        adapter.create(kube.PODS, build.pod("Bad_Name"), namespace)
    with pytest.raises(kube.Unavailable, match="kubeconfig"):
        kube.connect(tmp_path / "none")


def test_a_long_list_is_read_in_pages(adapter: kube.Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for turn in range(7):
        adapter.create(kube.PODS, build.pod(f"p{turn}"), namespace)
    monkeypatch.setattr("vgpu.adapters.kube_verbs.PAGE_ITEMS", 3)
    listed = adapter.list(kube.PODS, namespace)
    assert [pod["metadata"]["name"] for pod in listed] == [f"p{turn}" for turn in range(7)]


@contextmanager
def following(reflector: Reflector) -> Iterator["Queue[tuple[str, str]]"]:
    """Run a reflector in a thread; give what it tells, and end it."""
    told: Queue[tuple[str, str]] = Queue()

    def run() -> None:
        for delta in reflector.deltas():
            told.put((delta.kind.value, delta.item.get("metadata", {}).get("name", "")))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield told
    reflector.stop()
    thread.join(5)
    assert not thread.is_alive(), "a stopped reflector must end"


def test_a_reflector_tells_what_is_there_and_what_changes(adapter: kube.Kube, namespace: str) -> None:
    adapter.create(kube.PODS, build.pod("before"), namespace)
    with following(adapter.watch(kube.Selection(kind=kube.PODS, namespace=namespace))) as told:
        assert [told.get(timeout=5) for _ in range(2)] == [("added", "before"), (DeltaKind.SYNCED.value, "")]
        adapter.create(kube.PODS, build.pod("p"), namespace)
        adapter.annotate(kube.PODS, "p", {"a": "1"}, namespace)
        adapter.delete(kube.PODS, "p", namespace)
        seen: list[Any] = [told.get(timeout=5) for _ in range(3)]
    assert seen == [("added", "p"), ("modified", "p"), ("deleted", "p")]


def test_a_node_is_cordoned_and_marked_in_one_write(adapter: kube.Kube, node: str) -> None:
    marked = adapter.set_node(node, unschedulable=True, annotations={"a": "1", "b": "2"})
    assert (marked["spec"], marked["metadata"]["annotations"]) == ({"unschedulable": True}, {"a": "1", "b": "2"})
    kept = adapter.set_node(node, unschedulable=None, annotations={"a": None})
    assert (kept["spec"], kept["metadata"]["annotations"]) == ({"unschedulable": True}, {"b": "2"})
    freed = adapter.set_node(node, unschedulable=False, annotations={"b": None})
    assert "unschedulable" not in freed.get("spec", {})
    assert not freed["metadata"].get("annotations")


def test_an_eviction_is_of_one_pod_and_keeps_to_its_budget(adapter: kube.Kube, namespace: str) -> None:
    """Without controllers nobody works a budget out: until somebody has, it allows no loss."""
    uid = adapter.create(kube.PODS, build.pod("kept", labels={"app": "x"}), namespace)["metadata"]["uid"]
    condition = {"type": "Ready", "status": "True"}
    adapter.set_pod_status("kept", namespace, {"phase": "Running", "conditions": [condition]})
    budgets = kube.Kind("/apis/policy/v1", "poddisruptionbudgets")
    adapter.create(budgets, build.budget("b", {"app": "x"}), namespace)
    with pytest.raises(kube.TooManyRequests, match="429"):
        adapter.evict("kept", namespace, uid=uid)
    adapter.delete(budgets, "b", namespace)
    with pytest.raises(kube.Conflict):
        adapter.evict("kept", namespace, uid="another")
    adapter.evict("kept", namespace, uid=uid)
    with pytest.raises(kube.NotFound):
        adapter.evict("kept", namespace, uid=uid)
