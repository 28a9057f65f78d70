"""What a pod asks for: units of which kind in which container, and what it takes of CPU and memory.

Rule: a request that cannot be meant is refused with the pod, the container and the rule; nothing is guessed or rounded.
Init containers run before the others, one after the other, so the pod needs the largest of them and not their sum; an
init container that restarts always (a sidecar) goes on running and is summed. The formula is the scheduler's own,
"Resource sharing within containers" in the Kubernetes documentation of init containers and sidecars.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vgpu.core import names, quantity
from vgpu.core.fractions.host import MOST_GPUS
from vgpu.core.share import UNITS_PER_GPU

Json = Mapping[str, Any]

MIB = 1 << 20
MOST_ASKS = 64  # containers of one pod with units; each is one step of a search
_READ: Mapping[str, Callable[[str], int]] = {
    names.RESOURCE_GPU: quantity.parse_up,
    "cpu": quantity.parse_milli_up,
    "memory": quantity.parse_up,
}


class RequestRefused(ValueError):
    """A pod whose request, or whose allocation, breaks a rule."""

    def __init__(self, *, pod: str, container: str, rule: str) -> None:
        where = f"pod {pod}, container {container}" if container else f"pod {pod}"
        super().__init__(f"{where}: {rule}")
        self.pod = pod
        self.container = container
        self.rule = rule


class Stage(StrEnum):
    """When a container runs."""

    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one container asks for: `units` of each of `gpus` GPUs; 1 to 999 of one, or 1000 of each."""

    container: str
    stage: Stage
    gpus: int
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRequest:
    """One pod. `asks` are in the order in which containers start. `whole_gpus` are asked for as nvidia.com/gpu."""

    uid: str
    pod: str
    asks: tuple[Ask, ...]
    whole_gpus: int = 0
    cpu_milli: int = 0
    memory_mib: int = 0
    models: frozenset[str] = frozenset()


