"""The slot of a pod on an emulated node: a guest's own, or a part of a shared card."""

from typing import Any

import pytest

from autoscaler.embedded import pods, slots
from autoscaler.embedded.fleet import Card, slot_uuid
from autoscaler.embedded.slots import PodSlot, Unfit
from vgpu.core import names

CARD = "GPU-card"
SHARED = Card(profile="fraction:500", nodes=("n1",))


def granted(units: str = "500", devices: str = CARD) -> dict[str, Any]:
    """A worker of a fraction pool after its Binding."""
    manifest = pods.pool_manifest(
        "p", namespace="default", slot_label="fraction-500", replicas=1, ray_address="127.0.0.2:1"
    )
    spec = manifest["spec"]["template"]["spec"] | {"nodeName": "n1"}
    annotations = {
        f"{names.ANNOTATION_PREFIX_DEVICES}worker": devices,
        f"{names.ANNOTATION_PREFIX_UNITS}worker": units,
        f"{names.ANNOTATION_PREFIX_FRAMEBUFFER_MIB}worker": "8192",
    }
    return {"metadata": {"name": "w1", "namespace": "default", "annotations": annotations}, "spec": spec}


def test_a_guest_has_the_slot_that_its_pod_was_bound_to() -> None:
    guest = Card(profile="v100-8q-8GB", nodes=("n1", "n2"))
    pod = {"metadata": {"name": "w1", "annotations": {names.ANNOTATION_SLOT: "n2/0"}}, "spec": {}}
    assert slots.slot(pod, guest, CARD, ()) == PodSlot(
        part="n2/0",
        environment={
            names.ENV_SLOT_ID: "n2/0",
            names.ENV_SLOT_PROFILE: "v100-8q-8GB",
            names.ENV_SLOT_UNITS: "500",
            names.ENV_SLOT_FRAMEBUFFER_MIB: "8192",
            names.ENV_SLOT_MOST_PER_GPU: "2",
            names.ENV_SLOT_POLICY: "best-effort",
            names.ENV_VISIBLE_DEVICES: slot_uuid("n2/0"),
        },
    )


def test_a_fraction_is_what_the_annotations_say_and_has_the_pods_name() -> None:
    assert slots.slot(granted(), SHARED, CARD, {"n1/part-0"}) == PodSlot(
        part="n1/part-1",
        environment={
            names.ENV_SLOT_ID: "n1/default.w1",
            names.ENV_SLOT_PROFILE: "fraction-500",
            names.ENV_SLOT_UNITS: "500",
            names.ENV_SLOT_FRAMEBUFFER_MIB: "8192",
            names.ENV_SLOT_MOST_PER_GPU: "2",
            names.ENV_SLOT_POLICY: "best-effort",
            names.ENV_VISIBLE_DEVICES: CARD,
            names.ENV_EMULATOR_SLOT: "n1/part-1",
        },
    )


def test_while_every_part_is_another_pods_it_has_to_wait() -> None:
    assert slots.slot(granted(), SHARED, CARD, {"n1/part-0", "n1/part-1"}) is None


@pytest.mark.parametrize(
    ("units", "devices", "said"),
    [
        ("300", CARD, "the pod was given 300 units of GPU-card"),
        ("500", "GPU-other", "the pod was given 500 units of GPU-other"),
        ("", "", "the pod was given no units of no card"),
    ],
)
def test_what_the_emulated_card_cannot_play_is_refused(units: str, devices: str, said: str) -> None:
    with pytest.raises(Unfit, match=said):
        slots.slot(granted(units, devices), SHARED, CARD, ())
