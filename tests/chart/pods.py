"""The pods that rendered objects make, wherever their template stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chart.helm import title

Json = Any
_WORKLOADS = ("Deployment", "DaemonSet", "StatefulSet", "Job", "ReplicaSet")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTemplate:
    """A pod as a rendered object describes it."""

    owner: str
    """Kind and name of the object; a group of a RayCluster by its name as well."""
    entry: Json
    """The object."""
    metadata: Json
    spec: Json

    @property
    def component(self) -> str:
        """Kind and component, whatever the release is called."""
        return f"{self.entry['kind']} {self.metadata.get('labels', {}).get('app.kubernetes.io/component', self.owner)}"

    @property
    def containers(self) -> tuple[Json, ...]:
        return (*self.spec.get("initContainers", ()), *self.spec["containers"])

    def container(self, name: str) -> Json:
        return next(container for container in self.containers if container["name"] == name)


def pod_templates(objects: tuple[Json, ...]) -> Iterator[PodTemplate]:
    """Every pod template of the objects."""
    for entry in objects:
        spec = entry.get("spec", {})
        if entry["kind"] == "Pod":
            yield PodTemplate(owner=title(entry), entry=entry, metadata=entry["metadata"], spec=spec)
        elif entry["kind"] in _WORKLOADS:
            yield _template(title(entry), entry, spec["template"])
        elif entry["kind"] == "CronJob":
            yield _template(title(entry), entry, spec["jobTemplate"]["spec"]["template"])
        elif entry["kind"] == "RayCluster":
            for group in (spec["headGroupSpec"], *spec.get("workerGroupSpecs", ())):
                name = f"{title(entry)} {group.get('groupName', 'head')}"
                yield _template(name, entry, group["template"])


def _template(owner: str, entry: Json, template: Json) -> PodTemplate:
    return PodTemplate(owner=owner, entry=entry, metadata=template.get("metadata", {}), spec=template["spec"])
