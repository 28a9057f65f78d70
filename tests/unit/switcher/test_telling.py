"""What is told over HTTP and to Prometheus: how everything stands, what comes, and what a switch would do."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.unit.switcher.world import BEGAN_S, FILE, INTERVAL_S, LARGE, SMALL, World, world
from vgpu.core.switching.record import Step
from vgpu.switcher import web
from vgpu.switcher.metrics import StandingCollector, Tally
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.room import Wanted
from vgpu.switcher.running import Switcher

GOLDEN = Path(__file__).parents[2] / "goldens" / "switcher" / "metrics.txt"
SCHEDULE = '\nschedule: [{layout: night, at: "22:00"}, {layout: day, at: "07:00"}]\n'


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, file=FILE + SCHEDULE) as made:
        made.serving.state = (Wanted(model="search", seated=2, unplaced=0, slot_types=(SMALL,)),)
        yield made


def desk(here: World, switcher: Switcher) -> web.Desk:
    return web.desk(lambda: switcher.standing, lambda: here.now_s, here.observer(), "default")


def plan(here: World, switcher: Switcher, **query: str) -> Any:
    status, document = desk(here, switcher).plan(query)
    assert status is HTTPStatus.OK, document
    return document


def test_how_a_gpu_stands(here: World) -> None:
    switcher = here.switcher()
    switcher.step()
    switcher.step()
    _, said = desk(here, switcher).switches({})
    assert said == {
        "format": 1,
        "namespace": "default",
        "leader": True,
        "layouts": ["day", "night"],
        "gpus": [
            {
                "gpu": "gpu-a",
                "layout": "day",
                "layouts": ["day", "night"],
                "switch": None,
                "lowest_units": None,
                "request": None,
                "last": [],
                "problem": None,
                "next": {"layout": "night", "at": "2027-01-15T22:00:00+00:00"},
            }
        ],
        "file": {"refused": False, "problems": []},
        "problems": [],
    }


def test_a_switch_under_way_and_the_last_one(here: World) -> None:
    here.hypervisor.broken = lambda operation: (
        ProviderError("suspend", "busy", permanent=False) if operation == "suspend" else None
    )
    switcher = here.switcher()
    switcher.step()
    here.ask("night")
    here.run(switcher, 20, until=lambda: here.step_now() is Step.STOP)
    switcher.step()
    _, said = desk(here, switcher).switches({})
    (gpu,) = said["gpus"]
    # The night's card offers nothing while the day's three guests are gone: what is left are the two elsewhere.
    assert (gpu["switch"]["step"], gpu["lowest_units"], gpu["last"]) == ("stop", 500, [])
    assert "machine node-1 is running" in gpu["switch"]["waits_for"]
    here.hypervisor.broken = lambda operation: None
    here.run(switcher)
    switcher.step()
    _, said = desk(here, switcher).switches({})
    (gpu,) = said["gpus"]
    assert (gpu["switch"], gpu["lowest_units"]) == (None, None)
    assert [(each["id"], each["from"], each["to"], each["result"]) for each in gpu["last"]] == [
        ("hand-1", "day", "night", "done")
    ]


def test_a_plan_has_the_steps_and_the_lowest_capacity(here: World) -> None:
    switcher = here.switcher()
    switcher.step()
    switcher.step()
    answer = plan(here, switcher, layout="night")
    (found,) = answer["plans"]
    assert (found["gpu"], found["origin"], found["target"], found["would_refuse"]) == ("gpu-a", "day", "night", [])
    assert [step["step"] for step in found["steps"]] == list(Step)
    assert (found["lowest"], found["lowest_units"]) == ({SMALL: 2, LARGE: 0}, 500)
    assert here.record().under_way is None


def test_a_plan_says_what_speaks_against_it(here: World) -> None:
    here.serving.state = (Wanted(model="search", seated=4, unplaced=0, slot_types=(SMALL,)),)
    switcher = here.switcher()
    switcher.step()
    switcher.step()
    (found,) = plan(here, switcher, layout="night")["plans"]
    (reason,) = found["would_refuse"]
    assert reason.startswith("replicas would find no slot while the GPU is switched: 2 (search 2); lower what")


def test_a_plan_from_a_layout_that_nobody_could_tell(here: World) -> None:
    here.dead.add("node-1")
    here.kubelets()
    switcher = here.switcher()
    switcher.step()
    (found,) = plan(here, switcher, layout="night")["plans"]
    assert found["would_refuse"][0].startswith("nobody can tell which layout GPU gpu-a is in")
    (found,) = plan(here, switcher, layout="night", **{"from": "day"})["plans"]
    assert (found["origin"], len(found["steps"])) == ("day", 8)


def test_a_plan_while_the_api_is_away(here: World) -> None:
    switcher = here.switcher()
    switcher.step()
    switcher.step()
    here.server.faults.refuse(503, times=100)
    (found,) = plan(here, switcher, layout="night")["plans"]
    here.server.faults.clear()
    assert found["would_refuse"][0].startswith("the fleet cannot be read: GET /api/v1/nodes: 503")


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"layout": "noon"}, "layout 'noon' is not there; the file has day, night"),
        ({}, "layout '' is not there; the file has day, night"),
        ({"layout": "night", "gpu": "gpu-x"}, "GPU 'gpu-x' is not there; the file has gpu-a"),
        ({"layout": "night", "from": "noon"}, "layout 'noon' is not there; the file has day, night"),
    ],
)
def test_a_question_about_what_is_not_there(here: World, query: dict[str, str], error: str) -> None:
    switcher = here.switcher()
    assert desk(here, switcher).plan(query) == (HTTPStatus.NOT_FOUND, {"error": error})


def test_a_plan_that_waits_for_a_provider_holds_no_other_up(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgpu.switcher.web.WAIT_S", 0.01)
    switcher = here.switcher()
    asked = desk(here, switcher)
    with asked._lock:
        status, document = asked.plan({"layout": "night"})
    assert (status, document) == (503, {"error": "another plan has not been worked out for 0.01 s; ask again later"})


def test_probes(here: World) -> None:
    switcher = here.switcher()
    asked = desk(here, switcher)
    assert (asked.unhealthy(), asked.unready()) == ("", "the first pass has not ended")
    switcher.step()
    assert (asked.unhealthy(), asked.unready()) == ("", "")
    here.now_s += 61
    assert asked.unhealthy() == asked.unready() == "no pass has ended for 61 s, more than 60 s"
    here.wire.is_cut = True
    switcher.step()
    assert asked.unhealthy() == ""  # a restart would not bring the API back
    assert asked.unready().startswith("nothing is known, and nothing done: GET /api/v1/namespaces/default/configmaps")


def test_it_is_served(here: World) -> None:
    switcher = here.switcher()
    switcher.step()
    registry = CollectorRegistry()
    registry.register(StandingCollector(lambda: switcher.standing))
    with here.served(web.serve(("127.0.0.1", 0), registry, desk(here, switcher))) as url:
        answers = {
            path: httpx.get(f"{url}{path}", trust_env=False)
            for path in ("/healthz", "/readyz", "/metrics", "/v1/switches", "/v1/plan?layout=noon", "/v1/what")
        }
    assert {path: answer.status_code for path, answer in answers.items()} == {
        "/healthz": 200,
        "/readyz": 200,
        "/metrics": 200,
        "/v1/switches": 200,
        "/v1/plan?layout=noon": 404,
        "/v1/what": 404,
    }
    assert answers["/v1/switches"].json()["gpus"][0]["gpu"] == "gpu-a"
    assert answers["/v1/what"].text == (
        "/v1/what is not here; /metrics, /healthz, /readyz, /v1/switches, /v1/plan are\n"
    )


def test_metrics(here: World) -> None:
    """One switch that was done, one that was refused, and one that is under way."""
    registry = CollectorRegistry()
    tally = Tally(registry)
    tally.know("gpu-a")
    switcher = here.switcher(moved=tally.moved)
    registry.register(StandingCollector(lambda: switcher.standing))
    switcher.step()
    for number, layout in enumerate(("night", "noon")):
        here.ask(layout, number=number)
        here.run(switcher)
    tally.failed("lab", "suspend")
    here.ask("day", number=3)
    here.run(switcher, 3, until=lambda: False)
    text = re.sub(r'version="[^"]*"', 'version="V"', generate_latest(registry).decode())
    if os.environ.get("VGPU_REWRITE_GOLDENS"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_a_refused_request_and_a_refused_file_show(here: World) -> None:
    switcher = here.switcher()
    registry = CollectorRegistry()
    registry.register(StandingCollector(lambda: switcher.standing))
    switcher.step()
    here.ask("noon")
    here.file.write_text("gpus: {}")
    here.run(switcher, 4, until=lambda: False)
    labels = {"gpu": "gpu-a"}
    assert registry.get_sample_value("vgpu_serve_switch_refused", labels) == 1
    assert registry.get_sample_value("vgpu_serve_switcher_config_refused") == 1
    assert registry.get_sample_value("vgpu_serve_switch_problem", labels) == 0
    assert registry.get_sample_value("vgpu_serve_switcher_last_pass_timestamp_seconds") == BEGAN_S + 3 * INTERVAL_S


def test_nothing_is_counted_before_a_switch_has_ended(here: World) -> None:
    registry = CollectorRegistry()
    tally = Tally(registry)
    switcher = here.switcher(moved=tally.moved)
    switcher.step()
    here.ask("night")
    switcher.step()
    under_way = here.record().switch
    assert under_way is not None
    tally.moved(None, replace(under_way, waited_s=9.0))
    assert registry.get_sample_value("vgpu_serve_switch_step_duration_seconds_count", {"step": "cordon"}) is None
