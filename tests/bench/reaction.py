"""From a load step to the first answer of a new replica, with the stages between; a fresh system each time."""

import asyncio
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from autoscaler.embedded.installation import Installation
from autoscaler.load import client, schedule
from tests.bench.installed import install
from tests.bench.overhead import summary

RUNS = 3
STEPS = "4:8s,28:40s"
CALM_S = 8.0
POLL_S = 0.2
GIVE_UP_S = 60.0
STAGES = ("decided", "worker ready", "replica running", "first answer")


def measure(directory: Path) -> dict[str, Any]:
    """Seconds from the step to each stage."""
    runs = []
    for number in range(RUNS):
        print(f"reaction to a load step, run {number + 1} of {RUNS}", file=sys.stderr)
        with install(directory / f"reaction-{number}", cost_ratio=8.0) as installation:
            runs.append(react(installation))
    return {f"step to {stage}, s": summary([run[stage] for run in runs]) for stage in STAGES}


def react(installation: Installation) -> dict[str, float]:
    """Drive the step once and watch for each stage."""
    target = client.Target(installation.url, "minilm")
    due = schedule.arrivals(schedule.parse_steps(STEPS), seed=1)
    stop = asyncio.Event()
    driving = client.drive(target, due, record=lambda _: None, texts=client.sentences(), stop=stop)
    loop = asyncio.new_event_loop()
    sender = threading.Thread(target=loop.run_until_complete, args=(driving,))
    step_s = time.monotonic() + CALM_S
    sender.start()
    reached: dict[str, float] = {}
    while len(reached) < len(STAGES) and time.monotonic() - step_s < GIVE_UP_S:
        for stage in look(installation):
            reached.setdefault(stage, round(time.monotonic() - step_s, 2))
        time.sleep(POLL_S)
    loop.call_soon_threadsafe(stop.set)
    sender.join()
    return reached


def look(installation: Installation) -> list[str]:
    """The stages that have been reached by now."""
    state = httpx.get(f"{installation.autoscaler_url}/v1/state", timeout=5).json()
    model = state["models"][0]
    used = [slot for node in state["nodes"] for slot in node["slots"] if slot["worker"]]
    reached = []
    if (model["replicas_desired"] or 0) > 1:
        reached.append("decided")
    if (model["replicas_target"] or 0) > 1 and len(used) > 1:
        reached.append("worker ready")
    if (model["replicas_running"] or 0) > 1:
        reached.append("replica running")
    if answering_workers(installation) > 1:
        reached.append("first answer")
    return reached


def answering_workers(installation: Installation) -> int:
    """Workers that have answered at least one request, by their own count."""
    last = installation.journal.read_text().splitlines()[-1:]
    replicas = json.loads(last[0])["tick"]["seen"]["replicas"] if last else []
    return sum(replica["counters"]["answered"] > 0 for replica in replicas)
