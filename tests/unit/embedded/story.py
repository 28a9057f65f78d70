"""A demo as it might have gone: samples of clients, and looks at the autoscaler."""

from typing import Any

from autoscaler.embedded.timeline import Scene, Timeline
from autoscaler.load.client import Sample
from autoscaler.load.schedule import Step

STEPS = (Step(rate_per_s=4.0, duration_s=20.0), Step(rate_per_s=20.0, duration_s=60.0))
OBJECTIVE_MS = 300


def state(
    running: int | None, *, nodes: tuple[str, ...] = ("node-1",), decision: str = "minilm: stays", **given: Any
) -> Any:
    """What `GET /v1/state` answers."""
    return {
        "models": [
            {
                "name": "minilm",
                "replicas_running": running,
                "replicas_target": running,
                "objective_p95_ms": OBJECTIVE_MS,
                "p50_ms": 41.2,
                "p95_ms": None,
                "in_flight": None,
                "utilization_ratio": None,
                "reason": None,
                "decision": decision,
                **given,
            }
        ],
        "nodes": [
            {
                "name": f"node-{index}",
                "device_kind": "emulated",
                "leaving": False,
                "slots": [
                    {
                        "slot": f"node-{index}/0",
                        "profile": "v100-8q-8GB",
                        "gpu": "GPU-0123456789abcdef",
                        "worker": f"default/w{index}" if f"node-{index}" in nodes else None,
                        "model": "minilm" if f"node-{index}" in nodes else None,
                        "engine_busy_ratio": 0.5 if f"node-{index}" in nodes else None,
                    }
                ],
            }
            for index in (1, 2, 3)
        ],
        "problems": [],
    }


def timeline(*, overload_ms: float = 2000.0, recovered_at_s: float = 40.0, after_ms: float = 100.0) -> Timeline:
    """Calm at 50 ms until 20 s, then `overload_ms` until it recovers, if it does before the end at 80 s."""
    told = Timeline()
    for tick in range(80):
        due_s, step = float(tick), int(tick >= 20)
        latency_ms = 50.0 if not step else overload_ms if due_s < recovered_at_s else after_ms
        for part in range(4):
            at_s = due_s + part / 4
            told.add_sample(Sample(step, at_s, at_s + latency_ms / 1000, 200))
        if tick < 25:
            told.add_scene(Scene(due_s, state(1)))
        elif tick == 25:
            told.add_scene(Scene(due_s, state(1, decision="minilm: from 1, latency wanted 3, so 3")))
        else:
            told.add_scene(Scene(due_s, state(3, nodes=("node-1", "node-2", "node-3"))))
    return told
