"""Nodes that will be taken away, as whole stories: what is done for whom, in which order, and what is said of it."""

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.adapters import view
from autoscaler.core.decide import decide
from autoscaler.core.decision import Action, DrainWorkers, Plan, Reason, SetReplicas, SetWorkers
from autoscaler.core.learning import Learned
from autoscaler.core.observation import Missing, MissingReason, Observation, Source
from autoscaler.core.state import Evacuation, Moving, State
from tests import build
from tests.unit.core import two_types
from tests.unit.core.fleet import ToyFleet
from tests.unit.core.joined_fleet import JoinedFleet
from tests.unit.core.two_types import BIG, SMALL
from vgpu.core.inventory import Inventory
from vgpu.core.share import SchedulerPolicy

OLD = ("serving/w001", "serving/w002", "serving/w003")
NEW = ("serving/w007", "serving/w008", "serving/w009")


def nodes(count: int) -> Inventory:
    """One slot each, every node on a card of its own."""
    return build.inventory(*(build.node(f"n{place}", card=f"GPU-{place}") for place in range(count)))


def three(*, free: int, load_per_s: float = 25.0, **fields: Any) -> ToyFleet:
    """Three replicas at rest on n0, n1 and n2, the most there may be, with as many more nodes as are free."""
    model = build.model(min_replicas=3, max_replicas=3)
    return ToyFleet(
        spec=build.fleet(model), stock=nodes(3 + free), load_per_s=lambda _: load_per_s, target=3, **fields
    ).run(60)


def leave(fleet: ToyFleet, *names: str) -> ToyFleet:
    fleet.stock = build.leaving(fleet.stock, *names)
    return fleet


def actions(fleet: ToyFleet, seconds: int) -> list[tuple[int, tuple[Action, ...]]]:
    """By second from now: what is done."""
    first = len(fleet.plans)
    plans = fleet.run(seconds).plans[first:]
    return [(second, plan.actions) for second, plan in enumerate(plans) if plan.actions]


def numbers(plan: Plan) -> dict[str, float]:
    (step,) = [step for step in plan.decisions[0].steps if step.reason is Reason.NODE_LEAVING]
    return dict(step.numbers)


def test_successors_come_first_even_beyond_the_most_and_then_exactly_those_go() -> None:
    """Workers take 2 s, replicas 3. Pods are w001 to w003, then w007 to w009: replicas are counted as well."""
    fleet = leave(three(free=3), "n0", "n1", "n2")
    assert actions(fleet, 60) == [
        (0, (SetWorkers(pool="v100-8q", before=3, count=6, preferred_nodes=("n3", "n4", "n5")),)),
        (3, (SetReplicas(model="minilm", before=3, count=6),)),
        (7, (DrainWorkers(model="minilm", workers=OLD), SetReplicas(model="minilm", before=6, count=3))),
        (8, (SetWorkers(pool="v100-8q", before=6, count=3, victims=OLD),)),
    ]
    assert tuple(sorted(fleet.workers)) == NEW
    assert fleet.state.models["minilm"].evacuation is None


def test_nobody_goes_while_a_successor_still_starts() -> None:
    """Ray Serve would end that one for the target that falls. The last of the three takes ten seconds longer."""
    fleet = leave(three(free=3), "n0", "n1", "n2").run(4)
    slow = max(fleet.replicas.values(), key=lambda replica: replica.replica_id)
    slow.ready_s += 10.0
    assert [second for second, _ in actions(fleet, 60)] == [13, 14]
    assert (tuple(sorted(fleet.workers)), len(fleet.running())) == (NEW, 3)


