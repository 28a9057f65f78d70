"""One tick with something of everything, and the goldens it is rendered into.

`VGPU_REWRITE_GOLDENS=1 pytest tests/unit/autoscaler` rewrites them; review the difference.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoscaler.about import ModelAbout
from autoscaler.core.decision import (
    Decision,
    Plan,
    Reason,
    Recommendation,
    SetReplicas,
    SetWorkers,
    Stage,
    Step,
    numbers,
)
from autoscaler.core.observation import Missing, MissingReason, Observation, SlotReading, Source
from autoscaler.ports import Acted, ModelsFileSeen, Tick
from tests import build

GOLDENS = Path(__file__).parents[2] / "goldens" / "autoscaler"
SPEC = build.fleet(build.model("minilm"), build.model("filetype", objective_p95_ms=500))
MODELS_FILE = ModelsFileSeen(
    spec=SPEC,
    about=(
        ModelAbout(name="minilm", source="text_embedder", tenant="search"),
        ModelAbout(name="filetype", source="file_type"),
    ),
)
NO_TRAFFIC = Missing(source=Source.SIGNAL, name="p95_ms", reason=MissingReason.NO_TRAFFIC)
STOCK = build.inventory(
    build.node("n1", card="GPU-a", held={0: "serving/w1"}),
    build.node("n2", card="GPU-b", held={0: "serving/w2"}),
    build.node("n3", card="GPU-c", usable=False),
    build.node("n4", card="GPU-d", leaving=True),
)
SEEN = build.world(
    STOCK,
    pools=[build.pool(build.worker("serving/w1"), build.worker("serving/w2", "n2"))],
    deployments=[
        build.deployment(target=2, running={"r1": "serving/w1"}, starting=["r2"]),
        build.deployment(model="filetype", running={"f1": "serving/w2"}),
    ],
    slots=[SlotReading(slot_id="n1/0", at_s=0.0, busy_ratio=0.98765)],
)
GROWING = Decision(
    model="minilm",
    current=2,
    count=3,
    recommendations=(
        Recommendation(count=4, reason=Reason.LATENCY_ABOVE_OBJECTIVE, numbers=numbers(p95_ms=812.4, objective_ms=200)),
    ),
    steps=(
        Step(
            stage=Stage.POLICY,
            before=2,
            after=4,
            reason=Reason.LATENCY_ABOVE_OBJECTIVE,
            numbers=numbers(p95_ms=812.4, objective_ms=200),
        ),
        Step(stage=Stage.GUARDRAIL, before=4, after=3, reason=Reason.STEP_LIMIT),
    ),
    signals=build.signals(p95_ms=812.4, attainment_ratio=0.25),
)
IDLE = Decision(
    model="filetype",
    current=1,
    count=1,
    steps=(Step(stage=Stage.POLICY, before=1, after=1, reason=Reason.NO_TRAFFIC),),
    signals=replace(
        build.signals(p50_ms=NO_TRAFFIC, p95_ms=NO_TRAFFIC, attainment_ratio=NO_TRAFFIC, offered_per_s=0.0),
        model="filetype",
    ),
)
PLAN = Plan(
    at_s=5.0,
    decisions=(GROWING, IDLE),
    actions=(
        SetWorkers(pool="v100-8q", before=2, count=3, preferred_nodes=("n3",)),
        SetReplicas(model="minilm", before=2, count=3),
    ),
)


def tick(**changes: Any) -> Tick:
    """The tick, with changes."""
    given: dict[str, Any] = {
        "number": 7,
        "at_s": 5.0,
        "duration_s": 0.25,
        "seen": SEEN,
        "inventory": STOCK,
        "plan": PLAN,
        "problems": ("Node n3: not ready",),
        "failed_actions": ("Ray Serve: the dashboard is away",),
        "defect": None,
        "dry_run": False,
        "spec": SPEC,
        "models_file": MODELS_FILE,
        "acted": (Acted(action="set_workers", duration_s=0.03), Acted(action="set_replicas", duration_s=5.0)),
        **changes,
    }
    return Tick(**given)


def failed() -> Tick:
    """A tick that a defect ended before anything was decided."""
    said = "tick failed: KeyError: 'spec'"
    return tick(number=8, seen=Observation(), plan=None, problems=(said,), failed_actions=(), defect=said, acted=())


def golden(name: str, text: str) -> str:
    """What the golden says; it is written first where that was asked for."""
    path = GOLDENS / name
    if os.environ.get("VGPU_REWRITE_GOLDENS"):
        path.write_text(text)
    return path.read_text()
