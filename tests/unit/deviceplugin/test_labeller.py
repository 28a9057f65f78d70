"""The profile label: derived where absent, doubted where it and the devices disagree, never changed."""

import pytest

from tests.unit.deviceplugin.build import card, catalogue
from vgpu.core import names
from vgpu.core.offer import parse_offer
from vgpu.deviceplugin.devices import Card
from vgpu.deviceplugin.labeller import Verdict, judge, render_offer

GUEST = card(profile="GRID V100-8Q")


def known(*, write: str = "", conflict: str = "") -> Verdict:
    return Verdict(is_known=True, write=write, conflict=conflict)


@pytest.mark.parametrize(
    ("labels", "cards", "verdict"),
    [
        ({}, (), Verdict(is_known=False)),
        ({"vgpu.type": "v100-8q-8GB"}, (), Verdict(is_known=False)),
        ({}, (GUEST,), known(write="v100-8q-8GB")),
        ({}, (GUEST, card("GPU-b", index=1, profile="v100-8q")), known(write="v100-8q-8GB")),
        ({}, (card(profile="NVIDIA A100-1-5CME"),), known(write="a100-1-5cme-5GB")),
        ({"vgpu.type": "v100-8q-8GB"}, (GUEST,), known()),
        ({"vgpu.type": "GRID V100-8Q"}, (GUEST,), known()),
        ({"virtual.gpu.type": "v100-8q-8GB"}, (GUEST,), known(write="v100-8q-8GB")),
        ({}, (card(),), known()),
        (
            {"vgpu.type": "v100-4q-4GB"},
            (GUEST,),
            known(conflict="label vgpu.type=v100-4q-4GB and device 'V100-8Q' disagree; the device is v100-8q-8GB"),
        ),
        (
            {"virtual.gpu.type": "v100-4q-4GB"},
            (GUEST,),
            known(
                conflict="label virtual.gpu.type=v100-4q-4GB and device 'V100-8Q' disagree; the device is v100-8q-8GB"
            ),
        ),
        (
            {"vgpu.type": "v100-8q-8GB"},
            (card(),),
            known(
                conflict="label vgpu.type=v100-8q-8GB and device 'Tesla V100-PCIE-16GB', which is no vGPU; "
                "remove the label"
            ),
        ),
        (
            {},
            (GUEST, card("GPU-b", index=1, profile="v100-4q")),
            known(conflict="one label cannot name devices of several types (V100-4Q, V100-8Q); give one type a node"),
        ),
        (
            {},
            (GUEST, card("GPU-b", index=1)),
            known(
                conflict="one label cannot name devices of several types (Tesla V100-PCIE-16GB, V100-8Q); "
                "give one type a node"
            ),
        ),
    ],
)
def test_a_label_is_judged_by_the_devices(labels: dict[str, str], cards: tuple[Card, ...], verdict: Verdict) -> None:
    assert judge(labels, cards) == verdict


def test_a_label_that_cannot_be_read_is_a_conflict() -> None:
    verdict = judge({names.LABEL_PROFILE: "v100-8q-16GB"}, (GUEST,))
    assert verdict.conflict.startswith("label vgpu.type: 'v100-8q-16GB' contradicts itself")
    assert verdict.write == ""


def test_the_offer_names_every_card_with_the_memory_of_a_whole_gpu() -> None:
    cards = (card(framebuffer_mib=15360), card("GPU-b", index=1, profile="v100-8q"), card("GPU-c", index=2, ill="lost"))
    assert render_offer(catalogue(*cards)) == "v1 GPU-a:15360 GPU-b:16384:500 GPU-c:16384:unhealthy"


def test_the_offer_is_read_back_by_schedulers() -> None:
    guest = card("GPU-b", index=1, profile="NVIDIA L4-8Q")  # 333 units, of which 300 are in whole devices
    told = render_offer(catalogue(card(ill="lost"), guest, units_per_device=50))
    node = {
        "metadata": {"name": "n", "annotations": {names.ANNOTATION_GPUS: told}},
        "status": {"allocatable": {names.RESOURCE_VGPU: "300"}},
    }
    [lost, offered] = parse_offer(node).gpus
    assert (lost.uuid, lost.units, lost.framebuffer_mib, lost.healthy) == ("GPU-a", 1000, 16384, False)
    assert (offered.uuid, offered.units, offered.healthy) == ("GPU-b", 300, True)
    assert offered.framebuffer_mib * guest.units // 1000 == guest.framebuffer_mib - 1, "rounded down, never up"
