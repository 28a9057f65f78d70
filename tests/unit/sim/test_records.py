"""The decoder: every record that goes out as JSON comes back as it was, and what does not fit is named."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from autoscaler.core.decision import DrainWorkers, SetReplicas, SetWorkers
from autoscaler.core.observation import Missing, Observation, ReplicaSample
from autoscaler.core.plain import as_json_value
from autoscaler.core.signals import ModelSignals, Signal
from autoscaler.core.spec import FleetSpec, PolicySettings, PoolSpec
from autoscaler.sim.records import Undecodable, decode
from autoscaler.sim.world import World, default_world
from tests import build
from tests.unit.autoscaler import ticks
from tests.unit.core import two_types
from vgpu.core.inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """Every kind of field."""

    pair: tuple[str, int]
    counts: Mapping[str, float]
    action: SetWorkers | DrainWorkers | SetReplicas | None = None


def again(kind: type[Any], record: object) -> Any:
    return decode(kind, json.loads(json.dumps(as_json_value(record))))


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        (Observation, ticks.SEEN),
        (type(ticks.STOCK), ticks.STOCK),
        (FleetSpec, ticks.SPEC),
        (FleetSpec, two_types.fleet()),
        (PoolSpec, replace(two_types.POOLS[0], card_cost=2.5)),
        (ReplicaSample, build.sample(counted=build.counters({40: 3}, refused=2, busy_s=1.5), slot_id=None)),
        (ModelSignals, build.signals(p95_ms=build.absent(), gaps=(build.absent(),))),
        (World, default_world(cards=2)),
        (Mixed, Mixed(pair=("a", 1), counts={"x": 0.5}, action=SetReplicas(model="m", before=1, count=2))),
        (Mixed, Mixed(pair=("a", 1), counts={})),
    ],
)
def test_a_record_comes_back_as_it_was(kind: type[Any], record: object) -> None:
    assert again(kind, record) == record


def test_what_only_some_records_have_is_left_out_of_the_others() -> None:
    """The journal of a fleet in which no model has a choice is as if there were none to have."""
    written = as_json_value(build.fleet())
    assert "further_pools" not in written["models"][0]
    assert "card_cost" not in written["pools"][0]
    assert as_json_value(two_types.fleet())["models"][0]["further_pools"] == [two_types.SMALL]


def test_a_node_that_stays_is_written_as_it_was_before_nodes_could_leave() -> None:
    written = as_json_value(build.inventory(build.node("n1"), build.node("n2", leaving=True)))
    assert ["leaving" in node for node in written["nodes"]] == [False, True]
    assert [node.leaving for node in decode(Inventory, written).nodes] == [False, True]


def test_of_several_records_the_one_with_those_fields_is_taken() -> None:
    drained = {"model": "m", "workers": ["a/b"]}
    assert decode(Mixed, {"pair": ["a", 1], "counts": {}, "action": drained}).action == DrainWorkers(
        model="m", workers=("a/b",)
    )
    assert decode(Signal, {"value": 1, "age_s": 0}) == Signal(value=1.0, age_s=0.0)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (Mixed, 5, "the record: expected a mapping, got 5"),
        (Mixed, {"pair": ["a", 1]}, "counts: missing; it has no default"),
        (Mixed, {"pair": ["a"], "counts": {}}, "pair: expected 2 entries, got 1"),
        (Mixed, {"pair": ["a", True], "counts": {}}, "pair[1]: expected a whole number, got True"),
        (Mixed, {"pair": ["a", 1.5], "counts": {}}, "pair[1]: expected a whole number, got 1.5"),
        (Mixed, {"pair": "ab", "counts": {}}, "pair: expected a list, got 'ab'"),
        (Mixed, {"pair": ["a", 1], "counts": {"x": "1"}}, "counts.x: expected a number, got '1'"),
        (Mixed, {"pair": ["a", 1], "counts": {"x": float("nan")}}, "counts.x: not a number"),
        (Mixed, {"pair": ["a", 1], "counts": {}, "extra": 1}, "extra: unknown key; Mixed has pair, counts, action"),
        (
            Observation,
            {"missing": [{"source": "moon", "name": "x", "reason": "stale"}]},
            "missing[0].source: 'moon' is none of replica, deployment, pool, slot, ingress, signal",
        ),
        (
            Observation,
            {"slots": [{"slot_id": "n1/0", "at_s": 1, "busy_ratio": 2}]},
            "slots[0]: busy_ratio is 2.0; 0 to 1 of the physical engine",
        ),
        (PolicySettings, {"window_s": 0, "max_age_s": 0}, "the record: window_s is 0.0; above 0; "),
    ],
)
def test_what_does_not_fit_is_named(kind: type[Any], value: object, said: str) -> None:
    with pytest.raises(Undecodable) as raised:
        decode(kind, value)
    assert str(raised.value).startswith(said)


def test_a_long_value_is_not_repeated_whole() -> None:
    with pytest.raises(Undecodable, match=r"expected a mapping, got 'x{36}\.\.\.$"):
        decode(Missing, "x" * 1000)
