"""Answers questions about what would be: why a pod goes where, and whether more of it would fit. Changes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vgpu.core import names
from vgpu.core.hold import Hold
from vgpu.core.offer import Offer, OfferedGpu, parse_offer
from vgpu.core.request import PodRequest
from vgpu.extender.desk import Desk

Json = Mapping[str, Any]

MOST_PODS = 1000
MOST_NODES_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Nodes that are alike."""

    labels: tuple[tuple[str, str], ...]
    gpus: tuple[tuple[int, int], ...]  # units and framebuffer of each
    cpu_milli: int
    memory_mib: int


def explain(desk: Desk, asked: PodRequest, nodes: Sequence[str] | None = None) -> Json:
    """Give the score and its terms on each node where the pod's largest container fits, and why not elsewhere."""
    named = list(desk.ledger.offers) if nodes is None else list(nodes)
    scores = desk.scores(asked, named)
    proposed = desk.propose(asked, named)
    ranked = sorted(scores.values(), key=lambda choice: (-choice.score, choice.host))
    reasons = desk.reasons(asked, [name for name in named if name not in scores])
    return {
        "pod": asked.pod,
        "policy": desk.policy,
        "asks": [
            {"container": ask.container, "stage": str(ask.stage), "gpus": ask.gpus, "units": ask.units}
            for ask in asked.asks
        ],
        "chosen": _where(proposed),
        "scores": [
            {
                "node": choice.host,
                "gpus": list(choice.gpus),
                "score": choice.score,
                "terms": dict(choice.terms),
            }
            for choice in ranked[:MOST_NODES_SHOWN]
        ],
        "fitting_nodes": len(ranked),
        "refused": _by_reason({**reasons.short, **reasons.hopeless}),
    }


def what_if(trial: Desk, asked: PodRequest, count: int, nodes: Iterable[Json] = ()) -> Json:
    """Place `count` copies of a pod on a trial's desk, and say how many more nodes of each kind the rest needs.

    `nodes` are objects of nodes that do not exist; they are kinds to ask about, not capacity.
    """
    placed: list[Hold] = []
    for number in range(count):
        hold = trial.propose(replace(asked, uid=f"what-if-{number}"), None)
        if hold is None:
            break
        trial.ledger.assume(hold, 0.0)
        placed.append(hold)
    missing = count - len(placed)
    offers = [*trial.ledger.offers.values(), *(parse_offer(node) for node in nodes)]
    more = [_more(kind, asked, missing, trial.policy) for kind in _kinds(offers)] if missing else []
    refused = trial.reasons(asked, list(trial.ledger.offers)) if missing else None
    return {
        "pod": asked.pod,
        "fits": not missing,
        "placed": len(placed),
        "missing": missing,
        "on": [_where(hold) for hold in placed[:MOST_NODES_SHOWN]],
        "more_nodes": [entry for entry in more if entry["nodes"]],
        "unsuitable_kinds": sum(not entry["nodes"] for entry in more),
        "refused": _by_reason({**refused.short, **refused.hopeless}) if refused else {},
    }


def _more(kind: Kind, asked: PodRequest, missing: int, policy: str) -> dict[str, Any]:
    """How many empty nodes of a kind the missing pods need; 0 where not even one fits."""
    empty, fits = _empty(kind, policy), 0
    while fits < missing:
        hold = empty.propose(replace(asked, uid=f"what-if-{fits}"), None)
        if hold is None:
            break
        empty.ledger.assume(hold, 0.0)
        fits += 1
    return {
        "like": dict(kind.labels),
        "gpus": [{"units": units, "framebuffer_mib": mib} for units, mib in kind.gpus],
        "pods_per_node": fits,
        "nodes": -(-missing // fits) if fits else 0,
    }


def _empty(kind: Kind, policy: str) -> Desk:
    desk = Desk(policy)
    offer = Offer(
        node="new",
        gpus=tuple(
            OfferedGpu(index=index, uuid=None, framebuffer_mib=mib, units=units)
            for index, (units, mib) in enumerate(kind.gpus)
        ),
        model=dict(kind.labels).get(names.LABEL_GPU_PRODUCT, ""),
        cpu_milli=kind.cpu_milli,
        memory_mib=kind.memory_mib,
    )
    desk.ledger.offer(offer)
    return desk


def _kinds(offers: Iterable[Offer]) -> list[Kind]:
    found = {
        Kind(
            labels=offer.labels,
            gpus=tuple((gpu.units, gpu.framebuffer_mib) for gpu in offer.gpus),
            cpu_milli=offer.cpu_milli,
            memory_mib=offer.memory_mib,
        )
        for offer in offers
        if offer.gpus
    }
    return sorted(found, key=lambda kind: (kind.labels, kind.gpus, kind.cpu_milli, kind.memory_mib))


def _where(hold: Hold | None) -> Json | None:
    if hold is None or hold.allocation is None:
        return None
    return {
        "node": hold.node,
        "containers": [
            {
                "container": grant.container,
                "gpus": [{"index": gpu.index, "uuid": gpu.uuid} for gpu in grant.gpus],
                "units": grant.units,
                "framebuffer_mib": grant.framebuffer_mib,
            }
            for grant in hold.allocation.grants
        ],
    }


def _by_reason(reasons: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for node, why in sorted(reasons.items()):
        found.setdefault(why, []).append(node)
    return {why: {"count": len(nodes), "nodes": nodes[:MOST_NODES_SHOWN]} for why, nodes in sorted(found.items())}
