"""Which slot a pod gets, and how it is told; the second half on a real API."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoscaler.embedded import pods
from autoscaler.embedded.scheduler import Scheduler, choose
from tests import build
from tests.fakes.kubernetes import NAMESPACE, PROFILE, Kubernetes, kubernetes
from tests.fakes.waiting import eventually
from vgpu.adapters import kube
from vgpu.core import names
from vgpu.core.inventory import Inventory, Slot

POOL = "workers-v100-8q-8gb"


def pod(*, gpus: str | None = "1", **selector: str) -> dict[str, Any]:
    """An unbound pod; underscores in selector keys stand for hyphens, and `profile` for the slot type's label."""
    named = {"profile": names.LABEL_PROFILE, "host": "kubernetes.io/hostname"}
    limits = {} if gpus is None else {names.RESOURCE_GPU: gpus}
    return {
        "metadata": {"name": "p"},
        "spec": {
            "nodeSelector": {named.get(key, key): value for key, value in selector.items()},
            "containers": [{"name": "worker", "resources": {"limits": limits}}],
        },
    }


def stock(held: str = "") -> Inventory:
    """Cards a (n1, n2) and b (n3, n4); the named node is held."""
    return build.inventory(
        *(
            build.node(f"n{index}", card=card, held={0: "serving/w"} if held == f"n{index}" else {})
            for index, card in enumerate(("GPU-a", "GPU-a", "GPU-b", "GPU-b"), start=1)
        )
    )


def chosen(asking: dict[str, Any], inventory: Inventory, *preferred: str) -> str:
    """The slot, or why there is none."""
    labels = {
        node.name: {names.LABEL_PROFILE: PROFILE, "kubernetes.io/hostname": node.name} for node in inventory.nodes
    }
    answer = choose(asking, inventory, labels, preferred)
    return answer.slot_id if isinstance(answer, Slot) else answer


def test_preferred_nodes_come_first_in_their_order() -> None:
    assert chosen(pod(profile=PROFILE), stock(), "n4", "n2") == "n4/0"
    assert chosen(pod(profile=PROFILE), stock(held="n4"), "n4", "n2") == "n2/0"


def test_without_a_free_preferred_node_the_best_fit_decides() -> None:
    """The card that is in use already, so that the other stays whole."""
    assert chosen(pod(profile=PROFILE), stock(held="n3"), "n3") == "n4/0"
    assert chosen(pod(profile=PROFILE), stock(held="n3")) == "n4/0"


def test_a_preferred_node_that_does_not_exist_is_passed_over() -> None:
    assert chosen(pod(profile=PROFILE), stock(held="n1"), "elsewhere") == "n2/0"


def test_no_free_slot_says_of_every_node_why() -> None:
    full = build.inventory(build.node("n1", held={0: "serving/w"}), build.node("n2", usable=False))
    assert chosen(pod(profile=PROFILE), full) == "0/2 nodes are available (n1: all_slots_held, n2: not_ready)"
    assert chosen(pod(profile="v100-4q-4GB"), full) == "0/2 nodes are available (n1: no_slots_of_type, n2: not_ready)"


def test_a_cluster_without_nodes_has_no_slot() -> None:
    assert chosen(pod(profile=PROFILE), build.inventory()) == "0/0 nodes are available ()"


def test_a_selector_of_any_label_is_kept() -> None:
    assert chosen(pod(profile=PROFILE, host="n3"), stock()) == "n3/0"


def test_a_selector_that_no_node_meets_is_refused_by_each() -> None:
    answer = chosen(pod(profile=PROFILE, zone="moon"), stock(held="n1"))
    assert answer == "0/4 nodes are available (n1: all_slots_held, n2: refused, n3: refused, n4: refused)"


def test_a_contradictory_slot_type_names_both_parts() -> None:
    answer = chosen(pod(profile="v100-8q-16GB"), stock())
    assert "'8q' means 8 GB" in answer
    assert "'16GB' says 16 GB" in answer


def test_a_pod_without_a_slot_type_is_told_what_to_set() -> None:
    assert chosen(pod(), stock()) == f"the pod names no slot type; set nodeSelector {names.LABEL_PROFILE}"


@pytest.mark.parametrize(("gpus", "asks"), [(None, 0), ("2", 2)])
def test_a_pod_that_asks_for_no_slot_or_for_several_is_told_so(gpus: str | None, asks: int) -> None:
    """It would hold a slot that nobody counts, or half of what it asked for."""
    answer = chosen(pod(profile=PROFILE, gpus=gpus), stock())
    assert answer == f"the pod asks for {asks} slots; set limits {names.RESOURCE_GPU}: 1"


def test_an_amount_that_is_no_number_is_said() -> None:
    assert "half" in chosen(pod(profile=PROFILE, gpus="half"), stock())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Kubernetes]:
    with kubernetes(tmp_path) as made:
        yield made


def conditions(running: Kubernetes) -> list[tuple[str, str, str]]:
    return [
        (condition["status"], condition.get("reason", ""), condition.get("message", ""))
        for each in running.pods()
        for condition in each["status"].get("conditions") or ()
        if condition["type"] == "PodScheduled"
    ]


