"""What was seen of switches, slots and training while a load ran. Pure."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from autoscaler.embedded.timeline import Scene

Json = dict[str, Any]


class Use(StrEnum):
    """What a slot is there for at a moment."""

    SERVING = "serving"
    TRAINING = "training"
    FREE = "free"
    """Also: its worker has not begun to serve."""
    ASLEEP = "asleep"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSeen:
    """One switch as its record tells it; times in seconds since the load began. `result` is None while it goes on."""

    gpu: str
    origin: str
    target: str
    cause: str
    result: str | None
    began_s: float
    steps: tuple[tuple[str, float], ...]
    """Steps in the order taken, each with its observed seconds."""
    why: str = ""

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.steps)

    @property
    def bands(self) -> tuple[tuple[str, float, float], ...]:
        """Each step with where it begins and ends."""
        found: list[tuple[str, float, float]] = []
        at_s = self.began_s
        for step, seconds in self.steps:
            found.append((step, at_s, at_s + seconds))
            at_s += seconds
        return tuple(found)


def switches(answer: Json, *, load_began_at_s: float) -> tuple[SwitchSeen, ...]:
    """Read the switcher's `/v1/switches`: those that began with the load or later, the oldest first.

    `load_began_at_s` is in seconds since the epoch, as the records' times are.
    """
    found: dict[str, SwitchSeen] = {}
    for gpu in answer["gpus"]:
        under_way = [gpu["switch"]] if gpu["switch"] else []
        for record in (*gpu["last"], *under_way):
            if record["began_at_s"] >= load_began_at_s:
                found[record["id"]] = _read(gpu["gpu"], record, load_began_at_s)
    return tuple(sorted(found.values(), key=lambda switch: switch.began_s))


def _read(gpu: str, record: Json, load_began_at_s: float) -> SwitchSeen:
    return SwitchSeen(
        gpu=gpu,
        origin=record["from"],
        target=record["to"],
        cause=record["cause"],
        result=record["result"],
        began_s=record["began_at_s"] - load_began_at_s,
        steps=tuple((line["step"], line["seconds"]) for line in record["spent"]),
        why=record["why"],
    )


def announced_s(scenes: Sequence[Scene], switch: SwitchSeen) -> float | None:
    """Since when nodes were seen leaving before a switch began; None where it came unannounced."""
    since_s = None
    for scene in reversed([scene for scene in scenes if scene.at_s <= switch.began_s]):
        if not any(node.get("leaving") for node in scene.state["nodes"]):
            break
        since_s = scene.at_s
    return since_s


def uses(scene: Scene, slot_types: Mapping[str, str], *, training: str) -> Counter[tuple[str, Use]]:
    """How many slots of each type are used how; `slot_types` by node, for a sleeping node tells of none.

    `training` is the name with which the names of training pods begin.
    """
    nodes = {node["name"]: node for node in scene.state["nodes"]}
    return Counter((slot_type, _use(nodes.get(name), training)) for name, slot_type in slot_types.items())


def _use(node: Json | None, training: str) -> Use:
    if node is None or not node["ready"] or not node["slots"]:
        return Use.ASLEEP
    (slot, *_) = node["slots"]
    if slot["model"] is not None:
        return Use.SERVING
    holder = (slot["worker"] or "").rpartition("/")[2]
    return Use.TRAINING if holder.startswith(f"{training}-") else Use.FREE


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSeen:
    """What a training said of itself."""

    steps: int = 0
    loss_first: float | None = None
    loss_last: float | None = None
    stops: int = 0
    """How often it was ended before its time and had kept its checkpoint."""


def training(lines: Iterable[str]) -> TrainingSeen:
    """Read a training's lines, of all its runs; what is no JSON object of its own is left out."""
    steps, stops, losses = 0, 0, list[float]()
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if not isinstance(event, dict) or "event" not in event:
            continue
        steps = max(steps, int(event["step"]))
        stops += event["event"] == "stopped"
        losses += [float(event["loss"])] if "loss" in event else []
    first, last = (losses[0], losses[-1]) if losses else (None, None)
    return TrainingSeen(steps=steps, loss_first=first, loss_last=last, stops=stops)
