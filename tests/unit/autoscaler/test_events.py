"""Changes as Kubernetes Events, on a real API."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscaler.adapters.events import Events
from autoscaler.core.decision import SetWorkers
from tests import build
from tests.fakes.kubernetes import NAMESPACE, Kubernetes, kubernetes
from tests.unit.autoscaler.ticks import GROWING, IDLE, PLAN, failed, tick
from vgpu.adapters import kube

POOL = "workers-v100-8q-8gb"
SPEC = build.fleet(build.model("minilm", pool=POOL), build.model("filetype", pool=POOL))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Kubernetes]:
    with kubernetes(tmp_path) as made:
        made.add_pool(POOL, replicas=0)
        yield made


@pytest.fixture
def events(running: Kubernetes) -> Events:
    return Events(running.client, SPEC, namespace=NAMESPACE)


def written(running: Kubernetes) -> list[tuple[str, str]]:
    """Reason and message of each Event that `kubectl describe` of the pool would show."""
    uid = running.client.read(kube.DEPLOYMENTS, POOL, NAMESPACE)["metadata"]["uid"]
    found: Any = running.client.list(kube.EVENTS, NAMESPACE, fields=f"involvedObject.uid={uid}")
    return [(event["reason"], event["message"]) for event in found]


def test_each_changed_model_is_one_event_on_its_pool(running: Kubernetes, events: Events) -> None:
    events.record(tick())
    assert written(running) == [("ScaledUp", GROWING.sentence())]


def test_a_fall_is_told_as_one(running: Kubernetes, events: Events) -> None:
    shrinking = replace(IDLE, current=3)
    events.record(tick(plan=replace(PLAN, decisions=(shrinking,))))
    assert written(running) == [("ScaledDown", shrinking.sentence())]


def test_what_is_held_is_no_event(running: Kubernetes, events: Events) -> None:
    events.record(tick(plan=replace(PLAN, decisions=(IDLE,))))
    events.record(failed())
    assert written(running) == []


def test_a_dry_run_tells_nobody_that_something_was_scaled(running: Kubernetes, events: Events) -> None:
    events.record(tick(dry_run=True))
    assert written(running) == []


def test_an_api_that_is_away_only_costs_the_event(
    running: Kubernetes, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    running.server.faults.refuse(500, times=2)
    with caplog.at_level(logging.WARNING):
        events.record(tick())
        events.record(tick())
    assert caplog.text.count("event not written") == 2
    events.record(tick())
    assert len(written(running)) == 1


def test_a_pool_without_a_deployment_only_costs_the_event(
    running: Kubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = build.fleet(build.model("minilm", pool="gone"), build.model("filetype", pool="gone"))
    with caplog.at_level(logging.WARNING):
        Events(running.client, elsewhere, namespace=NAMESPACE).record(tick())
    assert "event not written" in caplog.text


def test_a_plan_that_only_moves_workers_is_no_change_of_a_count(running: Kubernetes, events: Events) -> None:
    actions = (SetWorkers(pool=POOL, before=3, count=2, victims=("default/w",)),)
    events.record(tick(plan=replace(PLAN, decisions=(IDLE,), actions=actions)))
    assert written(running) == []
