"""Kubernetes' HorizontalPodAutoscaler v2 (`pkg/controller/podautoscaler`: horizontal.go, replica_calculator.go).

One pods metric against a target, with tolerance, stand-ins for pods without a metric, stabilization windows and rate
policies. Two metrics are at hand, as people set them up for inference on GPUs:

    device_utilization  of the card the replica sits on, neighbours and other tenants included: what DCGM or NVML show
                        in a pod of a shared card
    in_flight           requests in the replica

A replica that runs and has no reading is a missing pod; one that was asked for and does not run yet is unready. With
no reading at all the count stays. The metric comes through one sync each 15 s and no older, which flatters it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autoscaler.sim.baselines.reading import ModelReading, readings, whole
from autoscaler.sim.controller import View
from autoscaler.sim.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaSettings:
    """Defaults are those of the API, and of `--horizontal-pod-autoscaler-*`; the target of CPU stands for a target."""

    metric: Literal["device_utilization", "in_flight"] = "device_utilization"
    target: float = 0.8
    """Mean of the metric per pod: 0 to 1 of a card, or requests."""
    tolerance_ratio: float = 0.1
    up_window_s: float = 0.0
    down_window_s: float = 300.0
    up_pods: int = 4
    """A rise within `period_s` is at most this many pods or `up_ratio` of the count, whichever is more; 0 and 0
    freeze rises."""
    up_ratio: float = 1.0
    down_ratio: float = 1.0
    """A fall within `period_s` is at most this part of the count; 0 freezes falls."""
    period_s: float = 15.0
    interval_s: float = 15.0

    def law(self, world: World, arrivals: Mapping[str, NDArray[np.float64]]) -> "Hpa":
        return Hpa(self)


@dataclass(slots=True, kw_only=True)
class _Scale:
    count: int
    recommended: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)


class Hpa:
    """The law; `count` of a scale is what was asked for, as `spec.replicas` is."""

    def __init__(self, settings: HpaSettings | None = None) -> None:
        self.settings = settings or HpaSettings()
        self.interval_s = self.settings.interval_s
        self._scales: dict[str, _Scale] = {}

    def want(self, view: View) -> Mapping[str, int]:
        """Wanted replicas by model; a model that cannot be seen keeps its count."""
        seen = readings(view)
        by_slot = device_utilization(view) if self.settings.metric == "device_utilization" else {}
        wanted: dict[str, int] = {}
        for name, reading in seen.items():
            if reading is not None:
                scale = self._scales.setdefault(name, _Scale(count=reading.target))
                metrics = self._metrics(reading, by_slot)
                if metrics:
                    self._sync(scale, reading, metrics, view.now_s)
                scale.count = reading.clamped(scale.count)
            if name in self._scales:
                wanted[name] = self._scales[name].count
        return wanted

    def _metrics(self, reading: ModelReading, by_slot: Mapping[str, float]) -> list[float]:
        if self.settings.metric == "in_flight":
            return [float(sample.in_flight) for sample in reading.samples]
        return [by_slot[slot] for sample in reading.samples if (slot := sample.slot_id) is not None and slot in by_slot]

    def _sync(self, scale: _Scale, reading: ModelReading, metrics: list[float], now_s: float) -> None:
        running = len(reading.running)
        recommended = self._recommend(scale.count, metrics, running - len(metrics), max(0, scale.count - running))
        stable = self._stabilized(scale, reading.clamped(recommended), now_s)
        count = reading.clamped(self._limited(scale, stable, now_s))
        if count != scale.count:
            scale.changes.append((now_s, count - scale.count))
            scale.count = count

    def _recommend(self, count: int, metrics: Sequence[float], missing: int, unready: int) -> int:
        target, ready = self.settings.target, len(metrics)
        ratio = sum(metrics) / ready / target
        rise_with_unready = unready > 0 and ratio > 1
        if not rise_with_unready and missing == 0:
            return count if self._tolerated(ratio) else whole(ratio * ready)
        # Stand-ins against the direction: a missing pod counts as on target in a fall, as idle in a rise.
        total = sum(metrics) + (target * missing if ratio < 1 else 0.0)
        pods = ready + (missing if ratio != 1 else 0) + (unready if rise_with_unready else 0)
        again = total / pods / target
        if self._tolerated(again) or (ratio < 1 < again) or (again < 1 < ratio):
            return count
        recommended = whole(again * pods)
        backwards = recommended > count if again < 1 else recommended < count
        return count if backwards else recommended

    def _tolerated(self, ratio: float) -> bool:
        return abs(ratio - 1) <= self.settings.tolerance_ratio + 1e-9

    def _stabilized(self, scale: _Scale, recommended: int, now_s: float) -> int:
        """Between the smallest of the up window and the largest of the down window; both hold the present one."""
        settings = self.settings
        longest_s = max(settings.up_window_s, settings.down_window_s)
        scale.recommended = [point for point in scale.recommended if point[0] > now_s - longest_s]
        scale.recommended.append((now_s, recommended))
        up_s, down_s = now_s - settings.up_window_s, now_s - settings.down_window_s
        least = min((value for at_s, value in scale.recommended if at_s > up_s), default=recommended)
        most = max((value for at_s, value in scale.recommended if at_s > down_s), default=recommended)
        return min(max(scale.count, min(least, recommended)), max(most, recommended))

    def _limited(self, scale: _Scale, wanted: int, now_s: float) -> int:
        settings = self.settings
        scale.changes = [change for change in scale.changes if change[0] > now_s - settings.period_s]
        start = scale.count - sum(change for _, change in scale.changes)
        if wanted > scale.count:
            limit = max(start + settings.up_pods, whole(start * (1 + settings.up_ratio)))
            return min(wanted, max(limit, scale.count))
        limit = int(start * (1 - settings.down_ratio) + 1e-9)
        return max(wanted, min(limit, scale.count))


def device_utilization(view: View) -> dict[str, float]:
    """The whole card's utilization, 0 to 1, for each slot with a fresh reading: the sum over the slots of its card.

    A reading older than the fleet's `max_age_s` is missing and adds nothing to its card.
    """
    oldest_s = view.now_s - view.spec.policy.max_age_s
    cards = {slot.slot_id: slot.gpu_key for node in view.inventory.nodes for slot in node.slots}
    busy: dict[str, float] = {}
    fresh = [slot for slot in view.seen.slots if slot.at_s >= oldest_s and slot.slot_id in cards]
    for slot in fresh:
        card = cards[slot.slot_id]
        busy[card] = busy.get(card, 0.0) + slot.busy_ratio
    return {slot.slot_id: min(1.0, busy[cards[slot.slot_id]]) for slot in fresh}
