"""Objects for the API server's tests, and a store whose time and names are given."""

import random
from collections.abc import Callable
from typing import Any

from autoscaler.embedded.apiserver.store import Store

Json = dict[str, Any]

START_S = 1_800_000_000.0  # 2027-01-15T08:00:00Z


class Clock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


def store(clock: Callable[[], float] | None = None, **options: Any) -> Store:
    """Make an empty store; its four first namespaces take versions 1 to 4."""
    return Store(clock=clock or Clock(), randomness=random.Random(7), **options)


def pod(name: str = "p", *, labels: Json | None = None, **spec: Any) -> Json:
    """Make a pod to create."""
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec},
    }


def deployment(name: str = "d", *, replicas: int = 1, image: str = "i:1") -> Json:
    """Make a Deployment to create."""
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def ready(since: str = "2027-01-15T08:00:00Z", *, is_so: bool = True) -> Json:
    """Make a Ready condition."""
    return {"type": "Ready", "status": str(is_so), "lastTransitionTime": since}
