"""Small modelled fleets: no spread and no switching cost unless a test says so."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscaler.sim.engine import Engine
from autoscaler.sim.world import ColdStart, ServiceTime, SimModel, World

EDGES_S = (0.05, 0.1, 0.3, 1.0)


def world_of(*services: ServiceTime, objective_ms: int = 300, **fields: Any) -> World:
    models = tuple(
        SimModel(
            name=f"m{index}",
            service=service,
            objective_p95_ms=objective_ms,
            cold_start=ColdStart(worker_s=10.0, load_s=30.0),
        )
        for index, service in enumerate(services)
    )
    return World(**{"models": models, "cards": 1, "switch_cost_ratio": 0.0, **fields})


def service(host_ms: float, engine_ms: float, **fields: Any) -> ServiceTime:
    return ServiceTime(**{"host_ms": host_ms, "engine_ms": engine_ms, "spread_ratio": 0.0, **fields})


def engine_of(world: World, *times_s: Any, seed: int = 1) -> Engine:
    arrivals = {f"m{index}": np.array(times, dtype=np.float64) for index, times in enumerate(times_s)}
    return Engine(world, arrivals, seed=seed, edges_s=EDGES_S)


def serve(engine: Engine, *slots: int, model: int = 0) -> Engine:
    for slot in slots:
        engine.attach(slot)
        engine.open(slot, model)
    return engine


def poisson(rate_per_s: float, span_s: float, seed: int = 1) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0.0, span_s, rng.poisson(rate_per_s * span_s)))


def mean_latency_s(engine: Engine, model: int = 0) -> float:
    return float(engine.latency_sum_s[model] / engine.answered_m[model])


SATURATED = service(0, 50, max_queue=10_000)
"""A backlog of 50 ms engine jobs that outlasts the run keeps a replica saturated."""
BACKLOG = np.zeros(2000)
