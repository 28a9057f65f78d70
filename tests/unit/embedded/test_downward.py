"""What a container is told of its pod, as the kubelet resolves it."""

from typing import Any

import pytest

from autoscaler.embedded.downward import Unresolved, environment
from vgpu.core import allocation


def pod(env: list[dict[str, Any]], **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "w1", "namespace": "default", "uid": "u1", "annotations": annotations},
        "spec": {"nodeName": "node-1", "containers": [{"name": "worker", "env": env}]},
    }


def field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def test_fields_and_annotations_are_read_and_put_together() -> None:
    env = [
        field("NODE", "spec.nodeName"),
        field("UNITS", "metadata.annotations['units.example.com/worker']"),
        {"name": "BOTH", "value": "$(NODE)/$(UNITS)/$(LATER)"},
        {"name": "LATER", "value": "x"},
    ]
    made = environment(pod(env, **{"units.example.com/worker": "500"}))
    assert made == {"NODE": "node-1", "UNITS": "500", "BOTH": "node-1/500/$(LATER)", "LATER": "x"}


def test_an_annotation_that_is_not_there_is_empty() -> None:
    assert environment(pod([field("A", "metadata.annotations['none']")])) == {"A": ""}


def test_what_it_does_not_know_is_refused_and_not_guessed() -> None:
    secret = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    with pytest.raises(Unresolved, match="variable KEY comes from"):
        environment(pod([secret]))


def test_the_entries_of_a_fraction_are_all_understood() -> None:
    assert set(environment(pod(allocation.environment("worker"))).values()) == {
        "",
        "node-1",
        "default",
        "w1",
        "node-1/default.w1",
    }
