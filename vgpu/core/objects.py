"""Kubernetes objects as they come from the API (Node and Pod dicts) -> Inventory. Parsing only.

A node or pod that cannot be read is a listed problem, never a crash: one broken label must not hide the rest of the
fleet. The same objects in another order give the same inventory.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vgpu.core import cuts, names
from vgpu.core.hold import is_finished
from vgpu.core.inventory import Gpu, Inventory, Node, Slot, overfull
from vgpu.core.profile import Profile, ProfileError, parse_profile
from vgpu.core.request import pod_key
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_type import Fraction

Json = Mapping[str, Any]

_LABELS_READ = (
    names.LABEL_PROFILE,
    names.LABEL_PROFILE_LEGACY,
    names.LABEL_PHYSICAL_GPU,
    names.LABEL_SCHEDULER_POLICY,
    names.LABEL_DEVICE_KIND,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something in the cluster that could not be read: which object, and what to mend."""

    kind: str
    name: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    inventory: Inventory
    problems: tuple[Problem, ...]


def parse_inventory(nodes: Iterable[Json], pods: Iterable[Json], sizes: Collection[Fraction] = ()) -> Parsed:
    """Read slots from nodes with a profile label, and their holders from the pods bound to them.

    A node's slots are its allocatable `nvidia.com/gpu` (its capacity, where allocatable is not given). A node that
    offers units of its cards has a slot for each part that a pod keeps, and for each that could be cut in one of the
    `sizes`. A node that was taken away has none, whatever its object still says.
    """
    problems: list[Problem] = []
    parsed: list[Node] = []
    gone: list[Node] = []
    shared: list[tuple[Node, SchedulerPolicy, Json]] = []
    for node in sorted(nodes, key=lambda item: str(item["metadata"]["name"])):
        try:
            if _is_gone(node):
                if cuts.shares_by_units(node) or _has_profile(node):
                    gone.append(_bare(node))
            elif cuts.shares_by_units(node):
                labels = node["metadata"].get("labels") or {}
                shared.append((_bare(node), _parse_policy(labels), node))
            elif (labelled := _parse_node(node)) is not None:
                parsed.append(labelled)
        except ValueError as error:
            problems.append(Problem(kind="Node", name=str(node["metadata"]["name"]), message=str(error)))
    nodes_known, doubted = _without_impossible_cards(parsed)
    bound = list(pods)
    holders, unheld = _holders(nodes_known, bound)
    held = Inventory(nodes=nodes_known).with_holders(holders).nodes
    cut_nodes, uncut = cuts.cut(shared, bound, sizes) if shared else ([], [])
    problems += [Problem(kind=kind, name=name, message=message) for kind, name, message in uncut]
    cut_once, repeated = _without_repeated_cards(held, cut_nodes)
    return Parsed(
        inventory=Inventory(nodes=(*held, *cut_once, *gone)), problems=(*problems, *doubted, *unheld, *repeated)
    )


def is_awake(node: Json) -> bool:
    """Whether what runs on a node can be asked anything: it is ready, and its machine was not taken away."""
    return names.ANNOTATION_ASLEEP not in _annotations(node) and _is_ready(node)


def slots_requested(pod: Json) -> int:
    """Whole slots a pod holds: the sum over its containers, or the largest init container if that is more."""
    spec = pod["spec"]
    running = sum(_gpus(container) for container in spec.get("containers", ()))
    starting = max((_gpus(container) for container in spec.get("initContainers") or ()), default=0)
    return max(running, starting)


def _gpus(container: Json) -> int:
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        quantity = (resources.get(kind) or {}).get(names.RESOURCE_GPU)
        if quantity is not None:
            return _parse_count(quantity)
    return 0


def _parse_count(quantity: object) -> int:
    if not re.fullmatch(r"[0-9]+", str(quantity)):
        raise ValueError(f"{names.RESOURCE_GPU} is {quantity!r}; a whole number of slots is expected")
    return int(str(quantity))


def _parse_node(node: Json) -> Node | None:
    """Read one node; None when it carries no profile label, for then it is none of ours."""
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    status: Json = node.get("status") or {}
    profile = _parse_profile_labels(labels)
    if profile is None:
        return None
    gpu = Gpu(
        uuid=labels.get(names.LABEL_PHYSICAL_GPU) or None,
        framebuffer_mib=profile.board_framebuffer_mib,
        # An instance is a fixed part of the card: MIG-backed vGPUs are not time-sliced.
        policy=_parse_policy(labels) if profile.mig_slices is None else SchedulerPolicy.FIXED_SHARE,
    )
    amounts = {**(status.get("capacity") or {}), **(status.get("allocatable") or {})}
    count = _parse_count(amounts.get(names.RESOURCE_GPU, 0))
    bare = _bare(node)
    return replace(
        bare, slots=tuple(Slot(node=bare.name, index=index, profile=profile, gpu=gpu) for index in range(count))
    )


def _bare(node: Json) -> Node:
    """Read all of a node but its slots."""
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    return Node(
        name=str(node["metadata"]["name"]),
        ready=_is_ready(node),
        schedulable=not (node.get("spec") or {}).get("unschedulable", False),
        labels=tuple((key, labels[key]) for key in _LABELS_READ if key in labels),
        leaving=names.ANNOTATION_LEAVING in _annotations(node),
    )


def _is_ready(node: Json) -> bool:
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in (node.get("status") or {}).get("conditions") or ()
    )


def _annotations(node: Json) -> Mapping[str, str]:
    return node["metadata"].get("annotations") or {}


def _is_gone(node: Json) -> bool:
    """Whether its machine was taken away. Between the stop of a machine and the word `asleep` another guest may have
    the card already."""
    annotations = _annotations(node)
    return names.ANNOTATION_ASLEEP in annotations or (names.ANNOTATION_LEAVING in annotations and not _is_ready(node))


