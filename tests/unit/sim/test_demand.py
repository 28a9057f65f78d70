"""Demand: the same for a seed, another for the next, and scaled to what the fleet can bear."""

from dataclasses import replace

import numpy as np
import pytest

from autoscaler.refusal import Refused
from autoscaler.sim.demand import Demand, capacity_per_s, draw, fitting_scales
from autoscaler.sim.trace import Trace
from autoscaler.sim.world import World, default_world
from autoscaler.sim.world_file import with_cold_start, with_models, with_service, without_interference

STEP = Demand(source="step", span_s=600.0)
EVEN = Trace(name="even", span_s=600.0, bins=np.full(600, 10, dtype=np.int64))
WORLD = default_world(cards=2)


def two_models() -> World:
    (model,) = WORLD.models
    return replace(WORLD, models=(model, replace(model, name="second")))


def test_a_shape_is_drawn_anew_for_each_seed_and_a_trace_is_not() -> None:
    assert STEP.name == "step"
    first, again, other = (STEP.trace(seed).bins for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.tolist() == again.tolist() != other.tolist()
    assert Demand(source=EVEN).trace(1) is EVEN
    assert Demand(source=EVEN).trace(2) is EVEN


def test_a_part_is_cut_out() -> None:
    part = Demand(source=EVEN, from_text="1m", to_text="300").trace(1)
    assert (part.span_s, part.start_s) == (240.0, 60.0)
    with pytest.raises(Refused, match="cannot cut"):
        Demand(source=EVEN, from_text="400", to_text="300").trace(1)
    with pytest.raises(Refused, match="no shape 'wave'"):
        Demand(source="wave").trace(1)


def test_arrivals_are_the_same_for_a_seed() -> None:
    scales = {"embedder": 0.5}
    times, span_s = draw(Demand(source=EVEN), WORLD, scales, seed=3)
    again, _ = draw(Demand(source=EVEN), WORLD, scales, seed=3)
    other, _ = draw(Demand(source=EVEN), WORLD, scales, seed=4)
    assert span_s == 600.0
    assert len(times["embedder"]) == pytest.approx(3000, rel=0.05)
    assert times["embedder"].tolist() == again["embedder"].tolist() != other["embedder"].tolist()


def test_models_are_not_busy_in_step() -> None:
    times, _ = draw(Demand(source=EVEN), two_models(), {"embedder": 1.0, "second": 1.0}, seed=1)
    assert not np.isin(times["embedder"], times["second"]).any()


def test_a_scale_fits_the_busiest_minute_to_the_fleet() -> None:
    capacity = capacity_per_s(WORLD, 600.0)["embedder"]
    assert fitting_scales(Demand(source=EVEN), WORLD, seed=1) == {"embedder": pytest.approx(0.8 * capacity / 10.0)}
    shared = fitting_scales(Demand(source=EVEN), two_models(), seed=1)
    assert shared == {name: pytest.approx(0.4 * capacity / 10.0) for name in ("embedder", "second")}


def test_a_fleet_bears_more_where_nobody_shares_a_card() -> None:
    """Six slots of 60 ms: at most 100/s; four tenants on a card leave less."""
    alone = capacity_per_s(without_interference(WORLD), 600.0)["embedder"]
    assert 70 < alone < 100
    assert capacity_per_s(WORLD, 600.0)["embedder"] < 0.8 * alone


def test_a_cold_start_changes_no_capacity_and_a_service_time_does() -> None:
    slow = with_models(WORLD, lambda model: with_cold_start(model, 300.0))
    assert capacity_per_s(slow, 600.0) == capacity_per_s(WORLD, 600.0)
    quick = with_models(WORLD, lambda model: with_service(model, solo_ms=6.0, engine_ratio=None))
    assert capacity_per_s(quick, 600.0)["embedder"] > 8 * capacity_per_s(WORLD, 600.0)["embedder"]


def test_an_objective_that_no_slot_keeps_is_refused() -> None:
    slow = with_models(WORLD, lambda model: with_service(model, solo_ms=400.0, engine_ratio=None))
    with pytest.raises(Refused, match="no slot answers within 300 ms, for a lone request takes 400 ms"):
        fitting_scales(STEP, slow, seed=1)
