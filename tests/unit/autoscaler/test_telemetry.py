"""What the autoscaler says of itself over HTTP. Names and shapes are public interface: see tests/goldens/autoscaler."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler import loop as loops
from autoscaler.adapters import gauges, view
from autoscaler.adapters.telemetry import Telemetry
from autoscaler.core.decision import Reason, Stage, Step
from autoscaler.core.observation import Missing, MissingReason, Source
from autoscaler.core.spec import PoolSpec
from autoscaler.ports import Change
from tests import build
from tests.unit.autoscaler import ticks
from tests.unit.autoscaler.ticks import GROWING, IDLE, PLAN, STOCK, failed, golden, tick
from vgpu.core.profile import parse_profile


@pytest.fixture
def telemetry() -> Telemetry:
    told = Telemetry(now_s=lambda: 6.0, wall_s=lambda: 1_800_000_000.5, version="1.2.3")
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
    assert len(families) == len({name for name, _ in families}) == 25
    for name, kind in families:
        assert re.fullmatch(r"vgpu_serve(_[a-z]+)+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert "duration" not in name or name.endswith("_seconds")


def test_promtool_has_nothing_to_say_against_names_and_helps(telemetry: Telemetry) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool is missing; run make prometheus"
    command = [promtool, "check", "metrics"]
    said = subprocess.run(command, input=text(telemetry), capture_output=True, text=True, timeout=30, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_every_metric_is_in_the_readme(telemetry: Telemetry) -> None:
    table = (Path(view.__file__).with_name("README.md")).read_text()
    names = re.findall(r"^# TYPE (\S+) ", text(telemetry), re.M)
    assert [name for name in names if f"`{name}`" not in table] == []


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
        'node="n4",state="used"': 0.0, 'node="n4",state="free"': 0.0,  # it leaves: nobody can have it
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
    silent = Telemetry()
    assert answer(silent, "/v1/state") == (503, {"error": "the first tick is not over yet"})
    assert answer(silent, "/v1/models/minilm")[0] == 503
    assert silent.answer("/healthz")[0] == 200
    assert silent.answer("/readyz") == (503, "text/plain", b"the first tick is not over yet\n")
    assert "vgpu_serve_replicas" not in text(silent)
    assert "vgpu_serve_leader" not in text(silent)


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
    for path in ("/metrics", "/healthz", "/readyz", "/v1/state", "/v1/state?pretty", "/v1/models/minilm"):
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
    nodes = view.render(tick(seen=seen))["nodes"]
    assert [(slot["worker"], slot["model"]) for slot in nodes[0]["slots"]] == [("serving/w1", None)]


def test_a_loop_that_ended_no_tick_for_long_is_not_healthy() -> None:
    now_s = [100.0]
    watched = Telemetry(now_s=lambda: now_s[0], interval_s=5.0)
    for at_s, status in ((160.0, 200), (160.1, 503)):
        now_s[0] = at_s
        assert watched.answer("/healthz")[0] == status
    watched.record(tick())
    assert watched.answer("/healthz") == (200, "text/plain", b"ok\n")
    now_s[0] = 300.4
    said = b"no tick has ended for 140 s, more than 60 s: the loop hangs\n"
    assert watched.answer("/healthz") == (503, "text/plain", said)
    assert watched.answer("/readyz") == (200, "text/plain", b"ok\n")


def test_slow_loops_have_ten_intervals() -> None:
    now_s = [0.0]
    watched = Telemetry(now_s=lambda: now_s[0], interval_s=30.0)
    now_s[0] = 300.0
    assert watched.answer("/healthz")[0] == 200
    now_s[0] = 300.5
    assert watched.answer("/healthz")[0] == 503


def single(telemetry: Telemetry, name: str) -> str | None:
    """The value of a metric without labels; None where it has no series."""
    found = re.search(rf"^{name} (\S+)$", text(telemetry), re.M)
    return found and found[1]


def test_who_does_not_lead_says_so(telemetry: Telemetry) -> None:
    assert single(telemetry, "vgpu_serve_leader") == "1.0"
    telemetry.record(tick(dry_run=True))
    assert single(telemetry, "vgpu_serve_leader") == "0.0"


def test_a_count_that_nobody_changed_was_not_changed() -> None:
    watched = Telemetry()
    watched.record(tick(dry_run=True))
    assert set(series(watched, "vgpu_serve_replica_changes_total").values()) == {0.0}
    watched.record(tick(plan=replace(PLAN, decisions=(replace(GROWING, current=9), IDLE))))
    assert series(watched, "vgpu_serve_replica_changes_total") == {
        'direction="up",model="minilm"': 0.0, 'direction="down",model="minilm"': 1.0,
        'direction="up",model="filetype"': 0.0, 'direction="down",model="filetype"': 0.0,
    }  # fmt: skip


def test_a_refused_models_file_is_shown_until_it_is_not(telemetry: Telemetry) -> None:
    refused = replace(ticks.MODELS_FILE, problems=("models.yaml: not YAML",), change=Change.REFUSED)
    telemetry.record(tick(models_file=refused, problems=refused.problems))
    assert single(telemetry, "vgpu_serve_models_file_refused") == "1.0"
    _, state = answer(telemetry, "/v1/state")
    assert state["models_file"] == {"refused": True, "problems": ["models.yaml: not YAML"]}
    assert state["problems"] == ["models.yaml: not YAML", "Ray Serve: the dashboard is away"]
    telemetry.record(tick(models_file=replace(refused, change=None)))
    telemetry.record(tick(models_file=replace(ticks.MODELS_FILE, change=Change.APPLIED)))
    assert single(telemetry, "vgpu_serve_models_file_refused") == "0.0"
    assert series(telemetry, "vgpu_serve_models_file_changes_total") == {
        'result="applied"': 1.0, 'result="refused"': 1.0,
    }  # fmt: skip


def test_a_model_that_is_gone_takes_all_its_series_with_it(telemetry: Telemetry) -> None:
    assert 'model="filetype"' in text(telemetry)
    spec = replace(ticks.SPEC, models=ticks.SPEC.models[:1])
    file = replace(ticks.MODELS_FILE, spec=spec, about=ticks.MODELS_FILE.about[:1])
    seen = replace(ticks.SEEN, deployments=ticks.SEEN.deployments[:1])
    telemetry.record(tick(spec=spec, models_file=file, seen=seen, plan=replace(PLAN, decisions=(GROWING,))))
    assert 'model="filetype"' not in text(telemetry)
    assert series(telemetry, "vgpu_serve_decisions_total") == {'model="minilm",reason="step_limit"': 2.0}
    telemetry.record(tick())
    assert series(telemetry, "vgpu_serve_decisions_total")['model="filetype",reason="steady"'] == 1.0


def test_a_model_that_ray_does_not_have_yet_is_shown_waiting() -> None:
    undecided = Missing(source=Source.DEPLOYMENT, name="filetype", reason=MissingReason.NOT_SEEN)
    seen = replace(ticks.SEEN, deployments=ticks.SEEN.deployments[:1])
    waiting = Telemetry()
    waiting.record(tick(seen=seen, plan=replace(PLAN, decisions=(GROWING,), undecided=(undecided,))))
    _, explained = answer(waiting, "/v1/models/filetype")
    said = "filetype: Ray Serve does not have it yet; nothing is decided until it is deployed"
    assert explained["sentence"] == said
    assert answer(waiting, "/v1/state")[1]["models"][1]["decision"] == said  # type: ignore[index]  # JSON
    assert series(waiting, "vgpu_serve_replicas_limit")['bound="max",model="filetype"'] == 4.0
    assert 'model="filetype",state="desired"' not in series(waiting, "vgpu_serve_replicas")


def test_a_reading_too_old_to_decide_by_has_no_series(telemetry: Telemetry) -> None:
    telemetry.record(tick(plan=replace(PLAN, at_s=10.5)))
    assert set(series(telemetry, "vgpu_serve_replicas")) == {
        'model="minilm",state="desired"', 'model="filetype",state="desired"',
    }  # fmt: skip
    assert series(telemetry, "vgpu_serve_workers") == series(telemetry, "vgpu_serve_slots") == {}
    assert series(telemetry, "vgpu_serve_signal_age_seconds")['source="pool"'] == 10.5


def test_workers_are_counted_with_those_lent_to_others() -> None:
    workers = (
        build.worker("s/ready"),
        build.worker("s/starting", None, ready=False),
        replace(build.worker("s/drained"), ready=False, draining=True),
        replace(build.worker("s/leaving"), deleting=True),
    )
    watched = Telemetry()
    watched.record(tick(seen=replace(ticks.SEEN, pools=(build.pool(*workers, wanted=4),)), lent={"v100-8q": 2}))
    assert series(watched, "vgpu_serve_workers") == {
        'pool="v100-8q",state="wanted"': 6.0, 'pool="v100-8q",state="ready"': 3.0,
        'pool="v100-8q",state="starting"': 1.0, 'pool="v100-8q",state="draining"': 2.0,
    }  # fmt: skip


def test_a_model_of_several_slot_types_names_them_all() -> None:
    pools = (*ticks.SPEC.pools, PoolSpec(name="t4", profile=parse_profile("t4-4q-4GB")))
    minilm = replace(ticks.SPEC.models[0], further_pools=("t4",))
    watched = Telemetry()
    watched.record(tick(spec=replace(ticks.SPEC, pools=pools, models=(minilm, *ticks.SPEC.models[1:]))))
    assert list(series(watched, "vgpu_serve_model_info")) == [
        'model="minilm",slot="v100-8q-8GB,t4-4q-4GB",source="text_embedder",tenant="search"',
        'model="filetype",slot="v100-8q-8GB",source="file_type",tenant=""',
    ]


def step(stage: Stage, before: int, after: int, reason: Reason) -> Step:
    return Step(stage=stage, before=before, after=after, reason=reason)


LIMITED = (
    step(Stage.POLICY, 2, 9, Reason.LOAD_EXPECTED),
    step(Stage.GUARDRAIL, 9, 8, Reason.STEP_LIMIT),
    step(Stage.GUARDRAIL, 8, 4, Reason.BOUNDS),
    step(Stage.PLACEMENT, 4, 3, Reason.NO_SLOTS),
)


@pytest.mark.parametrize(
    ("steps", "count", "found"),
    [
        (LIMITED, 3, {Reason.STEP_LIMIT, Reason.BOUNDS, Reason.NO_SLOTS}),
        (LIMITED[:1], 9, set()),
        ((*LIMITED[:2], step(Stage.GUARDRAIL, 8, 9, Reason.BOUNDS)), 9, set()),
        ((step(Stage.POLICY, 4, 2, Reason.NO_TRAFFIC), step(Stage.GUARDRAIL, 2, 3, Reason.STEP_LIMIT)), 3, set()),
        ((step(Stage.SEEN, 2, 2, Reason.SERVE_UNREADABLE),), 2, set()),
    ],
)
def test_what_keeps_a_model_below_what_it_asks_for_is_named(
    steps: tuple[Step, ...], count: int, found: set[Reason]
) -> None:
    assert gauges.limits(replace(GROWING, steps=steps, count=count)) == found


def test_every_reason_that_may_hold_a_model_down_has_a_series() -> None:
    """A guardrail or a placement that is new in the core needs its place in the list."""
    core = Path(loops.__file__).parent / "core"
    sources = "".join((core / f"{name}.py").read_text() for name in ("guardrails", "placement", "decide", "foreign"))
    never_lower = {Reason.NO_FRESH_METRICS, Reason.WORST_NEED, Reason.TARGET_RESET, Reason.SERVE_UNREADABLE}
    used = {Reason[name] for name in re.findall(r"\bReason\.([A-Z_]+)", sources)}
    assert used - never_lower == set(gauges.LIMITS)