def test_where_nothing_stays_the_count_is_what_those_that_leave_can_bear() -> None:
    """Two slots of one card are all there is: no free slot says what a successor could do."""
    stock = build.inventory(build.node("n0", slots=2, card="GPU-0", policy=SchedulerPolicy.FIXED_SHARE))
    model = build.model(min_replicas=1, scale_down_window_s=30.0)
    fleet = ToyFleet(spec=build.fleet(model), stock=stock, load_per_s=lambda _: 6.0, replica_delay_s=2.0).run(200)
    usual = fleet.decision.count
    leave(fleet, "n0").run(60)
    leave(fleet).run(60)
    assert set(fleet.counts[190:]) == {usual}


def test_where_slots_are_short_as_many_go_as_fit_and_the_others_go_on_serving() -> None:
    fleet = leave(three(free=1), "n0", "n1", "n2")
    assert actions(fleet, 120) == [
        (0, (SetWorkers(pool="v100-8q", before=3, count=4, preferred_nodes=("n3",)),)),
        (3, (SetReplicas(model="minilm", before=3, count=4),)),
        (7, (DrainWorkers(model="minilm", workers=OLD[:1]), SetReplicas(model="minilm", before=4, count=3))),
        (8, (SetWorkers(pool="v100-8q", before=4, count=3, victims=OLD[:1]),)),
    ]
    assert numbers(fleet.plans[-1]) == {"on_leaving": 2, "successors_running": 0, "short": 2}
    assert (fleet.decision.count, fleet.decision.unplaced, view.desired(fleet.decision)) == (3, 0, 3)


def test_without_any_slot_nothing_is_done_and_it_is_said_why() -> None:
    fleet = leave(three(free=0), "n0", "n1", "n2")
    assert actions(fleet, 60) == []
    assert numbers(fleet.plans[-1]) == {"on_leaving": 3, "successors_running": 0, "short": 3}
    assert fleet.decision.sentence().endswith(
        "nodes that leave made it 3 (3 on them, of which 0 have a successor that runs and 3 find no slot)"
    )
    assert {why for _, why in fleet.decision.blocked} == {"leaving"}


def test_only_those_on_leaving_nodes_go() -> None:
    fleet = leave(three(free=3), "n1")
    assert actions(fleet, 60)[-2:] == [
        (7, (DrainWorkers(model="minilm", workers=OLD[1:2]), SetReplicas(model="minilm", before=4, count=3))),
        (8, (SetWorkers(pool="v100-8q", before=4, count=3, victims=OLD[1:2]),)),
    ]


def test_the_word_taken_back_before_a_successor_runs_cancels_what_was_begun() -> None:
    fleet = leave(three(free=3), "n0", "n1", "n2").run(5)
    assert actions(leave(fleet), 120) == [
        (0, (SetReplicas(model="minilm", before=6, count=3),)),
        (31, (SetWorkers(pool="v100-8q", before=6, count=3, victims=NEW),)),
    ]


def test_successors_that_run_when_the_word_is_taken_back_fall_by_the_usual_rules() -> None:
    """One at a time, with a pause between, and never up again: 6 run for a load that needs 3."""
    model = build.model(min_replicas=1, max_replicas=8, scale_down_window_s=30.0)
    fleet = ToyFleet(spec=build.fleet(model), stock=nodes(8), load_per_s=lambda _: 25.0).run(400)
    before = len(fleet.running())
    held = sorted({slot.node for slot in fleet.stock.slots if slot.holder})
    leave(fleet, *held).run(7)
    assert len(fleet.running()) == 2 * before
    first = len(fleet.plans)
    leave(fleet).run(300)
    path = [plan.decisions[0].count for plan in fleet.plans[first:]]
    assert path[0] == 2 * before
    assert path == sorted(path, reverse=True)
    assert path[-1] == before
    steps = [action for plan in fleet.plans[first:] for action in plan.actions if isinstance(action, SetReplicas)]
    assert [step.before - step.count for step in steps] == [1] * before


def test_no_reading_of_a_device_is_waited_for() -> None:
    fleet = three(free=3)
    fleet.seen_filter = lambda seen, _: replace(seen, slots=())
    assert [second for second, _ in actions(leave(fleet, "n0", "n1", "n2"), 60)] == [0, 3, 7, 8]


