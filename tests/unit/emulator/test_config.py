"""Reading the config of an emulated GPU."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.emulator.build import config_document, config_text, slot_document
from vgpu.core.share import SchedulerPolicy
from vgpu.emulator.config import ArbiterConfig, BackgroundConfig, ConfigError, SlotConfig, parse_config


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        parse_config(text)
    return list(refusal.value.problems)


def test_a_good_config_is_read_whole_with_the_default_slice(tmp_path: Path) -> None:
    background = [{"slot_id": "b", "duty_ratio": 0.4}]
    slots = [slot_document(tmp_path, "a"), slot_document(tmp_path, "b", nvml_state=None)]
    assert parse_config(config_text(tmp_path, slots=slots, background=background)) == ArbiterConfig(
        gpu_uuid="GPU-card",
        board="V100",
        gpu_name="Tesla V100-PCIE-16GB",
        framebuffer_mib=16384,
        policy=SchedulerPolicy.EQUAL_SHARE,
        slice_ns=2_000_000,
        most_per_gpu=2,
        socket=tmp_path / "gpu.sock",
        slots=(
            SlotConfig(
                slot_id="a",
                profile_name="GRID V100-8Q",
                framebuffer_mib=8192,
                device_uuid="GPU-a",
                nvml_state=tmp_path / "a.nvml",
            ),
            SlotConfig(
                slot_id="b", profile_name="GRID V100-8Q", framebuffer_mib=8192, device_uuid="GPU-b", nvml_state=None
            ),
        ),
        host_nvml_state=tmp_path / "host.nvml",
        bare_nvml_state=None,
        background=(BackgroundConfig(slot_id="b", duty_ratio=0.4),),
    )


def test_many_slots_per_gpu_have_the_shorter_default_slice(tmp_path: Path) -> None:
    assert parse_config(config_text(tmp_path, most_per_gpu=16)).slice_ns == 1_000_000
    assert parse_config(config_text(tmp_path, most_per_gpu=16, slice_ns=5_000_000)).slice_ns == 5_000_000


def test_every_problem_is_listed_at_once_with_what_to_do(tmp_path: Path) -> None:
    document = config_document(
        tmp_path,
        policy="round-robin",
        most_per_gpu=1,
        slice_ns=True,
        socket="x" * 108,
        slots=[
            slot_document(tmp_path, "a", framebuffer_mib=0),
            slot_document(tmp_path, "a", framebuffer_mib=16384, colour="red"),
            "b",
        ],
        background=[{"slot_id": "c", "duty_ratio": 2}],
        surprise=1,
    )
    del document["board"]
    assert problems(json.dumps(document)) == [
        "board is missing; give text of 1 to 79 bytes",
        'policy is "round-robin"; give best-effort or equal-share or fixed-share',
        "slice_ns is true; give a whole number from 1000000 to 30000000",
        f'socket is "{"x" * 108}"; give text of 1 to 107 bytes',
        "slots[2] is not a JSON object; give one",
        "slots[0].framebuffer_mib is 0; give a whole number from 1 to 16777216",
        "slots[1].colour is not a known key; remove it or use one of"
        " device_uuid, framebuffer_mib, nvml_state, profile_name, slot_id",
        *(
            f"slots[2].{key} is missing; give {wanted}"
            for key, wanted in [
                ("slot_id", "text of 1 to 79 bytes"),
                ("profile_name", "text of 1 to 79 bytes"),
                ("framebuffer_mib", "a whole number from 1 to 16777216"),
                ("device_uuid", "text of 1 to 79 bytes"),
            ]
        ),
        "background[0].duty_ratio is 2; give a number above 0 and up to 1",
        "surprise is not a known key; remove it or use one of background, bare_nvml_state, board,"
        " framebuffer_mib, gpu_name, gpu_uuid, host_nvml_state, most_per_gpu, policy, slice_ns, slots, socket",
        "slots has 3 entries and most_per_gpu is 1; drop slots",
        "the slots hold 16386 MiB and the card has 16384; drop slots or use smaller profiles",
        "slot_id a is used 2 times; make each unique",
        "device_uuid GPU-a is used 2 times; make each unique",
        f"nvml_state {tmp_path}/a.nvml is used 2 times; make each unique",
        "background names slot 'c'; the slots are , a",
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({"slots": []}, "slots is []; give a list of at least one object", id="no slots"),
        pytest.param({"most_per_gpu": 33}, "most_per_gpu is 33; give a whole number from 1 to 32", id="too many"),
        pytest.param({"host_nvml_state": 5}, "host_nvml_state is 5; give a path or null", id="path of a wrong type"),
        pytest.param(
            {"socket": "/no/such/gpu.sock"}, "folder /no/such does not exist; make it", id="folder that is not there"
        ),
        pytest.param(
            {"background": [{"slot_id": "a", "duty_ratio": 1}] * 2},
            "background slot_id a is used 2 times; make each unique",
            id="two loads on one slot",
        ),
    ],
)
def test_one_wrong_thing_gives_one_problem(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    assert problems(config_text(tmp_path, **changes)) == [problem]


def test_fixed_share_takes_one_size_only(tmp_path: Path) -> None:
    slots = [slot_document(tmp_path, "a"), slot_document(tmp_path, "b", framebuffer_mib=4096)]
    assert parse_config(config_text(tmp_path, slots=slots)).policy is SchedulerPolicy.EQUAL_SHARE
    assert problems(config_text(tmp_path, slots=slots, policy="fixed-share")) == [
        "policy fixed-share takes slots of one size only; use equal-share or make the sizes equal"
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"config"'])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    assert "JSON" in problems(text)[0]
