"""The exporter's metric families, rendered from the latest sample.

Rule: a reading that is missing or stale is an absent series and a `vgpu_reading_missing` with its reason, never 0.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vgpu.adapters.nvml import DeviceReading, Missing
from vgpu.core.profile import ProfileError, parse_profile
from vgpu.exporter.sampler import STALE_AFTER_S, Sample, Sampler

SLOT_LABELS = ("node", "slot", "profile", "device_kind")
STALE = "stale"
NOT_SAMPLED_YET = "not_sampled_yet"
_BYTES_PER_MIB = 1 << 20
# Reading, its metric and its description; the reading's name is what vgpu_reading_missing says.
_READINGS = {
    "engine_busy_ratio": ("vgpu_slot_engine_busy_ratio", "Busy part of the physical engine, 0 to 1"),
    "framebuffer_used_bytes": ("vgpu_slot_framebuffer_used_bytes", "Framebuffer in use"),
    "framebuffer_total_bytes": ("vgpu_slot_framebuffer_total_bytes", "Framebuffer of the slot"),
    "device_healthy": ("vgpu_device_healthy", "1 while the driver answers for the device"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCollector(Collector):
    """Renders one node's slots; `device_kind` is `real` or `emulated`."""

    sampler: Sampler
    node: str
    device_kind: str

    def collect(self) -> Iterator[Metric]:
        """The families of this moment."""
        sample, age_s = self.sampler.latest, self.sampler.age_s()
        missing = GaugeMetricFamily(
            "vgpu_reading_missing", "A reading that is not there, and why", labels=(*SLOT_LABELS, "reading", "reason")
        )
        node_labels = (self.node, self.device_kind)
        age = GaugeMetricFamily("vgpu_sample_age_seconds", "Age of the last sample", labels=("node", "device_kind"))
        errors = CounterMetricFamily("vgpu_nvml_errors", "NVML errors by code", labels=("node", "device_kind", "code"))
        if sample is None or age_s is None:
            missing.add_metric((self.node, "", "", self.device_kind, "devices", NOT_SAMPLED_YET), 1)
        else:
            age.add_metric(node_labels, age_s)
            for code, count in sorted(sample.error_counts.items()):
                errors.add_metric((*node_labels, str(code)), count)
            yield from self._collect_slots(sample, age_s > STALE_AFTER_S, missing)
        yield from (age, errors, missing)

    def _collect_slots(self, sample: Sample, stale: bool, missing: GaugeMetricFamily) -> Iterable[Metric]:
        families = {
            reading: GaugeMetricFamily(name, text, labels=SLOT_LABELS) for reading, (name, text) in _READINGS.items()
        }
        taken = GaugeMetricFamily(
            "vgpu_sample_timestamp_seconds", "When the slot was last sampled, Unix time", labels=SLOT_LABELS
        )
        if isinstance(sample.devices, Missing):
            reason = STALE if stale else sample.devices.reason
            missing.add_metric((self.node, "", "", self.device_kind, "devices", reason), 1)
        else:
            for device in sample.devices:
                labels = (self.node, f"{self.node}/{device.index}", _profile_label(device), self.device_kind)
                taken.add_metric(labels, sample.unix_s)
                for reading, value in _values(device).items():
                    if stale:
                        missing.add_metric((*labels, reading, STALE), 1)
                    elif isinstance(value, Missing):
                        missing.add_metric((*labels, reading, value.reason), 1)
                    else:
                        families[reading].add_metric(labels, value)
        return (*families.values(), taken)


def _values(device: DeviceReading) -> dict[str, float | Missing]:
    return {
        "engine_busy_ratio": device.utilization_ratio,
        "framebuffer_used_bytes": _as_bytes(device.memory_used_mib),
        "framebuffer_total_bytes": _as_bytes(device.memory_total_mib),
        "device_healthy": int(device.healthy),
    }


def _as_bytes(mib: int | Missing) -> int | Missing:
    return mib if isinstance(mib, Missing) else mib * _BYTES_PER_MIB


def _profile_label(device: DeviceReading) -> str:
    """The slot's profile as the node label spells it, or the device's own name where it is no vGPU."""
    if isinstance(device.name, Missing):
        return "unknown"
    try:
        return parse_profile(device.name).label
    except ProfileError:
        return device.name
