"""Windows become signals; what is missing is named, and zero traffic needs evidence."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from autoscaler.core.contention import measure
from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import Counters, Missing, MissingReason, Observation, SlotReading, Source
from autoscaler.core.replicas import FreshReplica, read_replicas, total
from autoscaler.core.signals import ModelSignals, Signal, read_signals
from autoscaler.core.spec import PolicySettings
from autoscaler.core.window import Window
from tests import build
from tests.build import counters, sample

STOCK = build.inventory(build.node("n1", slots=2, card="GPU-a"))
POLICY = PolicySettings()


def window(replica_id: str, counted: Counters, *, over_s: float = 10.0, in_flight: int = 0, queued: int = 0) -> Window:
    """A replica that started from nothing `over_s` before second 10 and has counted this by then."""
    slot_id = {"r1": "n1/0", "r2": "n1/1"}.get(replica_id)
    return build.window(
        sample(replica_id, 10 - over_s, slot_id=slot_id, in_flight=in_flight, queued=queued),
        sample(replica_id, 10.0, counted, slot_id=slot_id, in_flight=in_flight, queued=queued),
    )


def signals_of(
    windows: Mapping[str, Window],
    seen: Observation | None = None,
    *,
    running: tuple[str, ...] | None = None,
    now_s: float = 10.0,
) -> ModelSignals:
    observed = seen or Observation()
    contention = measure(STOCK, observed, POLICY, now_s)
    ids = tuple(windows) if running is None else running
    fresh, gaps = read_replicas(ids, windows, observed, POLICY, now_s)
    return read_signals(build.model(), POLICY, fresh, gaps, contention, len(ids))


def test_latency_is_taken_over_all_replicas_together() -> None:
    both = {"r1": window("r1", counters({30: 90})), "r2": window("r2", counters({800: 10}))}
    signals = signals_of(both)
    assert signals.requests == 100
    assert signals.p50_ms == Signal(value=pytest.approx(20 + 30 * 50 / 90), age_s=0.0)
    assert signals.p95_ms == Signal(value=750.0, age_s=0.0)


def test_attainment_counts_refused_requests_as_missed() -> None:
    signals = signals_of({"r1": window("r1", counters({100: 70, 300: 10}, refused=20))})
    assert signals.attainment_ratio == Signal(value=0.7, age_s=0.0)


def test_the_offered_rate_includes_refused_and_waiting_requests() -> None:
    before = sample("r1", 0.0, in_flight=1)
    after = sample("r1", 10.0, counters({50: 60}, refused=25, failed=10), in_flight=16, queued=15)
    signals = signals_of({"r1": build.window(before, after)})
    assert signals.offered_per_s == Signal(value=10.0, age_s=0.0)
    assert signals.answered_per_s == Signal(value=5.0, age_s=0.0)


def test_the_recent_rate_sees_a_step_before_the_window_does() -> None:
    taken = [sample("r1", at_s, counters({50: int(count)})) for at_s, count in ((0, 0), (7, 35), (9, 45), (10, 90))]
    signals = signals_of({"r1": build.window(*taken)})
    assert (signals.offered_per_s, signals.offered_recent_per_s) == (
        Signal(value=9.0, age_s=0.0),
        Signal(value=pytest.approx(55 / 3), age_s=0.0),
    )


def test_load_that_moved_to_a_new_replica_is_not_counted_twice() -> None:
    """40 requests/s: the old replica had them for 8 s, then each half of them for 2 s."""
    both = {"r1": window("r1", counters({50: 360})), "r2": window("r2", counters({50: 40}), over_s=2.0)}
    assert signals_of(both).offered_per_s == Signal(value=40.0, age_s=0.0)


def test_gauges_are_summed_over_the_replicas() -> None:
    both = {
        "r1": window("r1", counters(), in_flight=6, queued=4),
        "r2": window("r2", counters(), in_flight=3, queued=1),
    }
    signals = signals_of(both)
    assert (signals.in_flight, signals.queued) == (Signal(value=9.0, age_s=0.0), Signal(value=5.0, age_s=0.0))


def test_capacity_is_what_a_second_of_engine_time_answered() -> None:
    both = {"r1": window("r1", counters({50: 60}, busy_s=4)), "r2": window("r2", counters({50: 60}, busy_s=2))}
    assert signals_of(both).capacity_per_s == Signal(value=20.0, age_s=0.0)


def test_a_capacity_from_a_handful_of_requests_is_not_believed() -> None:
    few = signals_of({"r1": window("r1", counters({50: 4}, busy_s=1))})
    assert few.capacity_per_s == Missing(
        source=Source.SIGNAL, name="capacity_per_s", reason=MissingReason.TOO_FEW_REQUESTS
    )


def test_utilization_is_the_larger_of_the_replicas_own_and_the_devices_word() -> None:
    both = {"r1": window("r1", counters(busy_s=2.0)), "r2": window("r2", counters(busy_s=9.0))}
    readings = [
        SlotReading(slot_id="n1/0", at_s=10, busy_ratio=0.4),
        SlotReading(slot_id="n1/1", at_s=10, busy_ratio=0.1),
    ]
    seen = Observation(slots=tuple(readings))
    # The card leaves r1 0.9, of which it uses 0.4; r2 says 0.9 of itself.
    assert signals_of(both, seen).utilization_ratio == Signal(value=pytest.approx((0.4 / 0.9 + 0.9) / 2), age_s=0.0)


def test_without_device_readings_the_replicas_own_word_counts() -> None:
    signals = signals_of({"r1": window("r1", counters(busy_s=5.0))})
    assert signals.utilization_ratio == Signal(value=0.5, age_s=0.0)


def test_a_signal_is_as_old_as_its_oldest_sample() -> None:
    assert signals_of({"r1": window("r1", counters({50: 10}))}, now_s=13.0).in_flight == Signal(value=0.0, age_s=3.0)


def test_counters_that_stand_still_on_every_replica_are_no_traffic() -> None:
    quiet = {"r1": window("r1", counters()), "r2": window("r2", counters())}
    signals = signals_of(quiet)
    assert signals.p95_ms == Missing(source=Source.SIGNAL, name="p95_ms", reason=MissingReason.NO_TRAFFIC)
    assert signals.offered_per_s == Signal(value=0.0, age_s=0.0)


@pytest.mark.parametrize(
    ("windows", "running", "reason"),
    [
        ({"r1": window("r1", counters())}, ("r1", "r2"), MissingReason.TOO_FEW_REQUESTS),
        ({"r1": window("r1", counters(), in_flight=3)}, ("r1",), MissingReason.TOO_FEW_REQUESTS),
        ({}, ("r1",), MissingReason.NOT_SEEN),
        ({}, (), MissingReason.NO_REPLICAS),
    ],
    ids=["one replica is silent", "requests are inside and none came out", "nothing was read", "nothing runs"],
)
def test_anything_less_is_not_taken_for_no_traffic(
    windows: dict[str, Window], running: tuple[str, ...], reason: MissingReason
) -> None:
    missing = signals_of(windows, running=running).p95_ms
    assert missing == Missing(source=Source.SIGNAL, name="p95_ms", reason=reason)


def test_every_running_replica_is_read_or_named_with_the_reason() -> None:
    fine = window("r1", counters({50: 10}))
    windows = {"r1": fine, "r2": (sample("r2", 9.5),), "r3": window("r3", counters())}
    told = Missing(source=Source.REPLICA, name="r4", reason=MissingReason.UNREACHABLE)
    fresh, gaps = read_replicas(("r1", "r2", "r3", "r4", "r5"), windows, Observation(missing=(told,)), POLICY, 10.0)
    assert fresh[0] == FreshReplica(replica_id="r1", slot_id="n1/0", age_s=0.0, samples=fine)
    assert [replica.replica_id for replica in fresh] == ["r1", "r3"]
    assert gaps == (
        Missing(source=Source.REPLICA, name="r2", reason=MissingReason.TOO_FEW_SAMPLES),
        told,
        Missing(source=Source.REPLICA, name="r5", reason=MissingReason.NOT_SEEN),
    )


def test_a_replica_that_fell_silent_is_stale() -> None:
    windows = {"r1": window("r1", counters({50: 10}))}
    fresh, gaps = read_replicas(("r1",), windows, Observation(), POLICY, 20.5)
    assert (fresh, gaps) == ((), (Missing(source=Source.REPLICA, name="r1", reason=MissingReason.STALE, age_s=10.5),))


def test_a_device_that_cannot_be_read_is_a_gap_and_one_that_cannot_say_is_none() -> None:
    windows = {key: window(key, counters({50: 10})) for key in ("r1", "r2", "r3")}
    unsupported = Missing(source=Source.SLOT, name="n1/1", reason=MissingReason.UNSUPPORTED)
    seen = Observation(missing=(unsupported,))
    fresh, _ = read_replicas(tuple(windows), windows, seen, POLICY, 10.0)
    assert total(fresh, measure(STOCK, seen, POLICY, 10.0)).gaps == (
        Missing(source=Source.SLOT, name="n1/0", reason=MissingReason.NOT_SEEN),
        Missing(source=Source.SLOT, name="of r3", reason=MissingReason.NOT_SEEN),
    )


def test_a_replica_with_other_histogram_edges_is_a_gap_and_no_fault() -> None:
    """As during a redeploy that moves the objective, and with it an edge."""
    nothing = Counters(
        answered=0, refused=0, failed=0, engine_busy_s=0.0, duration=Histogram(edges_s=(0.1, 0.2), counts=(0, 0, 0))
    )
    five = replace(nothing, answered=5, duration=Histogram(edges_s=(0.1, 0.2), counts=(3, 5, 5)))
    odd = build.window(sample("r3", 0.0, nothing), sample("r3", 10.0, five))
    alike = {"r1": window("r1", counters({30: 90})), "r2": window("r2", counters({800: 10}))}
    signals = signals_of({**alike, "r3": odd})
    assert signals.p95_ms == signals_of(alike).p95_ms
    assert (signals.running, signals.fresh) == (3, 2)
    assert Missing(source=Source.REPLICA, name="r3", reason=MissingReason.DIFFERENT_EDGES) in signals.gaps