def test_a_pod_is_bound_with_its_slot_in_one_write(running: Kubernetes) -> None:
    running.add_node("n1")
    running.add_pool(POOL, replicas=1)
    Scheduler(running.client).schedule_all()
    (bound,) = running.pods()
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["metadata"]["annotations"][names.ANNOTATION_SLOT] == "n1/0"
    assert conditions(running) == [("True", "", "")]


def test_a_pod_is_bound_once(running: Kubernetes) -> None:
    running.add_node("n1")
    running.add_pool(POOL, replicas=1)
    scheduler = Scheduler(running.client)
    running.server.faults.clear()
    for _ in range(3):
        scheduler.schedule_all()
    assert running.server.faults.seen["create", "pods"] == 1


def test_two_pods_never_get_the_same_slot(running: Kubernetes) -> None:
    running.add_node("n1", card="GPU-a")
    running.add_node("n2", card="GPU-a")
    running.add_pool(POOL, replicas=3)
    Scheduler(running.client).schedule_all()
    assert sorted(map(str, running.nodes_of_pods().values())) == ["None", "n1", "n2"]


def test_a_pod_that_waits_is_told_why_and_only_once(running: Kubernetes) -> None:
    running.add_pool(POOL, replicas=1)
    scheduler = Scheduler(running.client)
    running.server.faults.clear()
    for _ in range(3):
        scheduler.schedule_all()
    assert conditions(running) == [("False", "Unschedulable", "0/0 nodes are available ()")]
    assert running.server.faults.seen["patch", "pods"] == 1


def test_a_pod_is_told_again_when_the_reason_changes(running: Kubernetes) -> None:
    running.add_pool(POOL, replicas=1)
    scheduler = Scheduler(running.client)
    scheduler.schedule_all()
    running.add_node("n1")
    running.client.cordon("n1")
    scheduler.schedule_all()
    assert conditions(running) == [("False", "Unschedulable", "0/1 nodes are available (n1: cordoned)")]


def test_a_waiting_pod_is_bound_once_there_is_room(running: Kubernetes) -> None:
    running.add_pool(POOL, replicas=1)
    scheduler = Scheduler(running.client)
    scheduler.schedule_all()
    running.add_node("n1")
    scheduler.schedule_all()
    assert list(running.nodes_of_pods().values()) == ["n1"]
    assert conditions(running) == [("True", "", "")]


def test_the_pools_preferred_nodes_are_followed(running: Kubernetes) -> None:
    for index in (1, 2, 3):
        running.add_node(f"n{index}", card=f"GPU-{index}")
    running.add_pool(POOL, replicas=1)
    running.client.annotate(kube.DEPLOYMENTS, POOL, {names.ANNOTATION_PREFERRED_NODES: "n3,n1"}, NAMESPACE)
    Scheduler(running.client).schedule_all()
    assert list(running.nodes_of_pods().values()) == ["n3"]


def test_a_pod_that_nobody_owns_is_bound_like_any_other(running: Kubernetes) -> None:
    running.add_node("n1")
    manifest = pods.pool_manifest(
        POOL, namespace=NAMESPACE, slot_label=PROFILE, replicas=1, ray_address="127.0.0.2:6379"
    )
    alone = {"metadata": {"name": "alone"}, "spec": manifest["spec"]["template"]["spec"]}
    running.client.create(kube.PODS, alone, NAMESPACE)
    Scheduler(running.client).schedule_all()
    assert running.nodes_of_pods() == {"alone": "n1"}


def test_a_pod_on_its_way_out_is_not_bound(running: Kubernetes) -> None:
    running.add_node("n1")
    spec = {**pod(profile=PROFILE)["spec"], "containers": [{**pod()["spec"]["containers"][0], "image": "i"}]}
    manifest = {"metadata": {"name": "leaving", "finalizers": ["example.com/wait"]}, "spec": spec}
    running.client.create(kube.PODS, manifest, NAMESPACE)
    running.client.delete(kube.PODS, "leaving", NAMESPACE)
    Scheduler(running.client).schedule_all()
    assert running.nodes_of_pods() == {"leaving": None}
    assert running.server.faults.seen["create", "pods"] == 1  # the pod itself, and no binding


def test_a_bad_pod_does_not_keep_the_others_from_their_slots(running: Kubernetes) -> None:
    running.add_node("n1")
    bad = {
        "metadata": {"name": "bad"},
        "spec": {
            "nodeSelector": {names.LABEL_PROFILE: PROFILE},
            "containers": [{"name": "c", "image": "i", "resources": {"limits": {names.RESOURCE_GPU: "3"}}}],
        },
    }
    running.client.create(kube.PODS, bad, NAMESPACE)
    running.add_pool(POOL, replicas=1)
    Scheduler(running.client).schedule_all()
    assert sorted(map(str, running.nodes_of_pods().values())) == ["None", "n1"]


def test_it_follows_changes_and_outlives_an_api_that_refuses(running: Kubernetes) -> None:
    """Left to itself in a thread, as the installation runs it."""
    scheduler = Scheduler(running.client)
    running.server.faults.refuse(500, times=5)
    thread = threading.Thread(target=scheduler.run, daemon=True)
    thread.start()
    eventually(lambda: running.server.faults.seen.total() >= 5)
    running.add_node("n1")
    running.add_pool(POOL, replicas=1)
    assert eventually(lambda: [node for node in running.nodes_of_pods().values() if node]) == ["n1"]
    scheduler.stop()
    thread.join(5)
    assert not thread.is_alive()