def _has_profile(node: Json) -> bool:
    labels = node["metadata"].get("labels") or {}
    return bool(labels.get(names.LABEL_PROFILE) or labels.get(names.LABEL_PROFILE_LEGACY))


def _parse_profile_labels(labels: Mapping[str, str]) -> Profile | None:
    found = {
        key: parse_profile(labels[key]) for key in (names.LABEL_PROFILE, names.LABEL_PROFILE_LEGACY) if labels.get(key)
    }
    if len(set(found.values())) > 1:
        said = " and ".join(f"{key}={labels[key]}" for key in found)
        raise ProfileError(f"{said} contradict each other; remove {names.LABEL_PROFILE_LEGACY}")
    return next(iter(found.values()), None)


def _parse_policy(labels: Mapping[str, str]) -> SchedulerPolicy:
    # NVIDIA's own default is best effort (vGPU user guide, "vGPU Schedulers").
    text = labels.get(names.LABEL_SCHEDULER_POLICY, SchedulerPolicy.BEST_EFFORT)
    try:
        return SchedulerPolicy(text)
    except ValueError:
        known = ", ".join(SchedulerPolicy)
        raise ValueError(f"{names.LABEL_SCHEDULER_POLICY} is {text!r}; one of {known}") from None


def _without_impossible_cards(nodes: list[Node]) -> tuple[tuple[Node, ...], list[Problem]]:
    """Drop the card label of nodes that cannot all lie on the card they name.

    Their slots are real, for the kubelet reports them; only the statement which card they share is wrong. The slots of
    a node that is not ready are only remembered: beside ready nodes that leave no room for them there are none.
    """
    problems: list[Problem] = []
    on_card: dict[str, list[Slot]] = {}
    kept: list[Node] = []
    for node in sorted(nodes, key=lambda node: not node.ready):
        if not node.slots or node.slots[0].gpu.uuid is None:
            kept.append(node)
            continue
        together = (*on_card.get(node.slots[0].gpu_key, ()), *node.slots)
        if (reason := overfull(together)) and not node.ready:
            kept.append(replace(node, slots=()))
            continue
        if reason:
            message = f"{names.LABEL_PHYSICAL_GPU} cannot be right, the card is taken as unknown: {reason}"
            problems.append(Problem(kind="Node", name=node.name, message=message))
            kept.append(_on_unknown_card(node))
            continue
        on_card[node.slots[0].gpu_key] = list(together)
        kept.append(node)
    return tuple(kept), problems


def _without_repeated_cards(known: Iterable[Node], cut_nodes: Iterable[Node]) -> tuple[list[Node], list[Problem]]:
    """Drop the parts of a card that another node says it has too: one of them is gone, and nobody knows which."""
    problems: list[Problem] = []
    on_card: dict[str, tuple[Slot, ...]] = {}
    for slot in (slot for node in known for slot in node.slots):
        on_card[slot.gpu_key] = (*on_card.get(slot.gpu_key, ()), slot)
    kept: list[Node] = []
    for node in cut_nodes:
        mine: dict[str, tuple[Slot, ...]] = {}
        for slot in node.slots:
            mine[slot.gpu_key] = (*mine.get(slot.gpu_key, ()), slot)
        odd = {key: "another node has it too" for key in mine if key in on_card}
        odd |= {key: why for key, slots in mine.items() if key not in odd and (why := overfull(slots))}
        problems += [Problem(kind="Node", name=node.name, message=f"GPU {key}: {why}") for key, why in odd.items()]
        on_card |= mine
        left = [slot for slot in node.slots if slot.gpu_key not in odd]
        kept.append(replace(node, slots=tuple(replace(slot, index=index) for index, slot in enumerate(left))))
    return kept, problems


def _on_unknown_card(node: Node) -> Node:
    card = node.slots[0].gpu
    unknown = Gpu(uuid=None, framebuffer_mib=card.framebuffer_mib, policy=card.policy)
    return replace(node, slots=tuple(replace(slot, gpu=unknown) for slot in node.slots))


def _holders(nodes: tuple[Node, ...], pods: Iterable[Json]) -> tuple[dict[str, str | None], list[Problem]]:
    """Say which pod holds which slot: by its annotation, otherwise the lowest free index of its node.

    Pods with a usable annotation come first, then by name, so that a pod without one never takes another's slot.
    """
    problems: list[Problem] = []
    # What is bound to a node that is not ready, and whose slots are another guest's, does not run.
    free = {node.name: [slot.slot_id for slot in node.slots] for node in nodes if node.slots or node.ready}
    holders: dict[str, str | None] = {}
    bound: list[tuple[str, int, list[str], str]] = []
    for pod in pods:
        node = (pod.get("spec") or {}).get("nodeName")
        if node not in free or is_finished(pod):
            continue
        try:
            count = slots_requested(pod)
        except ValueError as error:
            problems.append(Problem(kind="Pod", name=pod_key(pod), message=str(error)))
            continue
        annotation = (pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_SLOT, "")
        bound.append((pod_key(pod), count, [part for part in annotation.split(",") if part], node))
    bound.sort()
    for key, count, annotated, node in bound:
        for slot_id in annotated[:count]:
            if slot_id in free[node]:
                free[node].remove(slot_id)
                holders[slot_id] = key
    for key, count, _, node in bound:
        missing = count - sum(holder == key for holder in holders.values())
        taken, free[node] = free[node][:missing], free[node][missing:]
        holders.update(dict.fromkeys(taken, key))
        if len(taken) < missing:
            message = f"holds {count} slots of node {node!r}, which has {missing - len(taken)} too few"
            problems.append(Problem(kind="Pod", name=key, message=message))
    return holders, problems
