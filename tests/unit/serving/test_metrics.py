"""The worker's metrics as text; dashboards, alerts and the autoscaler read tests/goldens/serving/metrics.txt."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from serving import metrics

GOLDEN = Path(__file__).parents[2] / "goldens" / "serving" / "metrics.txt"
IDENTITY = metrics.WorkerIdentity(
    model="minilm", replica="r1", slot="n1/0", worker="worker-1", profile="v100-8q-8GB", device_kind="emulated"
)


def busy_worker() -> metrics.WorkerMetrics:
    worker = metrics.create(IDENTITY, objective_s=0.35)
    for code, count in (("200", 5), ("429", 2), ("499", 1), ("504", 1)):
        worker.requests.labels("minilm", code).inc(count)
    worker.requests_within_objective.inc(3)
    for duration_s in (0.007, 0.04, 0.35, 0.351, 90.0):
        worker.request_duration_s.observe(duration_s)
    worker.queue_duration_s.observe(0.002)
    worker.execution_duration_s.observe(0.125)
    worker.batch_size.observe(3)
    worker.in_flight.set(4)
    worker.queued_rows.set(7)
    worker.engine_busy_s.inc(0.125)
    worker.host_late.inc()
    worker.ready.set(1)
    return worker


def text(worker: metrics.WorkerMetrics) -> str:
    return generate_latest(worker.registry).decode()


def test_the_exposition_is_public_interface() -> None:
    assert text(busy_worker()) == GOLDEN.read_text()


@pytest.mark.parametrize("objective_s", [0.35, 0.2, 0.0123, 120.0])
def test_the_objective_is_an_edge_of_the_request_histogram(objective_s: float) -> None:
    worker = metrics.create(IDENTITY, objective_s=objective_s)
    worker.request_duration_s.observe(objective_s)
    worker.request_duration_s.observe(objective_s * 1.0001)
    name = "vgpu_serve_request_duration_seconds_bucket"
    assert f'{name}{{le="{objective_s}",model="minilm"}} 1.0' in text(worker)
    edges = [float(edge) for edge in re.findall(rf'{name}{{le="([^"]+)"', text(worker))]
    assert edges == sorted({*metrics.LATENCY_EDGES_S, objective_s, float("inf")})


def test_another_objective_moves_the_edge_and_begins_the_histograms_anew() -> None:
    worker = busy_worker()
    before = text(worker)
    worker.durations.renew(objective_s=0.7)
    worker.request_duration_s.observe(0.7)
    after = text(worker)
    bucket = 'vgpu_serve_request_duration_seconds_bucket{le="%s",model="minilm"} %s'
    assert bucket % ("0.35", "3.0") in before
    assert 'le="0.35"' not in after
    assert bucket % ("0.65", "0.0") in after
    assert bucket % ("0.7", "1.0") in after
    assert 'vgpu_serve_queue_duration_seconds_count{model="minilm"} 0.0' in after
    counters = [line for line in before.splitlines() if "_total{" in line]
    assert [line for line in after.splitlines() if "_total{" in line] == counters != []


def test_names_follow_the_conventions() -> None:
    families = re.findall(r"^# TYPE (\S+) (\S+)$", text(busy_worker()), re.M)
    assert len(families) == len({name for name, _ in families}) == 12
    for name, kind in families:
        assert re.fullmatch(r"vgpu_serve(_[a-z]+)+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert "duration" not in name or name.endswith("_seconds")
        assert not re.search(r"_(ms|percent|created)$", name)


def test_every_family_is_described_and_labelled_by_its_model() -> None:
    lines = text(busy_worker()).splitlines()
    described = {line.split()[2] for line in lines if line.startswith("# HELP") and len(line.split()) > 4}
    assert described == {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert all('model="minilm"' in line for line in lines if not line.startswith("#"))


def test_two_workers_in_one_process_do_not_share_their_numbers() -> None:
    one, other = busy_worker(), metrics.create(IDENTITY, objective_s=0.35)
    one.host_late.inc()
    assert 'vgpu_serve_host_late_total{model="minilm"} 0.0' in text(other)
