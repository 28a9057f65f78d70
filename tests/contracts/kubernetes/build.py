"""Objects to create in the contract suite; every one is acceptable to a real server."""

from typing import Any


def pod(name: str, *, labels: dict[str, str] | None = None, **about: Any) -> Any:
    """A pod with two containers."""
    containers = [
        {"name": "main", "image": "example.com/main:1", "env": [{"name": "A", "value": "1"}]},
        {"name": "side", "image": "example.com/side:1"},
    ]
    metadata = {"name": name, "labels": labels or {}, **about}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


def deployment(name: str, *, replicas: int = 1) -> Any:
    """A Deployment of such pods."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod(name)["spec"]}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def config_map(name: str, **about: Any) -> Any:
    """The simplest object there is."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **about}, "data": {"k": "v"}}


def budget(name: str, labels: dict[str, str]) -> Any:
    """A disruption budget that wants one pod."""
    spec = {"minAvailable": 1, "selector": {"matchLabels": labels}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}


def ready(kind: str = "Ready") -> Any:
    """A condition that holds."""
    return {"type": kind, "status": "True", "lastTransitionTime": "2027-01-15T08:00:00Z"}
