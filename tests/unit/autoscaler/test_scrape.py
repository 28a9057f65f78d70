"""Prometheus text -> samples: what worker and exporter really say, and all that can be wrong with it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from autoscaler.adapters.scrape import parse_exporter, parse_worker
from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import Counters, Missing, MissingReason, ReplicaSample, SlotReading, Source
from serving import metrics
from tests import build
from tests.unit.exporter.build import LOST_SLOT, SLOT, ScriptedClock, ScriptedReader, make_sampler
from vgpu.adapters import nvml
from vgpu.exporter.metrics import SlotCollector

# What `serving.metrics` is held to by its own tests.
WORKER = (Path(__file__).parents[2] / "goldens" / "serving" / "metrics.txt").read_text()


def exporter_text(devices: tuple[nvml.DeviceReading, ...] | nvml.Missing, *, age_s: float = 0.0) -> str:
    """What the exporter says of a node with these devices."""
    clock = ScriptedClock()
    sampler = make_sampler(ScriptedReader(devices), clock)
    sampler.sample()
    clock.now_s += age_s
    registry = CollectorRegistry()
    registry.register(SlotCollector(sampler=sampler, node="n1", device_kind="emulated"))
    return generate_latest(registry).decode()


def gap(name: str, reason: MissingReason) -> Missing:
    return Missing(source=Source.SLOT, name=name, reason=reason)


def test_a_worker_is_read_whole() -> None:
    edges_s = tuple(sorted({*metrics.LATENCY_EDGES_S, 0.35}))
    within = [sum(took_s <= edge for took_s in (0.007, 0.04, 0.35, 0.351, 90.0)) for edge in edges_s]
    assert parse_worker(WORKER, now_s=7.0) == ReplicaSample(
        replica_id="r1",
        model="minilm",
        slot_id="n1/0",
        at_s=7.0,
        counters=Counters(
            answered=6,  # five times 200 and a client that left
            refused=2,  # 429
            failed=1,  # 504
            duration=Histogram(edges_s=edges_s, counts=(*within, 5)),
            engine_busy_s=0.125,
            batches=1,
        ),
        in_flight=4,
        queued=4,  # seven rows of four requests
    )


@pytest.mark.parametrize(
    ("code", "counted_as"),
    [("200", "answered"), ("404", "answered"), ("400", "answered"), ("429", "refused"), ("503", "refused"),
     ("500", "failed"), ("504", "failed")],
)  # fmt: skip
def test_each_answer_counts_as_what_it_was(code: str, counted_as: str) -> None:
    counters = parse_worker(re.sub('code="[0-9]+"', f'code="{code}"', WORKER), 0.0).counters
    assert (getattr(counters, counted_as), counters.ended) == (9, 9)


def test_a_worker_that_has_answered_nobody_yet_is_no_gap() -> None:
    idle = metrics.create(
        metrics.WorkerIdentity(
            model="minilm", replica="r1", slot="", worker="w", profile="v100-8q-8GB", device_kind="emulated"
        ),
        objective_s=0.3,
    )
    sample = parse_worker(generate_latest(idle.registry).decode(), 0.0)
    assert (sample.counters.ended, sample.counters.duration.total, sample.in_flight) == (0, 0, 0)
    assert sample.slot_id is None


@pytest.mark.parametrize("line", [
    "vgpu_serve_worker_info",
    "vgpu_serve_requests_in_flight",
    "vgpu_serve_queued_rows",
    "vgpu_serve_engine_busy_seconds_total",
    "vgpu_serve_request_duration_seconds_bucket",
    'vgpu_serve_request_duration_seconds_bucket{le="+Inf"',
])  # fmt: skip
def test_a_worker_that_leaves_out_what_is_needed_is_refused(line: str) -> None:
    text = "".join(kept + "\n" for kept in WORKER.splitlines() if not kept.startswith(line))
    with pytest.raises(ValueError, match=r"."):
        parse_worker(text, 0.0)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1.0", "much"])
@pytest.mark.parametrize("name", [
    "vgpu_serve_requests_in_flight",
    "vgpu_serve_queued_rows",
    "vgpu_serve_engine_busy_seconds_total",
    'vgpu_serve_requests_total{code="200"',
    'vgpu_serve_request_duration_seconds_bucket{le="0.01"',
])  # fmt: skip
def test_a_worker_that_counts_nonsense_is_refused(name: str, value: str) -> None:
    lines = [f"{line.rpartition(' ')[0]} {value}" if line.startswith(name) else line for line in WORKER.splitlines()]
    with pytest.raises(ValueError, match=r"."):
        parse_worker("\n".join(lines) + "\n", 0.0)


def test_a_number_that_breaks_off_is_not_taken_for_a_smaller_one() -> None:
    whole = 'vgpu_serve_engine_busy_seconds_total{model="minilm"} 0.125'
    assert whole in WORKER
    with pytest.raises(ValueError, match="breaks off"):
        parse_worker(WORKER[: WORKER.index(whole) + len(whole) - 1], 0.0)


@given(st.integers(min_value=0, max_value=len(WORKER) - 1))
def test_a_body_that_breaks_off_is_refused_or_tells_nothing_new(length: int) -> None:
    """A line that is whole but the last of many may lack others; what it says must still be true."""
    whole = parse_worker(WORKER, 0.0)
    try:
        part = parse_worker(WORKER[:length], 0.0)
    except ValueError:
        return
    assert part == replace(whole, counters=replace(whole.counters, answered=part.counters.answered))


@given(st.text(), st.integers(min_value=0, max_value=len(WORKER)), st.integers(min_value=0, max_value=40))
def test_garbage_in_the_text_is_never_more_than_a_refusal(garbage: str, at: int, over: int) -> None:
    text = WORKER[:at] + garbage + WORKER[at + over :]
    for parse in (parse_worker, parse_exporter):
        try:
            parse(text, 0.0)
        except ValueError:
            continue


def test_a_restarted_worker_starts_its_window_anew() -> None:
    """Counters that fell are another process's: no difference spans the two."""
    before = parse_worker(WORKER, 1.0)
    after = parse_worker(re.sub(r"(?m)^(vgpu_serve_\w+\{.*\}) [0-9.]+$", r"\1 0.0", WORKER), 2.0)
    assert build.window(before, after) == (after,)


