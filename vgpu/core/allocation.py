"""What was decided for a pod, as annotations on it: written by the extender on the Binding, read back by everybody.

`vgpu-serve.io/allocation` is the truth: `v1`, the node, and one word per container that got units,
`CONTAINER=UNITS:MIB@GPU[,GPU…]` with a GPU as `INDEX/UUID`, or `INDEX` where no UUID is known. Units and MiB are those
of each GPU. `v1 gpu-1 main=500:8192@0/GPU-6f1c side=1000:16384@1/GPU-90aa,2/GPU-17d0`

A reader refuses a first word that it does not know, so that a later form can never be misread; within `v1` nothing
changes. The per-container annotations say the same for the downward API, which hands a container whole values only.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vgpu.core import assignment, names
from vgpu.core.offer import Offer, gpu_key
from vgpu.core.request import PodRequest, RequestRefused
from vgpu.core.share import UNITS_PER_GPU

Json = Mapping[str, Any]

VERSION = "v1"
_GPU = r"[0-9]{1,4}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,127})?"
_WORD = re.compile(
    rf"(?P<container>[a-z0-9][a-z0-9-]{{0,62}})=(?P<units>[0-9]{{1,4}}):(?P<mib>[0-9]{{1,9}})@(?P<gpus>{_GPU}(?:,{_GPU})*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedGpu:
    """A GPU of the pod's node."""

    index: int
    uuid: str | None

    @property
    def key(self) -> str:
        """The card's UUID; its index where that is not known."""
        return gpu_key(self.index, self.uuid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one container got: `units` and `framebuffer_mib` of each of `gpus`."""

    container: str
    gpus: tuple[GrantedGpu, ...]
    units: int
    framebuffer_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What one pod got, and where. `kept_units` by GPU key: the most it needs of each at any time."""

    node: str
    grants: tuple[Grant, ...]
    kept_units: tuple[tuple[str, int], ...]


def allocate(request: PodRequest, offer: Offer, gpus: Sequence[Sequence[int]]) -> Allocation:
    """Write down a decision: for each ask its GPU indices. A fraction's MiB are rounded down, so shares never add up
    to more than the card; of GPUs of different size the smallest counts, for a container is told one number."""
    grants = tuple(
        Grant(
            container=ask.container,
            gpus=tuple(GrantedGpu(index=index, uuid=offer.gpus[index].uuid) for index in chosen),
            units=ask.units,
            framebuffer_mib=min(ask.units * offer.gpus[index].framebuffer_mib for index in chosen) // UNITS_PER_GPU,
        )
        for ask, chosen in zip(request.asks, gpus, strict=True)
    )
    return Allocation(node=offer.node, grants=grants, kept_units=_kept(request, grants))


def _kept(request: PodRequest, grants: Sequence[Grant]) -> tuple[tuple[str, int], ...]:
    keys = [[gpu.key for gpu in grant.gpus] for grant in grants]
    return tuple(sorted(assignment.kept(request.asks, keys).items()))


def annotations(allocation: Allocation) -> dict[str, str]:
    """Render what the Binding carries."""
    found = {names.ANNOTATION_ALLOCATION: _render(allocation)}
    for grant in allocation.grants:
        found[names.ANNOTATION_PREFIX_DEVICES + grant.container] = ",".join(
            gpu.uuid or str(gpu.index) for gpu in grant.gpus
        )
        found[names.ANNOTATION_PREFIX_UNITS + grant.container] = str(grant.units)
        found[names.ANNOTATION_PREFIX_FRAMEBUFFER_MIB + grant.container] = str(grant.framebuffer_mib)
    return found


def _render(allocation: Allocation) -> str:
    words = [
        f"{grant.container}={grant.units}:{grant.framebuffer_mib}@"
        + ",".join(str(gpu.index) + (f"/{gpu.uuid}" if gpu.uuid else "") for gpu in grant.gpus)
        for grant in allocation.grants
    ]
    return " ".join((VERSION, allocation.node, *words))


def parse_allocation(request: PodRequest, pod: Json) -> Allocation:
    """Read a bound pod's annotations and check them against what the pod asks for; raise RequestRefused."""
    held: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    text, node = held.get(names.ANNOTATION_ALLOCATION), str(pod["spec"].get("nodeName") or "")

    def refuse(rule: str, container: str = "") -> RequestRefused:
        return RequestRefused(pod=request.pod, container=container, rule=f"{names.ANNOTATION_ALLOCATION}: {rule}")

    if text is None:
        raise refuse(f"missing, so nobody knows which GPU of node {node} it holds; delete the pod", _first(request))
    version, *words = str(text).split(" ")
    if version != VERSION:
        raise refuse(f"begins with {version[:20]!r}; only {VERSION} is known here")
    if not words or words[0] != node:
        raise refuse(f"names node {words[0][:80] if words else ''!r}, the pod is on {node!r}")
    grants = tuple(_parse_grant(word, refuse) for word in words[1:])
    for ask, grant in zip(request.asks, grants, strict=False):
        if (ask.container, ask.units, ask.gpus) != (grant.container, grant.units, len(grant.gpus)):
            rule = f"says {grant.units} units of {len(grant.gpus)} GPUs for {grant.container}"
            raise refuse(f"{rule}, the container asks for {ask.units} of {ask.gpus}", ask.container)
    if len(grants) != len(request.asks):
        raise refuse(
            f"names {len(grants)} containers, {len(request.asks)} ask for {names.RESOURCE_VGPU}", _first(request)
        )
    kept = _kept(request, grants)
    for key, units in kept:
        if units > UNITS_PER_GPU:
            raise refuse(f"adds up to {units} units of GPU {key}", _first(request))
    return Allocation(node=node, grants=grants, kept_units=kept)


def _first(request: PodRequest) -> str:
    return request.asks[0].container if request.asks else ""


def _parse_grant(word: str, refuse: Callable[..., RequestRefused]) -> Grant:
    match = _WORD.fullmatch(word)
    if match is None:
        raise refuse(f"{word[:80]!r} is not CONTAINER=UNITS:MIB@INDEX/UUID")
    gpus = []
    for item in match["gpus"].split(","):
        index, _, uuid = item.partition("/")
        gpus.append(GrantedGpu(index=int(index), uuid=uuid or None))
    if len({gpu.key for gpu in gpus}) < len(gpus):
        raise refuse("names one GPU twice", match["container"])
    return Grant(
        container=match["container"],
        gpus=tuple(gpus),
        units=int(match["units"]),
        framebuffer_mib=int(match["mib"]),
    )


def environment(container: str) -> list[dict[str, Any]]:
    """Build the env entries by which a container reads its grant from its own pod's annotations.

    The kubelet resolves them when it starts the container, after the Binding that wrote them. Where nothing was
    written the value is empty, which NVIDIA's runtime takes as no GPU.
    """
    sources = {
        names.ENV_NVIDIA_VISIBLE_DEVICES: names.ANNOTATION_PREFIX_DEVICES,
        names.ENV_SLOT_UNITS: names.ANNOTATION_PREFIX_UNITS,
        names.ENV_SLOT_FRAMEBUFFER_MIB: names.ANNOTATION_PREFIX_FRAMEBUFFER_MIB,
    }
    fields = {name: f"metadata.annotations['{prefix}{container}']" for name, prefix in sources.items()}
    fields |= {
        names.ENV_NODE: "spec.nodeName",
        names.ENV_NAMESPACE: "metadata.namespace",
        names.ENV_POD: "metadata.name",
    }
    entries: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()
    ]
    # By this a node's exporter tells whose a process is; see `cuts` for the form.
    slot_id = f"$({names.ENV_NODE})/$({names.ENV_NAMESPACE}).$({names.ENV_POD})"
    return [*entries, {"name": names.ENV_SLOT_ID, "value": slot_id}]
