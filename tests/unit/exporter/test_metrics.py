"""What a scrape says, as text."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.unit.exporter.build import LOST_SLOT, SLOT, ScriptedClock, ScriptedReader, make_sampler
from vgpu.adapters.nvml import Missing, MissingReason, ProcessReading, VirtualizationMode
from vgpu.exporter.attribution import Tenant
from vgpu.exporter.metrics import SlotCollector

LABELS = 'device_kind="emulated",node="node-1",profile="v100-8q-8GB",slot="node-1/0"'
NODE = 'device_kind="emulated",node="node-1"'


class Scraper:
    """An exporter's metrics over a scripted reader."""

    def __init__(self, reader: ScriptedReader, tenants: Mapping[int, Tenant] = MappingProxyType({})) -> None:
        self.clock = ScriptedClock()
        self.sampler = make_sampler(reader, self.clock, tenants)
        self._registry = CollectorRegistry()
        self._registry.register(SlotCollector(sampler=self.sampler, node="node-1", device_kind="emulated"))

    def series(self) -> list[str]:
        """The series without their descriptions."""
        lines = generate_latest(self._registry).decode().splitlines()
        return [line for line in lines if not line.startswith("#")]


def missing(reading: str, reason: str, labels: str = LABELS) -> str:
    device_kind, node, profile, slot = labels.split(",")
    return f'vgpu_reading_missing{{{device_kind},{node},{profile},reading="{reading}",reason="{reason}",{slot}}} 1.0'


def test_a_healthy_slot_has_all_its_series() -> None:
    reader = ScriptedReader()
    reader.error_counts[15] = 2
    scraper = Scraper(reader)
    scraper.sampler.sample()
    scraper.clock.now_s += 1.5
    assert scraper.series() == [
        f"vgpu_slot_engine_busy_ratio{{{LABELS}}} 0.25",
        f"vgpu_slot_framebuffer_used_bytes{{{LABELS}}} 1.048576e+08",
        f"vgpu_slot_framebuffer_total_bytes{{{LABELS}}} 8.589934592e+09",
        f"vgpu_device_healthy{{{LABELS}}} 1.0",
        f"vgpu_sample_timestamp_seconds{{{LABELS}}} 1.7e+09",
        f"vgpu_sample_age_seconds{{{NODE}}} 1.5",
        'vgpu_nvml_errors_total{code="15",device_kind="emulated",node="node-1"} 2.0',
    ]


def test_a_lost_device_is_unhealthy_and_its_readings_are_absent_with_a_reason() -> None:
    scraper = Scraper(ScriptedReader((LOST_SLOT,)))
    scraper.sampler.sample()
    assert scraper.series() == [
        f"vgpu_device_healthy{{{LABELS}}} 0.0",
        f"vgpu_sample_timestamp_seconds{{{LABELS}}} 1.7e+09",
        f"vgpu_sample_age_seconds{{{NODE}}} 0.0",
        missing("engine_busy_ratio", "device_lost"),
        missing("framebuffer_used_bytes", "device_lost"),
        missing("framebuffer_total_bytes", "device_lost"),
    ]


def test_zero_is_a_reading_and_not_a_missing_one() -> None:
    scraper = Scraper(ScriptedReader((replace(SLOT, utilization_ratio=0.0, memory_used_mib=0),)))
    scraper.sampler.sample()
    assert f"vgpu_slot_engine_busy_ratio{{{LABELS}}} 0.0" in scraper.series()
    assert f"vgpu_slot_framebuffer_used_bytes{{{LABELS}}} 0.0" in scraper.series()


def process(pid: int, ratio: float | Missing = 0.25) -> ProcessReading:
    return ProcessReading(pid=pid, used_mib=100, utilization_ratio=ratio)


CARD = replace(
    SLOT,
    name="Tesla V100-PCIE-16GB",
    memory_total_mib=16384,
    utilization_ratio=0.75,
    virtualization_mode=VirtualizationMode.BARE_METAL,
)
TENANTS = {
    11: Tenant(slot_id="node-1/chat-a", profile="fraction-500"),
    12: Tenant(slot_id="node-1/chat-a", profile="fraction-500"),
    13: Tenant(slot_id="node-1/chat-b", profile="fraction-250"),
}


def shared(slot: str, profile: str) -> str:
    return f'device_kind="emulated",node="node-1",profile="{profile}",slot="{slot}"'


