"""E10, live: the same constant load on a live system and in the simulator; do their latencies agree?

A synthetic model, whose time is all engine time, on 1 and on 2 replicas that nobody scales. The live system is the
embedded one: real HTTP, a real Ray Serve, an emulated engine. Both get the same arrivals. What the simulator does not
know is measured first with a lone client and said: how long a request is in its replica, and the way there and back.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import quantiles

import httpx
import numpy as np

from autoscaler.adapters.scrape import parse_worker
from autoscaler.embedded import fleet
from autoscaler.load import client, schedule
from autoscaler.sim.baselines.static import Static, StaticSettings
from autoscaler.sim.controller import Plain
from autoscaler.sim.simulation import run
from autoscaler.sim.world import ColdStart, ServiceTime, SimModel, World
from tests.bench.law.options import Options, main
from tests.bench.law.report import Mark, Report, Table
from tests.integration import system

SERVICE_MS = 40.0
OBJECTIVE_MS = 500
REPLICAS = (1, 2)
LOADS = (0.5, 0.75)
"""Rates as a part of what the cards do at most."""
DRIVEN_S, SKIPPED_S, QUICK_S = 150.0, 5.0, 15.0
LONE_REQUESTS = 40
MOST_APART = 1.15
Times = Sequence[float]

MODELS = """
models:
{models}
policy: {{window_s: 6}}
"""
MODEL = """  fixed{replicas}:
    source: synthetic
    parameters: {{base_us: {base_us:g}, per_item_us: 0}}
    slot: v100-8q-8GB
    objective_p95_ms: {objective_ms}
    serving: {{max_batch_size: 1, max_queue: 200, max_deadline_ms: 30000}}
    autoscaling: {{min_replicas: {replicas}, max_replicas: {replicas}}}
"""


def measure(options: Options) -> Report:
    """Each count at each rate, live and simulated."""
    driven_s = QUICK_S if options.seeds == 1 else DRIVEN_S
    live, lone, cards = _live(driven_s)
    rows, marks = [], []
    for (replicas, load), times_ms in live.items():
        rate_per_s = _rate_per_s(cards[replicas], load)
        live_ms = _p50_p95(times_ms)
        # The way there and back is added to every simulated request, so that queueing is what is compared.
        way_ms = lone[replicas].whole_ms - lone[replicas].inside_ms
        ended = _simulated(replicas, _due_s(rate_per_s, driven_s), lone[replicas].inside_ms, cards=cards[replicas])
        simulated_ms = tuple(ms + way_ms for ms in ended)
        ratios = [mine / theirs for mine, theirs in zip(live_ms, simulated_ms, strict=True)]
        rows.append((replicas, cards[replicas], rate_per_s, len(times_ms), *live_ms, *simulated_ms, *ratios))
        marks.append(
            Mark(
                demanded=f"{replicas} replicas at {rate_per_s:g}/s: p50 and p95 within a factor of {MOST_APART:g}",
                found=", ".join(f"{ratio:.2f}" for ratio in ratios),
                passed=all(1 / MOST_APART <= ratio <= MOST_APART for ratio in ratios),
            )
        )
    return Report(
        name="E10 live",
        title="the simulator against a live system",
        setup=(
            f"A synthetic model of {SERVICE_MS:g} ms of engine time, {driven_s:g} s of Poisson load each (the first "
            f"{SKIPPED_S:g} s left out), the same arrivals for both. A lone request takes "
            + " and ".join(
                f"{each.whole_ms:.1f} ms with {replicas}, {each.inside_ms:.1f} ms of it in its replica"
                for replicas, each in lone.items()
            )
            + "; the rest is added to the simulated times. Ratio: live over simulated."
        ),
        tables=(
            Table(
                headings=(
                    "replicas", "on cards", "requests/s", "requests", "p50 live, ms", "p95 live, ms", "p50 simulated",
                    "p95 simulated",
                    "p50 ratio", "p95 ratio",
                ),
                rows=tuple(rows),
            ),
        ),
        marks=tuple(marks),
    )  # fmt: skip


def _rate_per_s(cards: int, load: float) -> float:
    """All of the work is the engine's: replicas that share a card do no more than one."""
    return load * cards * 1000 / SERVICE_MS


def _p50_p95(times_ms: Times) -> tuple[float, float]:
    cuts = quantiles(times_ms, n=20)
    return cuts[9], cuts[18]


def _due_s(rate_per_s: float, driven_s: float) -> list[float]:
    """When each request is due; the same live and simulated."""
    steps = (schedule.Step(rate_per_s=rate_per_s, duration_s=driven_s),)
    return [due_s for due_s, _ in schedule.arrivals(steps, seed=3)]


