"""Two models in a pool without a free slot: the one that goes first takes, but not from what cannot be read."""

import pytest

from autoscaler.core.decide import decide
from autoscaler.core.decision import Plan, SetReplicas
from autoscaler.core.observation import Observation, SlotReading
from autoscaler.core.state import State
from tests import build

SLOTS = ("n1/0", "n1/1", "n2/0", "n2/1")
WORKERS = ("s/w0", "s/w1", "s/w2", "s/w3")
STOCK = build.inventory(
    build.node("n1", slots=2, card="GPU-1", held={0: WORKERS[0], 1: WORKERS[1]}),
    build.node("n2", slots=2, card="GPU-2", held={0: WORKERS[2], 1: WORKERS[3]}),
)
FLEET = build.fleet(build.model("low", max_replicas=4), build.model("high", priority=1, max_replicas=4))
LOW = {"l1": WORKERS[1], "l2": WORKERS[2], "l3": WORKERS[3]}
LOADED_S, HIDDEN_S, END_S = 24, 10, 50
"""What is hidden is missed 10 s later, when its last reading has become too old."""


def observed(now_s: int, targets: dict[str, int], hidden: str) -> Observation:
    """High's one replica is drowned from LOADED_S on; low's three have little to do, and hide something."""
    late = 30 * max(0, now_s - LOADED_S)
    drowned = now_s >= LOADED_S
    high = build.sample(
        "h1",
        now_s,
        build.counters({20: 2 * min(now_s, LOADED_S), 900: late}, busy_s=max(0, now_s - LOADED_S) * 0.99),
        model="high",
        slot_id=SLOTS[0],
        in_flight=30 * drowned,
        queued=29 * drowned,
    )
    low = [
        build.sample(name, now_s, build.counters({20: 5 * now_s}, busy_s=now_s * 0.1), model="low", slot_id=slot)
        for name, slot in zip(LOW, SLOTS[1:], strict=True)
    ]
    deployments = [
        build.deployment(
            model="high",
            at_s=now_s,
            target=targets["high"],
            running={"h1": WORKERS[0]},
            starting=[f"u{number}" for number in range(targets["high"] - 1)],
        ),
        build.deployment(model="low", at_s=now_s, target=targets["low"], running=LOW),
    ]
    if now_s >= HIDDEN_S:
        low = {"replicas": [], "one replica": low[1:]}.get(hidden, low)
        deployments = deployments[:1] if hidden == "deployment" else deployments
    pods = (build.worker(worker, slot[:2]) for worker, slot in zip(WORKERS, SLOTS, strict=True))
    return Observation(
        replicas=(high, *low),
        deployments=tuple(deployments),
        pools=(build.pool(*pods, at_s=now_s),),
        slots=tuple(SlotReading(slot_id=slot, at_s=now_s, busy_ratio=0.2) for slot in SLOTS),
    )


def told(hidden: str) -> tuple[Plan, dict[str, int]]:
    """The last plan and the targets that were set."""
    state, targets = State(), {"low": 3, "high": 1}
    for now_s in range(END_S):
        state, plan = decide(FLEET, state, observed(now_s, targets, hidden), STOCK, float(now_s))
        targets |= {action.model: action.count for action in plan.actions if isinstance(action, SetReplicas)}
    return plan, targets


def test_a_model_of_lower_priority_yields() -> None:
    _, targets = told("nothing")
    assert targets["low"] < 3


@pytest.mark.parametrize("hidden", ["deployment", "replicas", "one replica"])
def test_what_cannot_be_read_is_not_taken(hidden: str) -> None:
    plan, targets = told(hidden)
    counts = {decision.model: decision.count for decision in plan.decisions}
    assert (counts["low"], targets["low"]) == (3, 3)
    assert targets["high"] == 1, "every worker holds a replica"


def test_a_replica_that_cannot_be_read_still_lives_in_its_worker() -> None:
    """Its slot is not free for anybody; that of a replica still to come is."""
    assert observed(HIDDEN_S, {"low": 3, "high": 2}, "replicas").lived_in == set(WORKERS)
