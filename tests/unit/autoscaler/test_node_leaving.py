"""The whole loop while nodes are taken away: what it does in the world, and what it says of it."""

from autoscaler.adapters import view
from autoscaler.adapters.telemetry import Telemetry
from autoscaler.core.decision import Reason
from tests import build
from tests.unit.autoscaler.whole import POOL, Whole, quick_spec, whole
from vgpu.switcher.room import Wanted, parse_state


def leave(made: Whole, *nodes: str) -> None:
    made.cluster.inventory = build.leaving(made.cluster.inventory, *nodes)


def test_a_replica_moves_and_its_worker_alone_is_removed() -> None:
    made = whole()
    made.run(5.0)
    ((old, node),) = made.cluster.workers.items()
    leave(made, node)
    made.changes.clear()
    ticks = made.run(20.0)
    assert [change for change in made.changes if change[0] != POOL] == [("minilm", 2), ("drain", (old,)), ("minilm", 1)]
    assert [change for change in made.changes if change[0] == POOL][-1] == (POOL, 1, (), (old,))
    ((new, other),) = made.cluster.workers.items()
    assert (list(made.serving.running), other != node) == ([new], True)
    assert [tick.problems for tick in ticks if tick.problems or tick.failed_actions] == []


def test_what_is_on_leaving_nodes_is_said_wherever_people_look() -> None:
    """The second node is taken as well, so that there is no slot for a successor."""
    made = whole(nodes=2, workers=2, target=2, spec=quick_spec(min_replicas=2))
    made.run(5.0)
    leave(made, "n0", "n1")
    tick = made.run(2.0)[-1]
    (model,) = view.render(tick)["models"]
    assert model["reason"] == Reason.NODE_LEAVING
    wanted = {name: model[f"replicas_{name}"] for name in ("running", "desired", "unplaced", "leaving")}
    assert (wanted, model["slot_types"]) == (
        {"running": 2, "desired": 2, "unplaced": 0, "leaving": 2}, ["v100-8q-8GB"],
    )  # fmt: skip
    assert parse_state(view.render(tick)) == (
        Wanted(model="minilm", seated=2, unplaced=0, slot_types=("v100-8q-8GB",)),
    )
    assert [(node["name"], node["leaving"]) for node in view.render(tick)["nodes"]] == [("n0", True), ("n1", True)]
    telemetry = Telemetry(version="0")
    telemetry.record(tick)
    written = telemetry.answer("/metrics")[2].decode()
    assert 'vgpu_serve_replicas_leaving{model="minilm"} 2.0' in written
    assert 'vgpu_serve_replicas{model="minilm",state="desired"} 2.0' in written
    explained = view.explain(tick, "minilm")
    assert explained is not None
    assert "nodes that leave made it 2 (2 on them, of which 0 have a successor that runs and 2 find no slot)" in str(
        explained["sentence"]
    )


def test_a_dry_run_moves_nothing() -> None:
    made = whole(dry_run=True)
    made.run(5.0)
    ((old, node),) = made.cluster.workers.items()
    leave(made, node)
    made.run(20.0)
    assert (made.changes, list(made.serving.running)) == ([], [old])
