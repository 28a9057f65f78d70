"""The builders refuse worlds that could not be."""

import pytest

from autoscaler.core.observation import DeploymentSeen, PoolSeen, ReplicaSample, SlotReading
from tests import build
from tests.build import ImpossibleStateError, deployment, pool, sample, worker

STOCK = build.inventory(build.node("n1", slots=2, held={0: "s/w1", 1: "s/w2"}))


@pytest.mark.parametrize(
    ("pools", "deployments", "replicas", "slots", "message"),
    [
        ([], [deployment(running={"r1": "s/w1", "r2": "s/w1"})], [], [], "two replicas live in one worker"),
        ([pool(worker("s/w1"))], [deployment(running={"r1": "s/w9"})], [], [], "workers that no pool has"),
        ([pool(worker("s/w9"))], [], [], [], "workers sit on nodes and hold no slot"),
        ([], [deployment()], [sample("r1")], [], "metrics come from a replica that Serve does not list"),
        ([], [deployment(running={"r1": None})], [sample("r1", slot_id="n9/0")], [], "a replica names a slot"),
        ([], [], [], [SlotReading(slot_id="n9/0", at_s=0, busy_ratio=0)], "a reading is of a slot"),
    ],
)
def test_an_impossible_world_is_refused(
    pools: list[PoolSeen],
    deployments: list[DeploymentSeen],
    replicas: list[ReplicaSample],
    slots: list[SlotReading],
    message: str,
) -> None:
    with pytest.raises(ImpossibleStateError, match=message):
        build.world(STOCK, pools=pools, deployments=deployments, replicas=replicas, slots=slots)


def test_a_held_slot_must_exist() -> None:
    with pytest.raises(ImpossibleStateError, match="node n1 has 1 slots"):
        build.node("n1", slots=1, held={3: "s/w1"})


def test_a_worker_is_ready_somewhere() -> None:
    with pytest.raises(ImpossibleStateError, match="worker s/w1 is ready on no node"):
        worker("s/w1", None)


def test_a_possible_world_is_passed_on_whole() -> None:
    seen = build.world(
        STOCK,
        pools=[pool(worker("s/w1"))],
        deployments=[deployment(running={"r1": "s/w1"})],
        replicas=[sample("r1")],
        slots=[SlotReading(slot_id="n1/0", at_s=0, busy_ratio=0.5)],
        missing=[build.absent()],
    )
    assert (len(seen.pools), len(seen.deployments), len(seen.replicas), len(seen.slots), len(seen.missing)) == (
        1, 1, 1, 1, 1,
    )  # fmt: skip
