"""Drives `demo-profiles`: gives the switcher its schedule, deploys the training, and watches both beside the load."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from autoscaler.embedded import day_night, demo, switch_timeline
from autoscaler.embedded.day_night import Script
from autoscaler.embedded.installation import NAMESPACE, Installation
from autoscaler.embedded.switch_timeline import SwitchSeen, TrainingSeen
from autoscaler.embedded.timeline import Timeline
from vgpu.adapters import kube

Json = dict[str, Any]


@dataclass(slots=True)
class Watch:
    """What was seen: of clients and the autoscaler, of the switcher last, and when the load began by the clock."""

    timeline: Timeline = field(default_factory=Timeline)
    began_at_s: float = 0.0
    answer: Json | None = None

    @property
    def switches(self) -> tuple[SwitchSeen, ...]:
        return () if self.answer is None else switch_timeline.switches(self.answer, load_began_at_s=self.began_at_s)

    def look(self, switcher_url: str) -> None:
        """Ask the switcher; a look that fails leaves the last answer."""
        try:
            answer = httpx.get(f"{switcher_url}/v1/switches", timeout=2, trust_env=False)
        except httpx.HTTPError:
            return
        if answer.status_code == httpx.codes.OK:
            self.answer = answer.json()


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What is played: the script, by which seed, on which model, and the switcher's file that gets the schedule."""

    script: Script
    seed: int
    model: str
    switcher_file: Path


def drive(installation: Installation, play: Play, watch: Watch, show: Callable[[float], None]) -> None:
    """Play the script to its end.

    Raises `ProcessFailed` where the installation breaks meanwhile, `kube.Unavailable` where it takes no training.
    """
    client = kube.connect(installation.kubeconfig)
    client.apply_deployment(day_night.training_deployment(NAMESPACE), NAMESPACE)
    client.close()
    watch.began_at_s = time.time()
    schedule = play.script.schedule(datetime.fromtimestamp(watch.began_at_s, UTC))
    text = day_night.SWITCHER.read_text(encoding="utf-8")
    play.switcher_file.write_text(day_night.switcher_document(text, schedule), encoding="utf-8")

    def look(at_s: float) -> None:
        if installation.switcher_url is not None:
            watch.look(installation.switcher_url)
        show(at_s)

    demo.drive(
        installation,
        model=play.model,
        steps=play.script.steps,
        seed=play.seed,
        timeline=watch.timeline,
        show=look,
    )


def training_seen(logs: Path) -> TrainingSeen:
    """What the training's pods have written, one after the other."""
    files = sorted(logs.glob(f"{day_night.TRAINING}-*.log"), key=lambda path: path.stat().st_mtime)
    return switch_timeline.training(_lines(files))


def _lines(files: Iterable[Path]) -> Iterable[str]:
    for path in files:
        yield from path.read_text(encoding="utf-8", errors="replace").splitlines()
