"""The exporter's metric families, rendered from the latest sample.

Rule: a reading that is missing or stale is an absent series and a `vgpu_reading_missing` with its reason, never 0.
On a card shared by units each tenant's processes together are one slot more, beside the device as a whole.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vgpu.adapters.nvml import DeviceReading, Missing, ProcessReading
from vgpu.core.profile import ProfileError, parse_profile
from vgpu.exporter.attribution import Tenant
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
                own = Tenant(slot_id=f"{self.node}/{device.index}", profile=_profile_label(device))
                for tenant, values in {own: _values(device), **_shares(device, own, sample.tenants)}.items():
                    labels = (self.node, tenant.slot_id, tenant.profile, self.device_kind)
                    taken.add_metric(labels, sample.unix_s)
                    for reading, value in values.items():
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


def _shares(
    device: DeviceReading, own: Tenant, tenants: Mapping[int, Tenant]
) -> dict[Tenant, dict[str, float | Missing]]:
    """What each tenant of a shared card uses of it. Whoever has the whole device is in the device's own reading."""
    if isinstance(device.processes, Missing):
        return {}
    by_tenant: dict[Tenant, list[ProcessReading]] = {}
    for process in device.processes:
        tenant = tenants.get(process.pid)
        if tenant is not None and tenant.slot_id != own.slot_id:
            by_tenant.setdefault(tenant, []).append(process)
    return {
        tenant: {
            "engine_busy_ratio": _sum([process.utilization_ratio for process in processes]),
            "framebuffer_used_bytes": _as_bytes(_sum([process.used_mib for process in processes])),
        }
        for tenant, processes in by_tenant.items()
    }


def _sum(values: Sequence[float | Missing]) -> float | Missing:
    """All of them together; one that is missing makes the sum unknown."""
    return next((value for value in values if isinstance(value, Missing)), None) or sum(
        value for value in values if not isinstance(value, Missing)
    )


def _as_bytes(mib: float | Missing) -> float | Missing:
    return mib if isinstance(mib, Missing) else mib * _BYTES_PER_MIB


def _profile_label(device: DeviceReading) -> str:
    """The slot's profile as the node label spells it, or the device's own name where it is no vGPU."""
    if isinstance(device.name, Missing):
        return "unknown"
    try:
        return parse_profile(device.name).label
    except ProfileError:
        return device.name