def test_without_ray_serves_word_nobody_goes() -> None:
    """Nobody knows who runs. The workers that were asked for come, and what was decided stays decided."""

    def silent(seen: Observation, _now_s: float) -> Observation:
        away = Missing(source=Source.DEPLOYMENT, name="minilm", reason=MissingReason.UNREACHABLE)
        return replace(seen, deployments=(), missing=(away,))

    fleet = leave(three(free=3), "n0", "n1", "n2").run(4)
    usual, fleet.seen_filter = fleet.seen_filter, silent
    assert actions(fleet, 60) == []
    assert (fleet.decision.count, len(fleet.running())) == (6, 6)
    fleet.seen_filter = usual
    assert [type(action) for action in fleet.tick().actions] == [DrainWorkers, SetReplicas]


def test_while_workers_cannot_be_read_what_was_decided_stays() -> None:
    fleet = leave(three(free=3), "n0", "n1", "n2").run(4)
    fleet.seen_filter = lambda seen, _: replace(seen, pools=())
    assert actions(fleet, 60) == []
    assert (fleet.decision.count, len(fleet.running())) == (6, 6)


def test_an_empty_worker_there_is_removed_at_once() -> None:
    """Two workers for one replica; both nodes leave, and a third is free."""
    fleet = ToyFleet(
        spec=build.fleet(build.model(max_replicas=1)), stock=nodes(3), load_per_s=lambda _: 5.0, wanted=2
    ).run(20)
    assert len(fleet.workers) == 2
    (empty,) = sorted(fleet.workers.keys() - {replica.worker for replica in fleet.replicas.values()})
    leave(fleet, "n0", "n1")
    done = actions(fleet, 60)
    assert done[0] == (0, (SetWorkers(pool="v100-8q", before=2, count=2, victims=(empty,)),))
    assert {slot.node for slot in fleet.stock.slots if slot.holder} == {"n2"}
    assert len(fleet.running()) == 1


def test_a_worker_that_still_starts_there_is_removed_at_once() -> None:
    fleet = ToyFleet(spec=build.fleet(), stock=nodes(2), load_per_s=lambda _: 5.0, worker_delay_s=30.0)
    fleet.run(5)
    (pod,) = fleet.workers
    (node,) = {slot.node for slot in fleet.stock.slots if slot.holder}
    plan = leave(fleet, node).tick()
    assert plan.actions[-1] == SetWorkers(pool="v100-8q", before=1, count=1, victims=(pod,))
    assert {slot.node for slot in fleet.stock.slots if slot.holder} == {"n0", "n1"} - {node}


def test_a_model_that_falls_asleep_meanwhile_leaves_without_a_successor() -> None:
    model = build.model(min_replicas=0, idle_s=20.0)
    fleet = ToyFleet(spec=build.fleet(model), stock=nodes(1), load_per_s=lambda at_s: 5.0 if at_s < 60 else 0.0)
    fleet.run(60)
    leave(fleet, "n0").run(120)
    assert (fleet.decision.reason, fleet.workers, fleet.stock.nodes[0].held) == (Reason.ASLEEP, {}, ())


def test_a_model_that_is_asleep_is_woken_elsewhere() -> None:
    model = build.model(min_replicas=0, idle_s=20.0)
    fleet = ToyFleet(spec=build.fleet(model), stock=nodes(2), load_per_s=lambda at_s: 5.0 if at_s > 100 else 0.0)
    fleet.run(90)
    assert fleet.workers == {}
    leave(fleet, "n0").run(60)
    assert {slot.node for slot in fleet.stock.slots if slot.holder} == {"n1"}
    assert len(fleet.running()) >= 1


