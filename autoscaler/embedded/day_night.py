"""The script of `demo-profiles`: a day under load, a night that belongs to a training, and the next day. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from autoscaler.embedded import batch
from autoscaler.load.schedule import Step
from vgpu import yaml_document
from vgpu.core import names

Json = dict[str, Any]

FOLDER = Path(__file__).with_name("profiles")
MODELS, FLEET, SWITCHER = (FOLDER / f"{name}.yaml" for name in ("models", "fleet", "switcher"))
DAY, NIGHT, NEXT_DAY = "day", "night", "next day"
TRAINING = "training"
TRAINING_SLOT = "v100-16q-16GB"
ENDLESS_STEPS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the story, in seconds since the load began."""

    name: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How much is asked in each phase, and when the card is to be cut otherwise.

    Night comes `night_after_s` after the load has fallen, and day `day_before_s` before it rises.
    """

    day: Step
    night: Step
    next_day: Step
    night_after_s: float
    day_before_s: float

    @property
    def steps(self) -> tuple[Step, ...]:
        return (self.day, self.night, self.next_day)

    @property
    def phases(self) -> tuple[Phase, ...]:
        found: list[Phase] = []
        began_s = 0.0
        for name, step in zip((DAY, NIGHT, NEXT_DAY), self.steps, strict=True):
            found.append(Phase(name=name, from_s=began_s, to_s=began_s + step.duration_s))
            began_s += step.duration_s
        return tuple(found)

    @property
    def duration_s(self) -> float:
        return self.phases[-1].to_s

    @property
    def switches_s(self) -> Mapping[str, float]:
        """When each layout is to come, in seconds since the load began."""
        _, night, next_day = self.phases
        return {NIGHT: night.from_s + self.night_after_s, DAY: next_day.from_s - self.day_before_s}

    def schedule(self, load_began: datetime) -> list[Json]:
        """The switcher's schedule for a load that began then."""
        came = {layout: load_began + timedelta(seconds=at_s) for layout, at_s in self.switches_s.items()}
        return [{"layout": layout, "at": at.astimezone(UTC).strftime("%H:%M:%S")} for layout, at in came.items()]


SCRIPT = Script(
    day=Step(rate_per_s=9, duration_s=75),
    night=Step(rate_per_s=3, duration_s=125),
    next_day=Step(rate_per_s=32, duration_s=75),
    night_after_s=45.0,
    day_before_s=20.0,
)


def switcher_document(text: str, schedule: list[Json]) -> str:
    """The switcher's file with this schedule, in UTC."""
    return yaml_document.dump({**yaml_document.load(text), "time_zone": "UTC", "schedule": schedule})


def training_deployment(namespace: str) -> Json:
    """A training that waits for a whole card, and keeps its checkpoint when it is evicted."""
    labels = {"app.kubernetes.io/name": TRAINING}
    options = [f"--steps={ENDLESS_STEPS}", f"--checkpoint={batch.VOLUME}/{TRAINING}.npz", "--checkpoint-every=50"]
    amount = {names.RESOURCE_GPU: "1"}
    container = {
        "name": TRAINING,
        "image": "vgpu-serve/training:0.1.0",
        "command": [*batch.COMMAND, *options],
        "resources": {"limits": amount, "requests": amount},
    }
    spec = {
        "nodeSelector": {names.LABEL_PROFILE: TRAINING_SLOT},
        "terminationGracePeriodSeconds": 30,
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": TRAINING, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