def test_a_healthy_node_gives_a_reading_for_each_slot() -> None:
    assert parse_exporter(exporter_text((SLOT, replace(SLOT, index=1, utilization_ratio=1.0))), 3.0) == (
        [
            SlotReading(slot_id="n1/0", at_s=3.0, busy_ratio=0.25),
            SlotReading(slot_id="n1/1", at_s=3.0, busy_ratio=1.0),
        ],
        [],
    )


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        (nvml.MissingReason.NOT_SUPPORTED, MissingReason.UNSUPPORTED),
        (nvml.MissingReason.NO_PERMISSION, MissingReason.UNSUPPORTED),
        (nvml.MissingReason.NO_SAMPLES, MissingReason.NOT_SEEN),
        (nvml.MissingReason.IMPLAUSIBLE, MissingReason.NOT_SEEN),
        (nvml.MissingReason.DEVICE_LOST, MissingReason.NOT_SEEN),
        (nvml.MissingReason.DRIVER_ERROR, MissingReason.NOT_SEEN),
    ],
)
def test_only_what_a_device_can_never_say_holds_nothing(why: nvml.MissingReason, reason: MissingReason) -> None:
    text = exporter_text((replace(SLOT, utilization_ratio=nvml.Missing(reason=why)),))
    assert parse_exporter(text, 0.0) == ([], [gap("n1/0", reason)])


def test_a_lost_device_is_one_gap_and_not_one_for_each_of_its_readings() -> None:
    assert parse_exporter(exporter_text((LOST_SLOT,)), 0.0) == ([], [gap("n1/0", MissingReason.NOT_SEEN)])


def test_a_sample_that_is_old_at_the_exporter_is_stale_here() -> None:
    assert parse_exporter(exporter_text((SLOT,), age_s=60.0), 0.0) == ([], [gap("n1/0", MissingReason.STALE)])


def test_a_node_without_a_driver_has_no_slots_to_be_missed_but_itself() -> None:
    text = exporter_text(nvml.Missing(reason=nvml.MissingReason.NO_DRIVER))
    assert parse_exporter(text, 0.0) == ([], [gap("n1", MissingReason.UNSUPPORTED)])


def test_an_exporter_that_has_not_sampled_yet_is_a_gap_of_its_node() -> None:
    registry = CollectorRegistry()
    sampler = make_sampler(ScriptedReader(), ScriptedClock())
    registry.register(SlotCollector(sampler=sampler, node="n1", device_kind="emulated"))
    assert parse_exporter(generate_latest(registry).decode(), 0.0) == ([], [gap("n1", MissingReason.NOT_SEEN)])


def test_a_ratio_is_kept_within_its_bounds() -> None:
    text = exporter_text((SLOT,)).replace(" 0.25\n", " 1.0000001\n")
    assert [reading.busy_ratio for reading in parse_exporter(text, 0.0)[0]] == [1.0]


def test_more_than_the_whole_engine_is_no_reading() -> None:
    text = exporter_text((SLOT,)).replace(" 0.25\n", " 7.0\n")
    readings, gaps = parse_exporter(text, 0.0)
    assert readings == []
    assert [(gap.source, gap.name, gap.reason) for gap in gaps] == [(Source.SLOT, "n1/0", MissingReason.OUT_OF_RANGE)]
