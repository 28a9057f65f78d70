"""A specification lists all that is wrong with it at once, each with field, value and range."""

from typing import Any

import pytest

from autoscaler.core.spec import FleetSpec, GuardrailSettings, ModelSpec, PolicySettings, PoolSpec, SpecError
from tests import build
from vgpu.core.profile import parse_profile


def problems(make: type, **fields: Any) -> tuple[str, ...]:
    with pytest.raises(SpecError) as raised:
        make(**fields)
    return raised.value.problems


def test_every_fault_of_a_model_is_named_at_once() -> None:
    assert problems(
        ModelSpec,
        name="minilm",
        pool="",
        objective_p95_ms=0,
        min_replicas=-1,
        max_replicas=-1,
        idle_s=-1,
        target_in_flight=0,
        target_utilization_ratio=1.5,
        scale_down_window_s=-1,
    ) == (
        "model 'minilm': pool is empty",
        "model 'minilm': objective_p95_ms is 0; at least 1",
        "model 'minilm': min_replicas is -1; at least 0",
        "model 'minilm': max_replicas is -1; at least 1",
        "model 'minilm': idle_s is -1; at least 0, and finite",
        "model 'minilm': target_in_flight is 0; above 0",
        "model 'minilm': target_utilization_ratio is 1.5; above 0, at most 1",
        "model 'minilm': scale_down_window_s is -1; at least 0",
    )


def test_every_fault_of_the_policy_settings_is_named_at_once() -> None:
    assert problems(
        PolicySettings,
        window_s=0,
        recent_s=3,
        max_age_s=0,
        least_requests=0,
        calm_ratio=0,
        tolerance_ratio=1,
        drain_s=-1,
        overload_memory_s=-1,
        saturated_ratio=2,
    ) == (
        "window_s is 0; above 0",
        "recent_s is 3; above 0, at most window_s, which is 0",
        "max_age_s is 0; above 0",
        "least_requests is 0; at least 1",
        "calm_ratio is 0; above 0, at most 1",
        "tolerance_ratio is 1; at least 0, below 1",
        "drain_s is -1; at least 0",
        "overload_memory_s is -1; at least 0",
        "saturated_ratio is 2; above 0, at most 1",
    )


def test_every_fault_of_the_guardrails_is_named_at_once() -> None:
    assert problems(
        GuardrailSettings,
        settle_up_s=-1,
        settle_down_s=-1,
        step_up_ratio=0.5,
        step_up_count=0,
        pending_timeout_s=0,
        pending_backoff_s=-1,
        worker_keep_s=-1,
    ) == (
        "settle_up_s is -1; at least 0",
        "settle_down_s is -1; at least 0",
        "step_up_ratio is 0.5; at least 1",
        "step_up_count is 0; at least 1",
        "pending_timeout_s is 0; above 0",
        "pending_backoff_s is -1; at least 0",
        "worker_keep_s is -1; at least 0",
    )


def test_a_fleet_names_each_pool_and_model_once_and_knows_every_pool() -> None:
    pool = PoolSpec(name="v100-8q", profile=parse_profile(build.PROFILE))
    twice = build.model()
    assert problems(FleetSpec, pools=(pool, pool), models=(twice, twice, build.model("ocr", pool="t4-4q"))) == (
        "pool 'v100-8q' is listed 2 times",
        "model 'minilm' is listed 2 times",
        "model 'ocr': pool 't4-4q' is none of v100-8q, v100-8q",
    )


def test_a_pool_has_a_name() -> None:
    assert problems(PoolSpec, name="", profile=parse_profile(build.PROFILE)) == ("name of a pool is empty",)


def test_models_come_in_the_order_of_priority_then_name() -> None:
    spec = build.fleet(build.model("b"), build.model("c", priority=1), build.model("a"), build.model("d", pool="other"))
    assert [model.name for model in spec.by_priority] == ["c", "a", "b", "d"]
    assert [model.name for model in spec.models_of("v100-8q")] == ["c", "a", "b"]
    assert spec.pool("other").name == "other"


def test_a_model_may_live_in_several_pools_of_different_slot_types() -> None:
    big, small = (PoolSpec(name=name, profile=parse_profile(name)) for name in ("v100-8q-8GB", "v100-4q-4GB"))
    again = PoolSpec(name="again", profile=big.profile)
    both = build.model(pool=big.name, further_pools=(small.name,))
    assert both.pools == (big.name, small.name)
    spec = FleetSpec(pools=(big, small), models=(build.model("only", pool=small.name), both))
    assert [[model.name for model in spec.models_of(pool.name)] for pool in (big, small)] == [
        ["minilm"],
        ["minilm", "only"],
    ]
    assert problems(build.model, pool="p", further_pools=("p", "")) == (
        "model 'minilm': pool is empty",
        "model 'minilm': pools are 'p', 'p', ''; each of them once",
    )
    models = (build.model("a", pool=big.name, further_pools=("again", "none")),)
    assert problems(FleetSpec, pools=(big, small, again), models=models) == (
        "model 'a': pool 'none' is none of v100-8q-8GB, v100-4q-4GB, again",
        "model 'a': two of its pools are of slot type v100-8q-8GB",
    )


def test_pools_are_joined_by_the_models_that_may_live_in_several() -> None:
    labels = ("v100-8q-8GB", "v100-4q-4GB", "t4-4q-4GB", "a10-8q-8GB", "l4-8q-8GB")
    pools = tuple(PoolSpec(name=label[:-4], profile=parse_profile(label)) for label in labels)
    v100_8, v100_4, t4, a10, l4 = (pool.name for pool in pools)
    models = (build.model("a", pool=t4, further_pools=(v100_8,)), build.model("b", pool=l4, further_pools=(t4,)))
    assert FleetSpec(pools=pools, models=models).joined_pools == ((v100_8, t4, l4), (v100_4,), (a10,))
    assert FleetSpec(pools=pools, models=()).joined_pools == ((v100_8,), (v100_4,), (t4,), (a10,), (l4,))


def test_a_slot_costs_its_part_of_the_card() -> None:
    pool = PoolSpec(name="t4", profile=parse_profile("t4-4q-4GB"), card_cost=2.0)
    assert pool.slot_cost == 0.5
    assert problems(PoolSpec, name="t4", profile=pool.profile, card_cost=0.0) == (
        "pool 't4': card_cost is 0.0; above 0, and finite",
    )