def _simulated(replicas: int, due_s: Times, inside_ms: float, *, cards: int) -> tuple[float, float]:
    """p50 and p95, ms, of the same fleet: as many replicas on as many cards, and nobody else at work."""
    host_ms = max(0.0, inside_ms - SERVICE_MS)
    service = ServiceTime(host_ms=host_ms, engine_ms=SERVICE_MS, spread_ratio=0.0)
    model = SimModel(
        name="fixed",
        service=service,
        objective_p95_ms=OBJECTIVE_MS,
        cold_start=ColdStart(worker_s=0.0, load_s=0.0),
        min_replicas=replicas,
        max_replicas=replicas,
        start_replicas=replicas,
    )
    per_card = replicas // cards
    label = {1: "v100d-32q-32GB", 2: "v100d-16q-16GB"}[per_card]
    # No switching cost: the emulated engine has none.
    world = World(models=(model,), cards=cards, slots_per_card=per_card, slot_label=label, switch_cost_ratio=0.0)
    keeping = Plain(Static(StaticSettings(replicas=replicas)))
    times = {"fixed": np.array(due_s)}
    outcome = run(world, times, keeping, seed=1, span_s=due_s[-1] + SKIPPED_S, warm_up_s=SKIPPED_S)
    return outcome.p50_ms, outcome.p95_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Lone:
    """A request that waits for nobody: its median as its client sees it, and its mean in its replica."""

    whole_ms: float
    inside_ms: float


def _live(driven_s: float) -> tuple[Mapping[tuple[int, float], Times], Mapping[int, Lone], Mapping[int, int]]:
    """Latencies in ms by (replicas, load), a lone request by replicas, and on how many cards they sit."""
    base_us = SERVICE_MS * 1000 / fleet.default().cost_ratio  # the emulated card is that much slower
    entries = [MODEL.format(replicas=count, base_us=base_us, objective_ms=OBJECTIVE_MS) for count in REPLICAS]
    with tempfile.TemporaryDirectory() as folder:
        running = system.start(Path(folder), MODELS.format(models="".join(entries)))
        try:
            running.wait("the system", running.is_ready, timeout_s=system.START_TIMEOUT_S)
            running.wait("all replicas", lambda: _all_run(running), timeout_s=system.START_TIMEOUT_S)
            cards = {replicas: _cards(running, f"fixed{replicas}") for replicas in REPLICAS}
            lone = {replicas: _lone(running, f"fixed{replicas}") for replicas in REPLICAS}
            found = {}
            for replicas, load in product(REPLICAS, LOADS):
                rate_per_s = _rate_per_s(cards[replicas], load)
                print(f"  {replicas} replicas at {rate_per_s:g} requests/s", file=sys.stderr)
                found[replicas, load] = _driven(running.url, f"fixed{replicas}", rate_per_s, driven_s)
        finally:
            system.stop(running)
    return found, lone, cards


def _cards(running: system.System, model: str) -> int:
    """On how many cards a model's replicas sit: two on one share its engine."""
    slots = [slot for node in running.state()["nodes"] for slot in node["slots"]]
    return len({slot["gpu"] for slot in slots if slot["model"] == model})


def _all_run(running: system.System) -> bool:
    return all(running.model(f"fixed{replicas}")["replicas_running"] == replicas for replicas in REPLICAS)


def _lone(running: system.System, model: str) -> Lone:
    """Requests sent one after the other, and what the replicas' own counters say of them."""
    body = client.Target(running.url, model).body("How do I reset my password?")
    times_ms = []
    before_s, before = _busy(running, model)
    with httpx.Client(base_url=running.url, timeout=30, trust_env=False) as caller:
        for _ in range(LONE_REQUESTS):
            began_s = time.perf_counter()
            caller.post(f"/v2/models/{model}/infer", json=body).raise_for_status()
            times_ms.append((time.perf_counter() - began_s) * 1000)
    after_s, after = _busy(running, model)
    return Lone(whole_ms=float(np.median(times_ms)), inside_ms=(after_s - before_s) / (after - before) * 1000)


def _busy(running: system.System, model: str) -> tuple[float, int]:
    """Seconds with a batch at work and batches, of all replicas since they began."""
    pods = json.loads(running.kubectl("get", "pods", "-o", "json"))["items"]
    texts = [httpx.get(f"http://{pod['status']['podIP']}:9105/metrics", timeout=5).text for pod in pods]
    samples = [parse_worker(text, 0.0) for text in texts if f'model="{model}"' in text]
    return sum(each.counters.engine_busy_s for each in samples), sum(each.counters.batches or 0 for each in samples)


def _driven(url: str, model: str, rate_per_s: float, driven_s: float) -> Times:
    samples: list[client.Sample] = []
    steps = (schedule.Step(rate_per_s=rate_per_s, duration_s=driven_s),)
    driving = client.drive(
        client.Target(url, model),
        schedule.arrivals(steps, seed=3),
        record=samples.append,
        texts=client.sentences(),
    )
    asyncio.run(driving)
    failed = sum(sample.failed for sample in samples)
    if failed:
        print(f"  {failed} of {len(samples)} failed", file=sys.stderr)
    return [sample.latency_s * 1000 for sample in samples if not sample.failed and sample.due_s >= SKIPPED_S]


if __name__ == "__main__":
    main("e10_live", __doc__, measure)
