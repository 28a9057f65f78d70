"""A day, a night and a day as `demo-profiles` might have seen them."""

from typing import Any

from autoscaler.embedded.day_night import SCRIPT
from autoscaler.embedded.timeline import Scene, Timeline
from autoscaler.load.client import Sample

SLOT_TYPES = {
    "node-1": "v100-4q-4GB",
    "node-2": "v100-4q-4GB",
    "node-5": "v100-16q-16GB",
    "node-6": "v100-8q-8GB",
}
BEGAN_AT_S = 1_800_000_000.0
STEPS = ("check", "cordon", "make_room", "drain", "stop", "start", "ready", "uncordon")
TRAINING_LINES = (
    '{"event": "begun", "step": 0, "steps": 1000000}',
    '{"event": "step", "step": 10, "loss": 3.1}',
    "a warning of some library",
    '{"event": "step", "step": 320, "loss": 1.7}',
    '{"event": "stopped", "step": 327, "checkpoint": "/run/checkpoints/training.npz"}',
)


def node(name: str, *, holder: str | None = None, model: str | None = None, ready: bool = True) -> dict[str, Any]:
    slot = {
        "slot": f"{name}/0",
        "profile": SLOT_TYPES[name],
        "gpu": "GPU-a",
        "worker": holder,
        "model": model,
        "engine_busy_ratio": None,
    }
    return {"name": name, "ready": ready, "device_kind": "emulated", "slots": [slot] if ready else []}


def scene(at_s: float, *nodes: dict[str, Any]) -> Scene:
    model = {"name": "minilm", "objective_p95_ms": 1000, "decision": "minilm: stays", "replicas_running": 2}
    return Scene(at_s, {"models": [model], "nodes": list(nodes), "problems": []})


def by_day(at_s: float) -> Scene:
    return scene(
        at_s,
        node("node-1", holder="default/w1", model="minilm"),
        node("node-2", holder="default/w2"),
        node("node-5", ready=False),
        node("node-6", holder="default/w6", model="minilm"),
    )


def by_night(at_s: float) -> Scene:
    return scene(
        at_s,
        node("node-1", ready=False),
        node("node-5", holder="default/training-x2"),
        node("node-6", holder="default/w6", model="minilm"),
    )


def record(target: str, began_s: float, **given: Any) -> dict[str, Any]:
    """A switch as `/v1/switches` tells it; each step takes a second, `make_room` ten."""
    return {
        "id": f"{target}-{began_s:g}",
        "from": "day" if target == "night" else "night",
        "to": target,
        "goal": target,
        "cause": "schedule",
        "began_at_s": BEGAN_AT_S + began_s,
        "ended_at_s": BEGAN_AT_S + began_s + 17,
        "step": "uncordon",
        "result": "done",
        "why": "",
        "spent": [
            {"step": step, "goal": target, "seconds": 10.0 if step == "make_room" else 1.0, "why": ""} for step in STEPS
        ],
        **given,
    }


def answer(*last: dict[str, Any], under_way: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `/v1/switches` answers; its records come newest first."""
    return {"gpus": [{"gpu": "card-a", "layout": "day", "switch": under_way, "last": list(reversed(last))}]}


def timeline(*, latency_ms: float = 300.0, failed: int = 0) -> Timeline:
    """A request and a look each second."""
    told = Timeline()
    _, night, _ = SCRIPT.phases
    for second in range(int(SCRIPT.duration_s)):
        status = 503 if second < failed else 200
        told.add_sample(Sample(0, float(second), second + latency_ms / 1000, status))
        is_night = night.from_s + 30 <= second < night.to_s
        told.add_scene(by_night(second) if is_night else by_day(second))
    return told
