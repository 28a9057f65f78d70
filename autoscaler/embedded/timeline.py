"""What happened while a load ran: what clients felt and what the autoscaler did. Pure, but for a lock."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoscaler.load.client import Sample
from autoscaler.load.report import Summary, summarise

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scene:
    """One look at the autoscaler's state, in seconds since the load began."""

    at_s: float
    state: Json

    def model(self, name: str) -> Json:
        return next(entry for entry in self.state["models"] if entry["name"] == name)

    def nodes_used(self, model: str) -> list[str]:
        """Nodes on which a slot serves the model."""
        return sorted(
            node["name"] for node in self.state["nodes"] if any(slot["model"] == model for slot in node["slots"])
        )


@dataclass(slots=True)
class Timeline:
    """Filled by the load and by whoever watches; read by the live table, the report and the picture."""

    _samples: list[Sample] = field(default_factory=list)
    _scenes: list[Scene] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_sample(self, sample: Sample) -> None:
        with self._lock:
            self._samples.append(sample)

    def add_scene(self, scene: Scene) -> None:
        with self._lock:
            self._scenes.append(scene)

    @property
    def samples(self) -> tuple[Sample, ...]:
        with self._lock:
            return tuple(self._samples)

    @property
    def scenes(self) -> tuple[Scene, ...]:
        with self._lock:
            return tuple(self._scenes)

    def between(self, from_s: float, to_s: float) -> Summary:
        """Requests due in a span; one that is still open is not in it yet."""
        return summarise(sample for sample in self.samples if from_s <= sample.due_s < to_s)

    def windows(self, width_s: float) -> list[tuple[float, Summary]]:
        """Consecutive spans from the first second to the last answered request, by their middle."""
        samples = self.samples
        if not samples:
            return []
        by_window: dict[int, list[Sample]] = {}
        for sample in samples:
            by_window.setdefault(int(sample.due_s // width_s), []).append(sample)
        return [((index + 0.5) * width_s, summarise(group)) for index, group in sorted(by_window.items())]


def largest_p95_ms(windows: Iterable[tuple[float, Summary]]) -> float | None:
    """The worst window."""
    return max((summary.p95_ms for _, summary in windows if summary.p95_ms is not None), default=None)


def replicas_over_time(scenes: Sequence[Scene], model: str) -> list[tuple[float, int]]:
    """Running replicas as they were seen; looks that could not tell are left out."""
    counted = ((scene.at_s, scene.model(model)["replicas_running"]) for scene in scenes)
    return [(at_s, count) for at_s, count in counted if count is not None]