def parse_request(pod: Json) -> PodRequest:
    """Read a pod; raise RequestRefused."""
    about, spec, key = pod["metadata"], pod.get("spec") or {}, pod_key(pod)
    containers = [(_stage(item), item) for item in spec.get("initContainers") or ()]
    containers += [(Stage.MAIN, item) for item in spec.get("containers") or ()]
    asks = tuple(ask for stage, item in containers if (ask := _ask(key, stage, item)) is not None)
    if len(asks) > MOST_ASKS:
        rule = f"{len(asks)} containers ask for {names.RESOURCE_VGPU}; at most {MOST_ASKS} of one pod may"
        raise RequestRefused(pod=key, container=asks[0].container, rule=rule)
    amounts: dict[str, int] = {}
    for resource, read in _READ.items():
        overhead = {"name": "", "resources": {"requests": spec.get("overhead") or {}}}
        amounts[resource] = _most_at_once([(stage, _amount(key, item, resource, read)) for stage, item in containers])
        amounts[resource] += _amount(key, overhead, resource, read)
    if asks:
        _refuse_whole(key, asks[0], [item for _, item in containers])
    return PodRequest(
        uid=str(about.get("uid") or ""),
        pod=key,
        asks=asks,
        whole_gpus=amounts[names.RESOURCE_GPU],
        cpu_milli=amounts["cpu"],
        memory_mib=-(-amounts["memory"] // MIB),
        models=_models(spec),
    )


def _refuse_whole(pod: str, ask: Ask, containers: Sequence[Json]) -> None:
    """Refuse whole GPUs of the other plugin beside units, in whichever container: the two could be one card."""
    for container in containers:
        if _amount(pod, container, names.RESOURCE_GPU, quantity.parse_up) > 0:
            rule = (
                f"it asks for {names.RESOURCE_GPU}, and container {ask.container} of the pod for "
                f"{names.RESOURCE_VGPU}; keep one: {UNITS_PER_GPU} units are a whole GPU"
            )
            raise RequestRefused(pod=pod, container=str(container.get("name")), rule=rule)


def pod_key(pod: Json) -> str:
    """Name a pod: namespace/name. Before its creation a pod may have the beginning of a name only."""
    about = pod["metadata"]
    return f"{about.get('namespace') or 'default'}/{about.get('name') or about.get('generateName', '')}"


def _stage(container: Json) -> Stage:
    return Stage.SIDECAR if container.get("restartPolicy") == "Always" else Stage.INIT


def _most_at_once(amounts: Sequence[tuple[Stage, int]]) -> int:
    """The most that runs at one time: each init container with the sidecars before it, or all the others together."""
    sidecars, most, running = 0, 0, 0
    for stage, amount in amounts:
        match stage:
            case Stage.INIT:
                most = max(most, sidecars + amount)
            case Stage.SIDECAR:
                sidecars += amount
            case Stage.MAIN:
                running += amount
    return max(most, sidecars + running)


def _amount(pod: str, container: Json, resource: str, read: Callable[[str], int]) -> int:
    """What a container requests, or is limited to where it requests nothing."""
    resources = container.get("resources") or {}
    for kind in ("requests", "limits"):
        given = (resources.get(kind) or {}).get(resource)
        if given is not None:
            try:
                return read(str(given))
            except ValueError as fault:
                rule = f"resources.{kind}[{resource}]: {fault}"
                raise RequestRefused(pod=pod, container=str(container.get("name")), rule=rule) from None
    return 0


def _ask(pod: str, stage: Stage, container: Json) -> Ask | None:
    """Read one container; None when it asks for no units."""
    name, resources = str(container.get("name")), container.get("resources") or {}

    def refuse(rule: str) -> RequestRefused:
        return RequestRefused(pod=pod, container=name, rule=rule)

    given = [(resources.get(kind) or {}).get(names.RESOURCE_VGPU) for kind in ("limits", "requests")]
    said = [amount for amount in given if amount is not None]
    if not said:
        return None
    try:
        amounts = {quantity.parse_whole(amount) for amount in said}
    except ValueError as fault:
        raise refuse(f"{names.RESOURCE_VGPU}: {fault}; write units of 1/{UNITS_PER_GPU} GPU") from None
    if len(amounts) > 1:
        raise refuse(f"{names.RESOURCE_VGPU}: limits say {said[0]} and requests {said[1]}; write the same in both")
    units = amounts.pop()
    if units < 1:
        raise refuse(f"{names.RESOURCE_VGPU} is {units}; ask for 1 or more units, or leave the resource out")
    if _amount(pod, container, names.RESOURCE_GPU, quantity.parse_up) > 0:
        raise refuse(
            f"it asks for {names.RESOURCE_GPU} and {names.RESOURCE_VGPU}; keep one: 1000 units are a whole GPU"
        )
    if units > UNITS_PER_GPU and units % UNITS_PER_GPU:
        below = units // UNITS_PER_GPU * UNITS_PER_GPU
        raise refuse(
            f"{names.RESOURCE_VGPU} is {units}, above {UNITS_PER_GPU} and no multiple of it; ask for up to "
            f"{UNITS_PER_GPU} units of one GPU, or for whole GPUs: {below} or {below + UNITS_PER_GPU}"
        )
    gpus = max(1, units // UNITS_PER_GPU)
    if gpus > MOST_GPUS:
        raise refuse(f"{names.RESOURCE_VGPU} is {units}, {gpus} whole GPUs; a node has at most {MOST_GPUS}")
    return Ask(container=name, stage=stage, gpus=gpus, units=min(units, UNITS_PER_GPU))


def _models(spec: Json) -> frozenset[str]:
    """The GPU model that the pod's own node selector names, if any; the scheduler itself does the refusing."""
    model = (spec.get("nodeSelector") or {}).get(names.LABEL_GPU_PRODUCT)
    return frozenset({str(model)}) if model else frozenset()
