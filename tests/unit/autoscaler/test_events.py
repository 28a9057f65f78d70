"""Changes as Kubernetes Events, on a real API."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from autoscaler.adapters import lease
from autoscaler.adapters.events import Events
from autoscaler.core.decision import SetWorkers
from autoscaler.ports import Change, Tick
from tests import build
from tests.fakes.kubernetes import NAMESPACE, Kubernetes, kubernetes
from tests.unit.autoscaler.ticks import GROWING, IDLE, MODELS_FILE, PLAN, failed
from tests.unit.autoscaler.ticks import tick as any_tick
from vgpu.adapters import kube

POOL = "workers-v100-8q-8gb"
SPEC = build.fleet(build.model("minilm", pool=POOL), build.model("filetype", pool=POOL))


def tick(**changes: Any) -> Tick:
    return any_tick(**{"spec": SPEC, **changes})


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Kubernetes]:
    with kubernetes(tmp_path) as made:
        made.add_pool(POOL, replicas=0)
        yield made


@pytest.fixture
def events(running: Kubernetes) -> Events:
    return Events(running.client, namespace=NAMESPACE)


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
        Events(running.client, namespace=NAMESPACE).record(tick(spec=elsewhere))
    assert "event not written" in caplog.text


def test_a_plan_that_only_moves_workers_is_no_change_of_a_count(running: Kubernetes, events: Events) -> None:
    actions = (SetWorkers(pool=POOL, before=3, count=2, victims=("default/w",)),)
    events.record(tick(plan=replace(PLAN, decisions=(IDLE,), actions=actions)))
    assert written(running) == []


LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": lease.NAME, "namespace": NAMESPACE},
    "spec": {},
}


def told_of_file(running: Kubernetes) -> list[tuple[str, str, str]]:
    """Type, reason and message of each Event that `kubectl describe lease` would show."""
    uid = running.client.read(kube.LEASES, lease.NAME, NAMESPACE)["metadata"]["uid"]
    found: Any = running.client.list(kube.EVENTS, NAMESPACE, fields=f"involvedObject.uid={uid}")
    return [(event["type"], event["reason"], event["message"]) for event in found]


def test_a_changed_models_file_is_told_on_the_lease(running: Kubernetes, events: Events) -> None:
    running.client.create(kube.LEASES, LEASE, NAMESPACE)
    refused = replace(MODELS_FILE, problems=("m.yaml: a", "m.yaml: b"), change=Change.REFUSED)
    quiet = replace(PLAN, decisions=(IDLE,))
    events.record(tick(models_file=refused, plan=quiet))
    events.record(tick(models_file=replace(refused, change=None), plan=quiet))
    events.record(tick(models_file=replace(MODELS_FILE, change=Change.APPLIED), plan=quiet))
    refusal = "the models file is refused, and the last one is followed:\nm.yaml: a\nm.yaml: b"
    assert sorted(told_of_file(running)) == [
        ("Normal", "ModelsFileApplied", "the models file has changed and is followed: minilm, filetype"),
        ("Warning", "ModelsFileRefused", refusal),
    ]


def test_who_does_not_lead_leaves_that_to_the_leader(running: Kubernetes, events: Events) -> None:
    running.client.create(kube.LEASES, LEASE, NAMESPACE)
    events.record(tick(models_file=replace(MODELS_FILE, change=Change.APPLIED), dry_run=True))
    assert told_of_file(running) == []


def test_a_message_is_no_longer_than_the_api_takes(running: Kubernetes, events: Events) -> None:
    running.client.create(kube.LEASES, LEASE, NAMESPACE)
    many = tuple(f"m.yaml: models.m{index}.slot: missing; it has no default" for index in range(100))
    events.record(tick(models_file=replace(MODELS_FILE, problems=many, change=Change.REFUSED), plan=None))
    ((_, _, message),) = told_of_file(running)
    assert len(message) == 1024
    assert message.endswith("…")


class NotedKube:
    """Reads any object and notes the Events: what `Events` needs of `Kube`."""

    def __init__(self) -> None:
        self.noted: list[kube.Event] = []

    def read(self, kind: kube.Kind, name: str, namespace: str) -> dict[str, Any]:
        return {"metadata": {"uid": f"uid of {kind.plural}/{name} in {namespace}"}}

    def record_event(self, event: kube.Event, *, wall: datetime) -> None:
        self.noted.append(event)


def test_where_pools_are_groups_of_a_raycluster_its_events_tell() -> None:
    client = NotedKube()
    Events(client, namespace=NAMESPACE, ray_cluster="shop").record(tick())  # type: ignore[arg-type]  # all it asks for
    assert [event.subject for event in client.noted] == [
        kube.Subject(
            kind="RayCluster",
            name="shop",
            namespace=NAMESPACE,
            uid=f"uid of rayclusters/shop in {NAMESPACE}",
            api_version="ray.io/v1",
        )
    ]
