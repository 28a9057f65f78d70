"""The JSON of pods and nodes; tests/goldens/autoscaler/pod_status.json is what the kubelet tells the API.

`VGPU_REWRITE_GOLDENS=1 pytest tests/unit/embedded` rewrites it; review the difference.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.embedded import pods
from autoscaler.embedded.pods import Stage
from tests.unit.autoscaler.ticks import golden
from vgpu.core import names
from vgpu.core.objects import parse_inventory, slots_requested

RAY_IP = "127.0.0.2"
NOW = "2027-01-15T08:00:00Z"
ASKED = ["ray", "start", f"--address={RAY_IP}:6379", "--block"]


def pool() -> dict[str, Any]:
    return pods.pool_manifest(
        "workers-v100-8q-8gb",
        namespace="default",
        slot_label="v100-8q-8GB",
        replicas=2,
        ray_address=f"{RAY_IP}:6379",
    )


def pod(*commands: list[str] | None) -> dict[str, Any]:
    containers = [{"name": f"c{index}", **({"command": c} if c else {})} for index, c in enumerate(commands)]
    return {"metadata": {"name": "w1", "uid": "0123456789abcdef"}, "spec": {"containers": containers}}


def test_every_stage_of_a_worker_has_its_status() -> None:
    said = {
        "starting": pods.status(Stage.STARTING, ip="127.1.2.3", now=NOW),
        "ready": pods.status(Stage.READY, ip="127.1.2.3", now=NOW),
        "crashed": pods.status(Stage.CRASHED, ip="127.1.2.3", now=NOW, restarts=3),
        "starting again": pods.status(Stage.STARTING, ip="127.1.2.3", now=NOW, restarts=4),
        "refused": pods.status(Stage.REFUSED, ip="127.1.2.3", now=NOW, message="only `ray start`"),
        "node": pods.node_status(0, NOW, "v1.34.0-emulated"),
    }
    text = json.dumps(said, indent=1) + "\n"
    assert text == golden("pod_status.json", text)


@pytest.mark.parametrize("stage", Stage)
def test_a_pod_is_ready_in_one_stage_only(stage: Stage) -> None:
    status = pods.status(stage, ip="127.1.2.3", now=NOW)
    ready = {condition["type"]: condition["status"] for condition in status["conditions"]}["Ready"]
    (container,) = status["containerStatuses"]
    assert (ready == "True") is container["ready"] is (stage is Stage.READY)


def test_a_worker_of_the_pool_holds_one_slot_of_its_type_and_is_run() -> None:
    manifest = pool()
    template = manifest["spec"]["template"]
    assert slots_requested(template) == 1
    assert template["spec"]["nodeSelector"] == {names.LABEL_PROFILE: "v100-8q-8GB"}
    assert pods.refusal(template, ray_ip=RAY_IP) is None
    assert template["metadata"]["labels"].items() >= manifest["spec"]["selector"]["matchLabels"].items()
    assert template["spec"]["terminationGracePeriodSeconds"] == pods.GRACE_S


@pytest.mark.parametrize(
    "commands",
    [
        [],
        [None],
        [["sh", "-c", "id"]],
        [["ray", "stop"]],
        [["ray", "start"]],
        [["ray", "start", "--address=127.0.0.2:6379"]],
        [["ray", "start", "--address=10.0.0.1:6379", "--block"]],
        [["ray", "start", "--address=127.0.0x2:6379", "--block"]],
        [["ray", "start", "--head", "--block"]],
        [[*ASKED, "--temp-dir=/etc"]],
        [["ray start", *ASKED[2:]]],
        [ASKED, ASKED],
        [ASKED, ["sh", "-c", "id"]],
    ],
)
def test_nothing_but_ray_start_against_the_own_head_is_run(commands: list[list[str] | None]) -> None:
    assert pods.refusal(pod(*commands), ray_ip=RAY_IP) == (
        f"the embedded kubelet runs one container of `ray start --address={RAY_IP}:PORT --block`, nothing else"
    )


def test_an_init_container_is_not_run_either() -> None:
    asking = pod(ASKED)
    asking["spec"]["initContainers"] = [{"name": "i", "command": ["sh", "-c", "id"]}]
    assert pods.refusal(asking, ray_ip=RAY_IP) is not None


def test_the_command_is_the_pods_own_with_what_this_machine_needs() -> None:
    command = pods.ray_command(
        pod(ASKED), ray=Path("/bin/ray"), ray_ip=RAY_IP, slot_label="v100-8q-8GB", scratch=Path("/tmp/s")
    )
    assert command[:4] == ["/bin/ray", "start", f"--address={RAY_IP}:6379", "--block"]
    assert f"--labels=vgpu.type=v100-8q-8GB,{names.LABEL_WORKER}=w1" in command
    assert f'--resources={{"{names.RAY_RESOURCE_SLOT}": 1}}' in command
    assert "--temp-dir=/tmp/s/01234567" in command


def test_a_node_is_one_slot_of_the_inventory() -> None:
    node = {
        "metadata": {"name": "n1", "labels": {names.LABEL_PROFILE: "v100-8q-8GB"}},
        "spec": {},
        "status": pods.node_status(3, NOW, "v1"),
    }
    parsed = parse_inventory([node], [])
    assert [slot.slot_id for slot in parsed.inventory.free_slots] == ["n1/0"]
    assert parsed.problems == ()


@given(st.integers(0, 249), st.uuids(), st.uuids())
def test_a_pod_has_an_address_on_loopback_that_is_its_nodes_alone(index: int, uid: object, other: object) -> None:
    first, *rest = map(int, pods.address(index, str(uid)).split("."))
    assert first == 127
    assert all(0 <= byte <= 255 for byte in rest)
    assert pods.address(index, str(uid)) == pods.address(index, str(uid))
    assert pods.address(index, str(uid)) != pods.node_address(index)
    assert pods.address(index, str(uid)) not in {pods.address(i, str(other)) for i in range(250) if i != index}
    assert not pods.address(index, str(uid)).startswith("127.0.")


def test_pods_of_one_node_have_addresses_of_their_own() -> None:
    """Two pods meet on a node only while one of them ends; of a thousand in a row hardly two are the same."""
    addresses = [pods.address(0, f"uid-{number}") for number in range(1000)]
    assert len(set(addresses)) > 980
    assert "0" not in {address.split(".")[2] for address in addresses}  # the node's own


def test_every_node_has_an_address_of_its_own() -> None:
    assert len({pods.node_address(index) for index in range(250)}) == 250
