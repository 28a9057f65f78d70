"""What the autoscaler says of itself over HTTP. Names and shapes are public interface: see tests/goldens/autoscaler."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest

from autoscaler.adapters import view
from autoscaler.adapters.telemetry import Telemetry
from tests import build
from tests.unit.autoscaler import ticks
from tests.unit.autoscaler.ticks import GROWING, IDLE, PLAN, SPEC, STOCK, failed, golden, tick


@pytest.fixture
def telemetry() -> Telemetry:
    told = Telemetry(SPEC)
    told.record(tick())
    return told


def text(telemetry: Telemetry) -> str:
    status, content_type, body = telemetry.answer("/metrics")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    return body.decode()


def series(telemetry: Telemetry, name: str) -> dict[str, float]:
    """The series of one metric, by their labels."""
    lines = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text(telemetry), re.M)
    return {labels: float(value) for labels, value in lines}


def as_text(document: object) -> str:
    return json.dumps(document, indent=1) + "\n"


def answer(telemetry: Telemetry, path: str) -> tuple[int, dict[str, object]]:
    status, content_type, body = telemetry.answer(path)
    assert content_type == "application/json"
    return status, json.loads(body)


def test_the_metrics_are_public_interface(telemetry: Telemetry) -> None:
    assert text(telemetry) == golden("metrics.txt", text(telemetry))


def test_the_state_is_public_interface(telemetry: Telemetry) -> None:
    status, state = answer(telemetry, "/v1/state")
    assert status == 200
    assert as_text(state) == golden("state.json", as_text(state))


def test_an_explanation_is_public_interface(telemetry: Telemetry) -> None:
    status, explained = answer(telemetry, "/v1/models/minilm")
    assert status == 200
    assert as_text(explained) == golden("explain.json", as_text(explained))


def test_metric_names_follow_the_conventions(telemetry: Telemetry) -> None:
    families = re.findall(r"^# TYPE (\S+) (\S+)$", text(telemetry), re.M)
    assert len(families) == len({name for name, _ in families}) == 9
    for name, kind in families:
        assert re.fullmatch(r"vgpu_serve(_[a-z]+)+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert "duration" not in name or name.endswith("_seconds")


def test_a_missing_signal_has_no_series(telemetry: Telemetry) -> None:
    signals = series(telemetry, "vgpu_serve_signal")
    assert signals['model="minilm",signal="p95_ms"'] == 812.4
    assert signals['model="filetype",signal="offered_per_s"'] == 0.0
    assert 'model="filetype",signal="p95_ms"' not in signals


def test_a_signal_that_goes_missing_loses_its_series(telemetry: Telemetry) -> None:
    silent = replace(GROWING, signals=build.signals(p95_ms=build.absent(), gaps=(build.absent(),)))
    telemetry.record(tick(plan=replace(PLAN, decisions=(silent, IDLE))))
    assert 'model="minilm",signal="p95_ms"' not in series(telemetry, "vgpu_serve_signal")
    assert series(telemetry, "vgpu_serve_signals_missing") == {'model="minilm"': 1.0, 'model="filetype"': 0.0}


def test_a_node_that_leaves_takes_its_series_with_it(telemetry: Telemetry) -> None:
    assert 'node="n1",state="used"' in series(telemetry, "vgpu_serve_slots")
    telemetry.record(tick(inventory=replace(STOCK, nodes=STOCK.nodes[1:])))
    assert 'node="n1",state="used"' not in series(telemetry, "vgpu_serve_slots")


def test_slots_are_counted_by_node_and_use(telemetry: Telemetry) -> None:
    assert series(telemetry, "vgpu_serve_slots") == {
        'node="n1",state="used"': 1.0, 'node="n1",state="free"': 0.0,
        'node="n2",state="used"': 1.0, 'node="n2",state="free"': 0.0,
        'node="n3",state="used"': 0.0, 'node="n3",state="free"': 1.0,
    }  # fmt: skip


def test_decisions_failures_and_ticks_add_up(telemetry: Telemetry) -> None:
    telemetry.record(tick())
    telemetry.record(failed())
    assert series(telemetry, "vgpu_serve_decisions_total") == {
        'model="minilm",reason="step_limit"': 2.0,
        'model="filetype",reason="steady"': 2.0,
    }
    counts = dict(re.findall(r"^(vgpu_serve_\w+) (\S+)$", text(telemetry), re.M))
    assert counts["vgpu_serve_actuation_errors_total"] == "2.0"
    assert counts["vgpu_serve_failed_ticks_total"] == "1.0"
    assert counts["vgpu_serve_tick_duration_seconds_count"] == "3.0"
    assert counts["vgpu_serve_problems"] == "1.0"


def test_a_failed_tick_is_shown_with_what_is_still_known(telemetry: Telemetry) -> None:
    telemetry.record(failed())
    _, state = answer(telemetry, "/v1/state")
    assert state["problems"] == ["tick failed: KeyError: 'spec'"]
    assert state["actions"] == []
    _, explained = answer(telemetry, "/v1/models/minilm")
    assert explained["decision"] is None
    assert explained["sentence"] == "minilm: nothing is known about it yet"


def test_before_the_first_tick_there_is_nothing_to_show() -> None:
    silent = Telemetry(SPEC)
    assert answer(silent, "/v1/state") == (503, {"error": "the first tick is not over yet"})
    assert answer(silent, "/v1/models/minilm")[0] == 503
    assert silent.answer("/healthz")[0] == 200
    assert "vgpu_serve_replicas" not in text(silent)


@pytest.mark.parametrize("path", ["/v1/models/unheard-of", "/v1/models/", "/v1/models", "/v1/other"])
def test_what_is_not_there_is_answered_with_what_is(telemetry: Telemetry, path: str) -> None:
    assert answer(telemetry, path) == (
        404, {"error": f"nothing at {path}; there are /v1/models/minilm, /v1/models/filetype"},
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/v2", "/metric"])
def test_other_paths_are_not_found(telemetry: Telemetry, path: str) -> None:
    assert answer(telemetry, path) == (404, {"error": f"nothing at {path}; see /v1/state and /metrics"})


@pytest.fixture
def url(telemetry: Telemetry) -> Iterator[str]:
    server = telemetry.serve("127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_all_of_it_is_served_over_http(url: str) -> None:
    for path in ("/metrics", "/healthz", "/v1/state", "/v1/state?pretty", "/v1/models/minilm"):
        with urllib.request.urlopen(url + path, timeout=5) as got:
            assert got.status == 200
            assert int(got.headers["Content-Length"]) == len(got.read())
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/nothing", timeout=5)


def test_a_taken_port_is_an_os_error(telemetry: Telemetry, url: str) -> None:
    with pytest.raises(OSError, match="in use"):
        telemetry.serve("127.0.0.1", int(url.rpartition(":")[2]))


def test_a_worker_that_stops_serving_a_model_is_shown_without_it() -> None:
    stopping = build.deployment(target=0, stopping={"r1": "serving/w1"})
    seen = replace(ticks.SEEN, deployments=(stopping,))
    nodes = view.render(SPEC, tick(seen=seen))["nodes"]
    assert [(slot["worker"], slot["model"]) for slot in nodes[0]["slots"]] == [("serving/w1", None)]
