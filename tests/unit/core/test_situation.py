"""One tick of one model: when a need can be told, what is learned meanwhile, and what counts as missed."""

from collections.abc import Sequence
from typing import Any

import pytest

from autoscaler.core.capacity import Cards
from autoscaler.core.contention import measure
from autoscaler.core.learning import Learned, Trust
from autoscaler.core.observation import MissingReason, SlotReading
from autoscaler.core.replicas import FreshReplica
from autoscaler.core.service import Service
from autoscaler.core.signals import ModelSignals
from autoscaler.core.situation import Situation, needing, prospect
from autoscaler.core.spec import PolicySettings
from tests import build
from tests.build import absent, signals, situation

NOW_S = 1000.0
KNOWN = Service().with_batches(batches=100.0, items=1.0, solo_s=0.05, engine_s=0.02)
"""One replica does 20 requests/s."""
STOCK = build.inventory(
    *(build.node(f"n{index}", slots=2, card=f"GPU-{index}", held={0: f"s/w{index}"}) for index in range(4))
)


def replica(index: int, *, per_s: float, over_s: float = 5.0) -> FreshReplica:
    """A replica that got so many requests a second since the last tick."""
    slot_id = f"n{index}/0"
    done = round(per_s * over_s)
    window = build.window(
        build.sample(f"r{index}", NOW_S - over_s, slot_id=slot_id),
        build.sample(f"r{index}", NOW_S, build.counters({50: done}, busy_s=0.05 * done), slot_id=slot_id),
    )
    return FreshReplica(replica_id=f"r{index}", slot_id=slot_id, age_s=0.0, samples=window)


def needed(
    measured: ModelSignals | None = None,
    *,
    offered_per_s: float = 20.0,
    came_per_s: float | None = None,
    running: int = 2,
    learned: Learned | None = None,
    fresh: Sequence[FreshReplica] | None = None,
    **given: Any,
) -> Situation:
    """The situation after its need was worked out."""
    made = situation(
        measured or signals(offered_per_s=offered_per_s, running=running, fresh=running),
        running=running,
        learned=learned or Learned(service=KNOWN),
        **{"current": running, "now_s": NOW_S, **given},
    )
    readings = [SlotReading(slot_id=slot.slot_id, at_s=NOW_S, busy_ratio=0.0) for slot in STOCK.slots]
    contention = measure(STOCK, build.world(STOCK, slots=readings), PolicySettings(), NOW_S)
    cards = Cards.of(STOCK, contention, frozenset(), frozenset())
    each = (offered_per_s if came_per_s is None else came_per_s) / running
    seen = [replica(index, per_s=each) for index in range(running)] if fresh is None else fresh
    (told,) = needing([prospect(made, tuple(seen), cards, build.fleet().pools)], made.policy)
    return told


def test_a_need_is_told_once_costs_are_known() -> None:
    made = needed()
    assert made.need is not None
    assert made.demand is not None
    assert made.demand.solo_s == pytest.approx(0.05)
    assert made.need.rate_per_s == pytest.approx(20.0 * made.need.factor, rel=0.3)


def test_more_load_needs_more() -> None:
    counts = [made.need.count for load in (5.0, 20.0, 40.0, 60.0) if (made := needed(offered_per_s=load)).need]
    assert len(counts) == 4
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


@pytest.mark.parametrize(
    ("measured", "learned"),
    [
        (None, Learned()),
        (signals(gaps=(absent(),)), None),
        (signals(offered_per_s=absent(MissingReason.NO_REPLICAS)), None),
    ],
    ids=["costs are unknown", "a replica was not read", "no rate is known"],
)
def test_otherwise_there_is_none(measured: ModelSignals | None, learned: Learned | None) -> None:
    made = needed(measured, learned=learned)
    assert (made.need, made.demand) == (None, None)
    assert made.state.learned.rehearsal == Learned().rehearsal, "such a tick teaches nothing of the load"


def test_a_missing_device_reading_alone_is_no_reason_not_to_know_the_load() -> None:
    gap = build.Missing(source=build.Source.SLOT, name="n0/0", reason=MissingReason.UNREACHABLE)
    assert needed(signals(gaps=(gap,))).need is not None


def test_costs_are_learned_while_nothing_can_be_told_yet() -> None:
    warm = Learned(since_s={"r0": 0.0, "r1": 0.0})
    service = needed(learned=warm, offered_per_s=30.0).state.learned.service
    assert service.is_known
    assert service.demand(1.0).solo_s == pytest.approx(0.05)


def test_a_step_shows_at_once_and_chance_does_not() -> None:
    calm, step = (needed(offered_per_s=20.0, came_per_s=rate).need for rate in (24.0, 60.0))
    assert calm is not None
    assert step is not None
    assert step.rate_per_s == pytest.approx(60.0 * step.factor)
    assert calm.rate_per_s < 60.0


def missed(offered_per_s: float = 20.0, **given: Any) -> Situation:
    """p95 is over its objective of 200 ms, 200 requests wait."""
    values = {"p95_ms": 400.0, "attainment_ratio": 0.5, "offered_per_s": offered_per_s, "queued": 200.0}
    return needed(signals(**values), **given)


REHEARSED = Learned(service=KNOWN, rehearsal=needed(offered_per_s=1.0, running=1).state.learned.rehearsal)


@pytest.mark.parametrize("offered_per_s", [20.0, 37.0, 60.0], ids=["it drains in time", "a rest", "it only grows"])
def test_what_is_missed_now_counts_with_what_still_waits_when_help_comes(offered_per_s: float) -> None:
    """Two replicas do 40 requests/s; help comes after the cold start and half a window; the rest goes in 20 s."""
    situation = missed(offered_per_s, learned=REHEARSED, now_s=NOW_S)
    made = situation.need
    assert made is not None
    assert made.present
    limit_per_s = 40.0
    wait_s = situation.policy.cold_start_s + situation.policy.window_s / 2
    left = min(max(0.0, 200.0 - (limit_per_s - offered_per_s) * wait_s), 10.0 * limit_per_s)
    assert made.rate_per_s == pytest.approx(offered_per_s + left / 20.0)
    assert left == {20.0: 0.0, 37.0: 50.0, 60.0: 400.0}[offered_per_s]


def test_a_backlog_asks_for_no_more_where_help_is_on_its_way() -> None:
    """What is awaited comes when what would be asked for now comes: both find the same backlog."""
    at_rest, awaited = (missed(60.0, current=count, learned=REHEARSED).need for count in (2, 3))
    assert at_rest is not None
    assert awaited is not None
    assert awaited.count == at_rest.count


@pytest.mark.parametrize(
    ("given", "trimmed"),
    [
        ({}, True),
        ({"current": 4}, False),
        ({"running_since_s": NOW_S - 3.0}, False),
    ],
    ids=["the fleet as it is", "help is on its way", "the window still holds another fleet"],
)
def test_trust_is_judged_by_a_fleet_at_rest(given: dict[str, Any], trimmed: bool) -> None:
    before = Learned(service=KNOWN, trust=Trust(at_s=NOW_S - 5.0, missed_ratio=0.5))
    assert (missed(learned=before, **given).state.learned.trust.trim > 1.0) is trimmed


def test_a_handful_of_requests_is_no_verdict() -> None:
    before = Learned(service=KNOWN, trust=Trust(at_s=NOW_S - 5.0, missed_ratio=0.5))
    few = signals(p95_ms=400.0, attainment_ratio=0.0, requests=4)
    assert needed(few, learned=before).state.learned.trust.trim == 1.0
