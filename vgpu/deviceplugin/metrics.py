"""The plugin's metrics."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

from vgpu.deviceplugin.devices import Catalogue
from vgpu.deviceplugin.survey import Refusal

# A second family of timestamps for every counter and histogram, which nobody here reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # has no types


class PluginMetrics:
    """Counts what happens; gauges say what is."""

    def __init__(self, registry: CollectorRegistry, node: str) -> None:
        self._node = node
        self._devices = Gauge(
            "vgpu_plugin_devices", "Devices advertised, by GPU", ("node", "gpu", "health"), registry=registry
        )
        self._refused = Gauge(
            "vgpu_plugin_refused_gpus", "GPUs not advertised, by reason", ("node", "reason"), registry=registry
        )
        self._calls = Counter(
            "vgpu_plugin_calls",
            "Calls of the kubelet; outcome is ok or the reason of the refusal",
            ("node", "call", "outcome"),
            registry=registry,
        )
        self._registrations = Counter(
            "vgpu_plugin_registrations", "Registrations with the kubelet", ("node", "outcome"), registry=registry
        )
        self._registered = Gauge(
            "vgpu_plugin_registered", "1 while the kubelet knows the plugin", ("node",), registry=registry
        )
        self._conflict = Gauge(
            "vgpu_plugin_label_conflict",
            "1 while the node's profile label and its devices disagree",
            ("node",),
            registry=registry,
        )
        self._api_failures = Counter(
            "vgpu_plugin_api_failures",
            "Passes over the node that the Kubernetes API did not let through",
            ("node",),
            registry=registry,
        )
        self._age = Gauge(
            "vgpu_plugin_reading_age_seconds", "Age of the last NVML reading", ("node",), registry=registry
        )

    def set_cards(self, catalogue: Catalogue, refusals: Iterable[Refusal]) -> None:
        """Replace the figures of all GPUs."""
        self._devices.clear()
        self._refused.clear()
        for card in catalogue.cards:
            counts = (catalogue.count(card), 0) if card.healthy else (0, catalogue.count(card))
            for health, count in zip(("healthy", "unhealthy"), counts, strict=True):
                self._devices.labels(self._node, card.uuid, health).set(count)
        for refusal in refusals:
            self._refused.labels(self._node, refusal.because).inc()

    def set_age(self, age_s: float) -> None:
        """Say how old the last reading is."""
        self._age.labels(self._node).set(age_s)

    def count_call(self, call: str, outcome: str) -> None:
        """Count one call of the kubelet."""
        self._calls.labels(self._node, call, outcome).inc()

    def count_registration(self, outcome: str) -> None:
        """Count one attempt to register."""
        self._registrations.labels(self._node, outcome).inc()

    def set_registered(self, registered: bool) -> None:
        """Say whether the kubelet knows the plugin."""
        self._registered.labels(self._node).set(registered)

    def set_label_conflict(self, conflicting: bool) -> None:
        """Say whether label and devices disagree."""
        self._conflict.labels(self._node).set(conflicting)

    def count_api_failure(self) -> None:
        """Count one pass over the node that failed."""
        self._api_failures.labels(self._node).inc()
