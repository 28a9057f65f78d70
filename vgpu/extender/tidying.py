"""Advice on fragments: which running pods could move where, so that whole GPUs or nodes become free."""

from collections.abc import Mapping
from typing import Any

from vgpu.core.fractions.defragmentation import Goal, Plan, Tenant, advise
from vgpu.core.fractions.shape import Shape
from vgpu.core.hold import Entry, State
from vgpu.core.ledger import Ledger
from vgpu.extender.desk import Desk

Json = Mapping[str, Any]


def tidy(trial: Desk, goal: Goal, most_moves: int | None) -> Json:
    """What could be moved, given a desk of its own.

    A move is checked against units, CPU and memory; what else a pod asks of its node (selectors, affinity, taints) is
    the scheduler's to know. Only pods that are bound, and whose units one container holds, are moved.
    """
    ledger = trial.ledger
    hosts = [trial.host(node) for node in ledger.offers if not ledger.refusal(node)]
    known = {host.name for host in hosts}
    tenants = [
        tenant
        for entry in ledger.entries.values()
        if entry.hold.node in known and (tenant := _tenant(ledger, entry)) is not None
    ]
    return _as_json(advise(hosts, tenants, goal=goal, most_moves=most_moves))


def _tenant(ledger: Ledger, entry: Entry) -> Tenant | None:
    hold = entry.hold
    if hold.allocation is None or not hold.allocation.grants:
        return None
    first = hold.allocation.grants[0]
    held = ledger.units_of(hold)  # a card may stand at another index than when it was granted
    gpus = tuple(gpu.index for gpu in ledger.offers[hold.node].gpus if gpu.key in held)
    is_alone = len(hold.allocation.grants) == 1
    return Tenant(
        pod=hold.pod,
        host=hold.node,
        gpus=gpus,
        shape=Shape(cpu_milli=hold.cpu_milli, memory_mib=hold.memory_mib, gpus=len(first.gpus), units=first.units),
        is_movable=is_alone and entry.state is State.BOUND,
    )


def _as_json(plan: Plan) -> Json:
    return {
        "goal": str(plan.goal),
        "idle_gpus_before": plan.idle_gpus_before,
        "idle_gpus_after": plan.idle_gpus_after,
        "freed_units": sum(step.freed_units for step in plan.steps),
        "steps": [
            {
                "node": step.host,
                "gpu": step.gpu,
                "freed_units": step.freed_units,
                "fragment_units": step.fragment_units,
                "gain_per_move": round(step.gain_per_move, 1),
                "moves": [
                    {
                        "pod": move.pod,
                        "units": move.units,
                        "from": {"node": move.from_host, "gpus": list(move.from_gpus)},
                        "to": {"node": move.to_host, "gpus": list(move.to_gpus)},
                    }
                    for move in step.moves
                ],
            }
            for step in plan.steps
        ],
        "report": list(plan.report()),
    }