def test_what_does_not_start_is_given_up_and_tried_again_and_nobody_leaves_for_it() -> None:
    spec = three(free=3).spec
    spec = replace(spec, guardrails=replace(spec.guardrails, pending_timeout_s=20.0, pending_backoff_s=10.0))
    fleet = replace(three(free=3), spec=spec, replica_delay_s=1e9)
    done = actions(leave(fleet, "n0", "n1", "n2"), 70)
    targets = [action.count for _, each in done for action in each if isinstance(action, SetReplicas)]
    assert targets == [6, 3, 6, 3, 6]
    assert len(fleet.running()) == 3
    assert not any(isinstance(action, DrainWorkers) for _, each in done for action in each)


def test_a_move_under_way_ends_for_it() -> None:
    fleet = three(free=3)
    mine = fleet.state.models["minilm"]
    fleet.state = State(models={"minilm": replace(mine, moving=Moving(base=3, since_s=fleet.now_s))})
    leave(fleet, "n0").tick()
    assert fleet.state.models["minilm"].moving == Moving(ended_s=fleet.now_s - 1.0)


def test_a_restart_half_way_is_no_loss() -> None:
    """What runs on both sides is then taken for needed; what is too many falls by the usual rules."""
    fleet = leave(three(free=3), "n0", "n1", "n2").run(5)
    fleet.state = State()
    fleet.run(30)
    assert sorted({slot.node for slot in fleet.stock.slots if slot.holder}) == ["n3", "n4", "n5"]
    assert len(fleet.running()) == 3


def test_what_leaves_is_not_counted_as_capacity() -> None:
    """Costs are known; one slot in three stays free, and the replicas on leaving nodes bear nothing for good."""
    fleet = three(free=1)
    learned = fleet.state.models["minilm"].learned
    assert learned != Learned()
    leave(fleet, "n0", "n1", "n2").tick()
    assert fleet.decision.count == 4
    made = fleet.state.models["minilm"]
    assert made.evacuation == Evacuation(
        replicas=frozenset(each.replica_id for each in fleet.running()), seats=1, count=4
    )
    assert (made.desired, made.decided, made.pending) == (3, 4, 1)


def test_a_model_on_several_slot_types_moves_to_the_other_one() -> None:
    """Its V100s leave: the T4 is all that stays."""
    fleet = JoinedFleet(
        spec=two_types.fleet(two_types.model("s", max_replicas=4)),
        stock=two_types.stock(big=2, small=2),
        loads_per_s={"s": lambda _: 20.0},
        engine_s={BIG: 0.03, SMALL: 0.03},
    ).run(200)
    held = {slot.node for slot in fleet.slots().values()}
    fleet.stock = build.leaving(fleet.stock, *held)
    fleet.run(60)
    assert held.isdisjoint(slot.node for slot in fleet.slots().values())
    (decision,) = fleet.plans[-1].decisions
    assert sum(count for _, count in decision.spread) == decision.count == len(fleet.running("s"))


def test_a_model_that_leaves_gives_nothing_to_others_meanwhile() -> None:
    """Both want the free slots, and it is of the lower priority: what serves goes first, growth waits."""
    models = (build.model("a", pool=BIG, max_replicas=6, priority=5), build.model("b", pool=BIG, max_replicas=2))
    loads = {"a": lambda at_s: 5.0 if at_s < 150 else 200.0, "b": lambda _: 20.0}
    fleet = JoinedFleet(
        spec=two_types.fleet(*models), stock=two_types.stock(big=4), loads_per_s=loads, engine_s={BIG: 0.03, SMALL: 0.1}
    ).run(145)
    before = len(fleet.running("b"))
    homes = {fleet.slots()[one.worker].node for one in fleet.running("b")}
    fleet.stock = build.leaving(fleet.stock, *homes)
    for _ in range(60):
        fleet.tick()
        assert len(fleet.running("b")) >= min(before, fleet.plans[-1].decisions[1].count)
    assert homes.isdisjoint(fleet.slots()[one.worker].node for one in fleet.running("b"))


