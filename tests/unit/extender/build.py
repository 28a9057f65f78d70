"""Pods and nodes as the API server has them, and requests as the scheduler sends them."""

from typing import Any

from vgpu.core import names
from vgpu.core.offer import OfferedGpu, render_gpus

Json = dict[str, Any]


def node(name: str, *framebuffers_mib: int, units: int = 1000, **changes: Any) -> Json:
    """A node with one GPU per framebuffer."""
    gpus = tuple(
        OfferedGpu(index=index, uuid=f"GPU-{name}-{index}", framebuffer_mib=mib, units=units)
        for index, mib in enumerate(framebuffers_mib)
    )
    return {
        "metadata": {"name": name, "annotations": {names.ANNOTATION_GPUS: render_gpus(gpus)}},
        "status": {"allocatable": {names.RESOURCE_VGPU: str(units * len(gpus)), "cpu": "64", "memory": "256Gi"}},
    } | changes


def container(name: str, units: object = None, **more: Any) -> Json:
    """A container that asks for units, or for none."""
    resources = {} if units is None else {"limits": {names.RESOURCE_VGPU: str(units)}}
    return {"name": name, "image": "registry.example/image:1", "resources": resources} | more


def sidecar(name: str, units: object = None) -> Json:
    """An init container that goes on running."""
    return container(name, units, restartPolicy="Always")


def pod(name: str, *containers: Json, init: tuple[Json, ...] = (), uid: str = "", **spec: Any) -> Json:
    """A pod in namespace default that no node has yet."""
    return {
        "metadata": {"name": name, "namespace": "default", "uid": uid or f"uid-{name}", "resourceVersion": "1"},
        "spec": {"containers": list(containers), **({"initContainers": list(init)} if init else {}), **spec},
        "status": {"phase": "Pending"},
    }


def share(name: str, units: object, **more: Any) -> Json:
    """A pod with one container that asks for units."""
    return pod(name, container("main", units), **more)


def bound(given: Json, to: str, annotations: dict[str, str]) -> Json:
    """The pod after its Binding."""
    about = given["metadata"] | {"annotations": (given["metadata"].get("annotations") or {}) | annotations}
    return given | {"metadata": about | {"resourceVersion": "2"}, "spec": given["spec"] | {"nodeName": to}}
