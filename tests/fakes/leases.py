"""Leases in memory, as an API server keeps them."""

from dataclasses import dataclass, field
from typing import Any

from vgpu.adapters.kube_errors import Conflict, NotFound, Unavailable


@dataclass
class MemoryLeases:
    """Leases of one namespace under optimistic concurrency."""

    held: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    is_away: bool = False

    def read_lease(self, namespace: str, name: str) -> Any:
        if self.is_away:
            raise Unavailable("GET lease", "timed out")
        if name not in self.held:
            raise NotFound("GET lease", name)
        return self.held[name]

    def create_lease(self, namespace: str, manifest: Any) -> Any:
        if manifest["metadata"]["name"] in self.held:
            raise Conflict("POST lease", "exists")
        return self._write(manifest)

    def replace_lease(self, namespace: str, manifest: Any) -> Any:
        if manifest["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict("PUT lease", "stale")
        return self._write(manifest)

    def _write(self, manifest: Any) -> Any:
        self.version += 1
        about = manifest["metadata"] | {"resourceVersion": str(self.version)}
        self.held[about["name"]] = manifest | {"metadata": about}
        return self.held[about["name"]]