@pytest.mark.parametrize(
    ("least", "load_per_s", "desired", "unplaced"),
    [(1, 25.0, 2, 0), (1, 300.0, 3, 5), (5, 300.0, 5, 5), (5, 25.0, 5, 2)],
)
def test_who_has_a_seat_is_said_of_a_crowd_too(least: int, load_per_s: float, desired: int, unplaced: int) -> None:
    """Three slots. A switch must not take those that serve for some of the many that find no slot."""
    model = build.model(min_replicas=least, max_replicas=8)
    fleet = ToyFleet(spec=build.fleet(model), stock=nodes(3), load_per_s=lambda _: load_per_s).run(200)
    seats = len(fleet.running())
    for names in ((), ("n0",)):
        said = leave(fleet, *names).tick().decisions[0]
        assert (view.desired(said), said.unplaced) == (desired, unplaced)
        assert view.seated(said) == seats == min(3, desired)


@pytest.mark.parametrize("priority", [-1, 0, 1])
def test_who_may_live_elsewhere_leaves_the_only_places_to_who_may_not(priority: int) -> None:
    """Both on two V100s that leave; of the third `b` needs both slots, and `a` could have the T4 as well."""
    mine = two_types.model("a", min_replicas=2, max_replicas=2, priority=5 + priority)
    other = build.model("b", pool=BIG, min_replicas=2, max_replicas=2, priority=5)
    fleet = JoinedFleet(
        spec=two_types.fleet(mine, other),
        stock=two_types.stock(big=2, small=0),
        loads_per_s={"a": lambda _: 5.0, "b": lambda _: 5.0},
        engine_s={BIG: 0.03, SMALL: 0.06},
    ).run(60)
    fleet.stock = build.inventory(*fleet.stock.nodes, *two_types.stock(big=3, small=1).nodes[2:])
    fleet.stock = build.leaving(fleet.stock, "b1", "b2")
    fleet.run(60)
    homes = {name: [fleet.slots()[one.worker].node for one in fleet.running(name)] for name in ("a", "b")}
    assert homes == {"a": ["t1", "t1"], "b": ["b3", "b3"]}


@pytest.mark.parametrize(("cordoned", "left"), [(False, 1), (True, 0)])
def test_what_is_wanted_beyond_what_had_room_keeps_nobody_on_a_cordoned_node(cordoned: bool, left: int) -> None:
    """One replica each, alone on a card. On one card both are slower, so that one of them wants two and there is no
    slot for that: only where its node is sure to go does it go all the same, and it is said what is missing."""
    models = (build.model("b", pool=BIG, max_replicas=4), build.model("s", pool=BIG, max_replicas=4))
    fleet = JoinedFleet(
        spec=two_types.fleet(*models),
        stock=two_types.stock(big=2, small=0),
        loads_per_s={"b": lambda _: 15.0, "s": lambda _: 15.0},
        engine_s={BIG: 0.03, SMALL: 0.05},
    ).run(330)
    assert {slot.node for slot in fleet.slots().values()} == {"b1", "b2"}
    gone = build.leaving(fleet.stock, "b2")
    fleet.stock = Inventory(
        nodes=tuple(replace(node, schedulable=not (node.leaving and cordoned)) for node in gone.nodes)
    )
    for _ in range(120):
        fleet.tick()
        assert all(len(fleet.running(model.name)) >= 1 for model in models)
    assert sum(slot.node == "b2" for slot in fleet.slots().values()) == left
    assert any(one.unplaced for one in fleet.plans[-1].decisions) is cordoned


def test_without_a_leaving_node_there_is_no_trace_of_it() -> None:
    fleet = three(free=1)
    _, plan = decide(fleet.spec, fleet.state, fleet.observe(), fleet.stock, fleet.now_s)
    (decision,) = plan.decisions
    assert (decision.leaving, decision.released, fleet.state.models["minilm"].evacuation) == ((), 0, None)
