"""A cluster in memory behind the adapter's own verbs, for what needs no HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tests.unit.extender.world import Api
from vgpu.adapters.kube_verbs import Event, Json, Kind, Request, Verbs
from vgpu.extender.binding import ReadPod, WriteBinding


@dataclass
class MemoryCluster(Verbs):
    """Pods; `fail_next` is raised by the next call."""

    api: Api = field(default_factory=Api)
    told: list[Event] = field(default_factory=list)
    fail_next: Exception | None = None

    def send(self, request: Request) -> Json:
        raise AssertionError(f"{request.method} {request.path} is not played here")

    def read(self, kind: Kind, name: str, namespace: str = "") -> Json:
        self._fail()
        return self.api.read(ReadPod(name=name, namespace=namespace))

    def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> tuple[Json, ...]:
        self._fail()
        return tuple(self.api.pods.values())

    def bind_pod(self, name: str, namespace: str, *, node: str, annotations: Mapping[str, str], uid: str = "") -> None:
        self._fail()
        self.api.bind(WriteBinding(name=name, namespace=namespace, uid=uid, node=node, annotations=annotations))

    def record_event(self, event: Event, *, wall: datetime) -> None:
        self._fail()
        self.told.append(event)

    def _fail(self) -> None:
        fault, self.fail_next = self.fail_next, None
        if fault is not None:
            raise fault