def test_on_a_shared_card_each_tenant_is_a_slot_and_its_processes_add_up() -> None:
    card = replace(CARD, processes=(process(11), process(12), process(13), process(99)))
    scraper = Scraper(ScriptedReader((card,)), TENANTS)
    scraper.sampler.sample()
    whole, first = shared("node-1/0", "Tesla V100-PCIE-16GB"), shared("node-1/chat-a", "fraction-500")
    second = shared("node-1/chat-b", "fraction-250")
    assert [
        line for line in scraper.series() if line.startswith(("vgpu_slot_engine", "vgpu_slot_framebuffer_used"))
    ] == [
        f"vgpu_slot_engine_busy_ratio{{{whole}}} 0.75",
        f"vgpu_slot_engine_busy_ratio{{{first}}} 0.5",
        f"vgpu_slot_engine_busy_ratio{{{second}}} 0.25",
        f"vgpu_slot_framebuffer_used_bytes{{{whole}}} 1.048576e+08",
        f"vgpu_slot_framebuffer_used_bytes{{{first}}} 2.097152e+08",
        f"vgpu_slot_framebuffer_used_bytes{{{second}}} 1.048576e+08",
    ]


def test_what_one_process_of_a_tenant_does_not_say_is_not_known_of_the_tenant() -> None:
    unsaid = Missing(reason=MissingReason.NO_SAMPLES)
    scraper = Scraper(ScriptedReader((replace(CARD, processes=(process(11), process(12, unsaid))),)), TENANTS)
    scraper.sampler.sample()
    labels = shared("node-1/chat-a", "fraction-500")
    series = scraper.series()
    assert missing("engine_busy_ratio", "no_samples", labels) in series
    assert f"vgpu_slot_framebuffer_used_bytes{{{labels}}} 2.097152e+08" in series


def test_who_has_the_whole_device_is_no_second_slot() -> None:
    alone = Scraper(ScriptedReader())
    owner = Tenant(slot_id="node-1/0", profile="v100-8q-8GB")
    scraper = Scraper(ScriptedReader((replace(SLOT, processes=(process(11),)),)), {11: owner})
    for each in (alone, scraper):
        each.sampler.sample()
    assert scraper.series() == alone.series()


def test_a_node_without_a_driver_says_so() -> None:
    scraper = Scraper(ScriptedReader(Missing(reason=MissingReason.NO_DRIVER)))
    scraper.sampler.sample()
    nobody = 'device_kind="emulated",node="node-1",profile="",slot=""'
    assert scraper.series() == [
        f"vgpu_sample_age_seconds{{{NODE}}} 0.0",
        missing("devices", "no_driver", nobody),
    ]


def test_before_the_first_sample_nothing_is_known() -> None:
    nobody = 'device_kind="emulated",node="node-1",profile="",slot=""'
    assert Scraper(ScriptedReader()).series() == [missing("devices", "not_sampled_yet", nobody)]


def test_what_was_missing_and_is_stale_is_stale() -> None:
    scraper = Scraper(ScriptedReader((LOST_SLOT,)))
    scraper.sampler.sample()
    scraper.clock.now_s += 6
    assert missing("engine_busy_ratio", "stale") in scraper.series()
    assert missing("engine_busy_ratio", "device_lost") not in scraper.series()


@pytest.mark.parametrize(("age_s", "stale"), [(5.0, False), (5.1, True)])
def test_a_sample_older_than_five_seconds_is_unknown(age_s: float, stale: bool) -> None:
    scraper = Scraper(ScriptedReader())
    scraper.sampler.sample()
    scraper.clock.now_s += age_s
    series = scraper.series()
    assert (missing("engine_busy_ratio", "stale") in series) is stale
    assert (missing("device_healthy", "stale") in series) is stale
    assert any(line.startswith("vgpu_slot_engine_busy_ratio") for line in series) is not stale
    assert f"vgpu_sample_timestamp_seconds{{{LABELS}}} 1.7e+09" in series


def test_a_driver_call_that_hangs_leaves_the_scrape_free_and_its_sample_ageing() -> None:
    reader = ScriptedReader()
    scraper = Scraper(reader)
    scraper.sampler.sample()
    reader.hang = True
    scraper.sampler.start()
    assert reader.hanging.wait(10)
    scraper.clock.now_s += 60
    assert missing("engine_busy_ratio", "stale") in scraper.series()
    assert f"vgpu_sample_age_seconds{{{NODE}}} 60.0" in scraper.series()
    scraper.sampler.stop()
    reader.released.set()


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("NVIDIA A100-1-5CME", "a100-1-5cme-5GB"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"),
        (Missing(reason=MissingReason.DEVICE_LOST), "unknown"),
    ],
)
def test_the_profile_label_is_that_of_the_node_or_else_the_name_of_the_device(
    name: str | Missing, profile: str
) -> None:
    scraper = Scraper(ScriptedReader((replace(SLOT, name=name),)))
    scraper.sampler.sample()
    assert all(f'profile="{profile}"' in line for line in scraper.series() if "slot=" in line)
