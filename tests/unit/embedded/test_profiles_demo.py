"""Driving `demo-profiles`: the training is deployed, the switcher gets its schedule, and all of it is watched."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from autoscaler.cli import demo_profiles
from autoscaler.embedded import day_night, demo, profiles_demo
from autoscaler.embedded.day_night import Script
from autoscaler.embedded.profiles_demo import Play, Watch
from autoscaler.embedded.switch_timeline import TrainingSeen
from autoscaler.load.schedule import Step
from tests.fakes import web as webs
from tests.fakes.kubernetes import NAMESPACE, Kubernetes, kubernetes
from tests.fakes.web import Answer, Web, as_json
from tests.unit.embedded.nights import BEGAN_AT_S, TRAINING_LINES, answer, by_day, record
from tests.unit.embedded.test_profiles_outcome import conclude
from vgpu.adapters import kube

SHORT = Script(
    day=Step(rate_per_s=40.0, duration_s=0.1),
    night=Step(rate_per_s=40.0, duration_s=0.1),
    next_day=Step(rate_per_s=40.0, duration_s=0.1),
    night_after_s=0.05,
    day_before_s=0.05,
)


@dataclass
class FakeInstallation:
    """Addresses and a cluster."""

    url: str
    autoscaler_url: str
    switcher_url: str | None
    kubeconfig: Path

    def check(self) -> None:
        """Nothing breaks."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WATCH_S", 0.05)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Kubernetes]:
    with kubernetes(tmp_path) as running:
        yield running


@pytest.fixture
def web() -> Iterator[Web]:
    routes = {
        "/v2/models/minilm/infer": as_json({}),
        "/v1/state": as_json(by_day(0).state),
        "/v1/switches": as_json(answer(record("night", 105))),
    }
    with webs.serve(routes) as served:
        yield served


def drive(web: Web, api: Kubernetes, directory: Path) -> Watch:
    watch = Watch()
    play = Play(script=SHORT, seed=1, model="minilm", switcher_file=directory / "profiles.yaml")
    installation: Any = FakeInstallation(web.url, web.url, web.url, api.kubeconfig)
    profiles_demo.drive(installation, play, watch, lambda _: None)
    return watch


def test_the_training_waits_in_the_cluster_while_the_load_is_driven(web: Web, api: Kubernetes, tmp_path: Path) -> None:
    watch = drive(web, api, tmp_path)
    (made,) = api.client.list(kube.DEPLOYMENTS, NAMESPACE)
    assert made["metadata"]["name"] == day_night.TRAINING
    assert len(watch.timeline.samples) > 3
    assert all(not sample.failed for sample in watch.timeline.samples)
    assert watch.timeline.scenes


def test_the_switcher_gets_a_schedule_that_begins_with_the_load(web: Web, api: Kubernetes, tmp_path: Path) -> None:
    watch = drive(web, api, tmp_path)
    written = yaml.safe_load((tmp_path / "profiles.yaml").read_text())
    assert [entry["layout"] for entry in written["schedule"]] == ["night", "day"]
    assert watch.began_at_s > BEGAN_AT_S / 2


def test_switches_are_told_in_seconds_since_the_load_began() -> None:
    watch = Watch(began_at_s=BEGAN_AT_S)
    assert watch.switches == ()
    with webs.serve({"/v1/switches": as_json(answer(record("night", 105)))}) as web:
        watch.look(web.url)
        assert [(switch.target, switch.began_s) for switch in watch.switches] == [("night", 105.0)]
        # A look that fails leaves what was seen.
        web.routes["/v1/switches"] = Answer(status=503)
        watch.look(web.url)
    watch.look("http://127.0.0.1:1")
    assert [switch.target for switch in watch.switches] == ["night"]


def test_the_training_is_read_from_the_logs_of_its_pods_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "training-abc.log").write_text("\n".join(TRAINING_LINES))
    (tmp_path / "workers-x.log").write_text(json.dumps({"event": "step", "step": 9999, "loss": 0.1}))
    assert profiles_demo.training_seen(tmp_path) == TrainingSeen(steps=327, loss_first=3.1, loss_last=1.7, stops=1)


def test_the_end_says_how_it_went(capsys: pytest.CaptureFixture[str]) -> None:

    out = Console(width=200)
    demo_profiles.conclude(out, conclude())
    said = capsys.readouterr().out
    assert "1 × v100-4q-4GB, 1 × v100-8q-8GB" in said
    assert "to night: done in 17 s (check 1.0, cordon 1.0, make_room 10.0," in said
    assert "training: 327 steps, loss 3.10 to 1.70, checkpoint kept 1 times" in said
