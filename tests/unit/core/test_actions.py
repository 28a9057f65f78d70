"""Decided counts become ordered actions; a lost action is found again, an unsafe one is never made."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autoscaler.core.actions import Fleet, plan_actions
from autoscaler.core.decision import Action, Decision, DrainWorkers, Reason, SetReplicas, SetWorkers, Stage, Step
from autoscaler.core.observation import DeploymentSeen, PoolSeen, WorkerSeen
from autoscaler.core.spec import FleetSpec
from tests import build
from tests.build import absent, deployment, pool, signals, worker
from tests.unit.core import two_types

NODES = {"v100-8q": ("n2", "n3")}


def decision(count: int, *, model: str = "minilm", blind: bool = False) -> Decision:
    return Decision(
        model=model,
        current=count,
        count=count,
        steps=(Step(stage=Stage.POLICY, before=count, after=count, reason=Reason.STEADY),),
        signals=signals(gaps=(absent(),) if blind else ()),
    )


def planned(
    decisions: Sequence[Decision],
    deployments: Sequence[DeploymentSeen],
    pools: Sequence[PoolSeen],
    *,
    spec: FleetSpec | None = None,
    surplus_since_s: Mapping[str, float] | None = None,
    now_s: float = 100.0,
) -> tuple[Action, ...]:
    fleet = Fleet(
        spec=spec or build.fleet(*(build.model(made.model) for made in decisions)),
        decisions={made.model: made for made in decisions},
        deployments={seen.model: seen for seen in deployments},
        pools={seen.pool: seen for seen in pools},
    )
    actions, _ = plan_actions(fleet, NODES, surplus_since_s or {}, now_s)
    return actions


TWO = (worker("s/w1"), worker("s/w2"))
LONG_SURPLUS = {"v100-8q": 0.0}


def test_nothing_is_done_when_everything_is_as_decided() -> None:
    running = deployment(target=2, running={"r1": "s/w1", "r2": "s/w2"})
    assert planned([decision(2)], [running], [pool(*TWO)]) == ()


def test_workers_grow_first_and_replicas_follow_as_far_as_workers_are_ready() -> None:
    seen = pool(*TWO, worker("s/w3", None, ready=False))
    running = deployment(target=1, running={"r1": "s/w1"})
    assert planned([decision(5)], [running], [seen]) == (
        SetWorkers(pool="v100-8q", before=3, count=5, preferred_nodes=("n2", "n3")),
        SetReplicas(model="minilm", before=1, count=2),
    )


def test_a_replica_that_is_to_replace_another_gets_a_worker_of_its_own_for_as_long_as_both_are_there() -> None:
    rolling = deployment(target=2, running={"r1": "s/w1", "r2": "s/w2"}, starting=["new"])
    assert planned([decision(2)], [rolling], [pool(*TWO)]) == (
        SetWorkers(pool="v100-8q", before=2, count=3, preferred_nodes=("n2", "n3")),
    )
    placed = pool(*TWO, worker("s/w3"))
    assert planned([decision(2)], [rolling], [placed], surplus_since_s=LONG_SURPLUS) == ()
    leaving = deployment(target=2, running={"new": "s/w3", "r2": "s/w2"}, stopping={"r1": "s/w1"})
    assert planned([decision(2)], [leaving], [placed]) == ()
    over = deployment(target=2, running={"new": "s/w3", "r2": "s/w2"})
    assert planned([decision(2)], [over], [placed], surplus_since_s=LONG_SURPLUS) == (
        SetWorkers(pool="v100-8q", before=3, count=2, victims=("s/w1",)),
    )


def test_replicas_beyond_a_target_that_falls_or_is_not_ours_get_no_worker() -> None:
    foreign = deployment(target=4, running={"r1": "s/w1", "r2": "s/w2"}, starting=["r3", "r4"])
    assert planned([decision(2)], [foreign], [pool(*TWO)]) == (SetReplicas(model="minilm", before=4, count=2),)
    asleep = deployment(target=0, running={"r1": "s/w1"})
    assert planned([decision(0)], [asleep], [pool(worker("s/w1"))]) == ()


def test_a_target_is_not_lowered_because_workers_look_unready() -> None:
    unready = [worker(f"s/w{index}", ready=False) for index in (1, 2, 3)]
    running = deployment(target=3, running={f"r{index}": f"s/w{index}" for index in (1, 2, 3)})
    assert planned([decision(3)], [running], [pool(*unready)]) == ()


def test_a_reset_target_is_raised_again_even_if_the_decision_has_not_changed() -> None:
    reset = deployment(target=1, running={"r1": "s/w1"}, stopping={})
    assert planned([decision(2)], [reset], [pool(*TWO)]) == (SetReplicas(model="minilm", before=1, count=2),)


def test_a_worker_that_a_replica_of_the_model_is_leaving_is_a_place_for_the_next() -> None:
    seen = deployment(target=1, running={"r1": "s/w1"}, stopping={"r2": "s/w2"})
    assert planned([decision(2)], [seen], [pool(*TWO)]) == (SetReplicas(model="minilm", before=1, count=2),)


def test_a_worker_that_a_replica_of_another_model_is_leaving_is_no_place_yet() -> None:
    seen = [
        deployment(model="a", target=1, running={"a1": "s/w1"}),
        deployment(model="b", target=0, stopping={"b1": "s/w2"}),
    ]
    assert planned([decision(2, model="a"), decision(0, model="b")], seen, [pool(*TWO)]) == ()


def test_a_target_is_not_lowered_below_what_runs_while_readings_are_missing() -> None:
    running = deployment(target=3, running={f"r{index}": f"s/w{index}" for index in (1, 2, 3)})
    workers = pool(*TWO, worker("s/w3"))
    assert planned([decision(2, blind=True)], [running], [workers]) == ()
    assert planned([decision(2)], [running], [workers]) == (SetReplicas(model="minilm", before=3, count=2),)


def test_replicas_that_never_started_are_given_up_without_readings() -> None:
    stuck = deployment(target=3, running={"r1": "s/w1"}, starting=["r2", "r3"])
    assert planned([decision(1, blind=True)], [stuck], [pool(*TWO)]) == (
        SetReplicas(model="minilm", before=3, count=1),
    )


def test_the_operators_maximum_is_obeyed_without_readings() -> None:
    running = deployment(target=3, running={f"r{index}": f"s/w{index}" for index in (1, 2, 3)})
    spec = build.fleet(build.model(max_replicas=2))
    blind = planned([decision(2, blind=True)], [running], [pool(*TWO, worker("s/w3"))], spec=spec)
    assert blind == (SetReplicas(model="minilm", before=3, count=2),)


def test_replicas_shrink_before_others_grow_into_their_workers() -> None:
    seen = [
        deployment(model="a", target=1, running={"a1": "s/w1"}),
        deployment(model="b", target=1, running={"b1": "s/w2"}),
    ]
    shrinking = planned([decision(2, model="a"), decision(1, model="b")], seen, [pool(*TWO, worker("s/w3"))])
    assert shrinking == (SetReplicas(model="a", before=1, count=2),)
    leaving = [seen[0], deployment(model="b", target=2, running={"b1": "s/w2", "b2": "s/w3"})]
    assert planned([decision(2, model="a"), decision(1, model="b")], leaving, [pool(*TWO, worker("s/w3"))]) == (
        SetReplicas(model="b", before=2, count=1),
    )


def test_two_models_never_share_one_free_worker() -> None:
    seen = [
        deployment(model="a", target=1, running={"a1": "s/w1"}),
        deployment(model="b", target=1, running={"b1": "s/w2"}),
    ]
    workers = pool(*TWO, worker("s/w3"), wanted=4)
    both = planned([decision(2, model="a"), decision(2, model="b")], seen, [workers])
    assert both == (SetReplicas(model="a", before=1, count=2),)


def test_a_model_that_cannot_be_read_keeps_its_workers() -> None:
    readable = deployment(model="a", target=1, running={"a1": "s/w1"})
    workers = pool(*TWO, worker("s/w3"))
    known = planned([decision(3, model="a"), decision(2, model="b")], [readable], [workers])
    assert known == (SetWorkers(pool="v100-8q", before=3, count=5, preferred_nodes=("n2", "n3")),)
    spec = build.fleet(build.model("a"), build.model("b"))
    assert planned([decision(3, model="a")], [readable], [workers], spec=spec) == ()


def test_without_a_view_of_the_workers_replicas_only_shrink() -> None:
    running = deployment(target=2, running={"r1": "s/w1", "r2": "s/w2"})
    assert planned([decision(3)], [running], []) == ()
    assert planned([decision(1)], [running], []) == (SetReplicas(model="minilm", before=2, count=1),)


def test_workers_shrink_after_a_while_and_only_those_without_a_replica() -> None:
    seen = deployment(target=1, running={"r1": "s/w2"})
    workers = pool(*TWO, worker("s/w3", ready=False), worker("s/w4"))
    assert planned([decision(1)], [seen], [workers]) == ()
    assert planned([decision(1)], [seen], [workers], surplus_since_s={"v100-8q": 70.1}) == ()
    assert planned([decision(1)], [seen], [workers], surplus_since_s={"v100-8q": 70.0}) == (
        SetWorkers(pool="v100-8q", before=4, count=1, victims=("s/w3", "s/w1", "s/w4")),
    )


def test_a_worker_goes_only_when_its_replica_is_gone() -> None:
    stopping = deployment(target=1, running={"r1": "s/w1"}, stopping={"r2": "s/w2"})
    assert planned([decision(1)], [stopping], [pool(*TWO)], surplus_since_s=LONG_SURPLUS) == ()


def test_no_worker_goes_while_a_replica_may_be_about_to_move_in() -> None:
    starting = deployment(target=2, running={"r1": "s/w1"}, starting=["r2"])
    workers = pool(*TWO, worker("s/w3"))
    assert planned([decision(2)], [starting], [workers], surplus_since_s=LONG_SURPLUS) == ()


def test_no_worker_goes_while_it_is_unknown_where_a_replica_lives() -> None:
    somewhere = deployment(target=1, running={"r1": None})
    assert planned([decision(1)], [somewhere], [pool(*TWO)], surplus_since_s=LONG_SURPLUS) == ()


def test_no_worker_goes_while_a_model_of_its_pool_cannot_be_read() -> None:
    spec = build.fleet(build.model("a"), build.model("b"))
    seen = deployment(model="a", target=1, running={"a1": "s/w1"})
    both = [decision(1, model="a"), decision(0, model="b")]
    assert planned(both, [seen], [pool(*TWO)], spec=spec, surplus_since_s=LONG_SURPLUS) == ()


def test_pods_that_were_never_created_are_cancelled_first() -> None:
    seen = deployment(target=1, running={"r1": "s/w1"})
    workers = pool(worker("s/w1"), worker("s/w2"), wanted=4)
    assert planned([decision(1)], [seen], [workers], surplus_since_s=LONG_SURPLUS) == (
        SetWorkers(pool="v100-8q", before=4, count=1, victims=("s/w2",)),
    )
    assert planned([decision(2)], [deployment(target=2, running={"r1": "s/w1", "r2": "s/w2"})], [workers],
                   surplus_since_s=LONG_SURPLUS) == (
        SetWorkers(pool="v100-8q", before=4, count=2),
    )  # fmt: skip


def test_a_worker_on_its_way_out_is_no_victim_again() -> None:
    seen = deployment(target=1, running={"r1": "s/w1"})
    workers = pool(worker("s/w1"), worker("s/w2", deleting=True), wanted=1)
    assert planned([decision(1)], [seen], [workers], surplus_since_s=LONG_SURPLUS) == ()


def test_the_time_of_a_surplus_starts_anew_after_it_was_gone() -> None:
    seen = deployment(target=1, running={"r1": "s/w1"})
    fleet = Fleet(
        spec=build.fleet(),
        decisions={"minilm": decision(1)},
        deployments={"minilm": seen},
        pools={"v100-8q": pool(*TWO)},
    )
    _, surplus = plan_actions(fleet, {}, {}, 50.0)
    assert surplus == {"v100-8q": 50.0}
    busy = Fleet(spec=fleet.spec, decisions={"minilm": decision(2)}, deployments=fleet.deployments, pools=fleet.pools)
    assert plan_actions(busy, {}, surplus, 60.0)[1] == {}


BOTH = two_types.fleet(two_types.model(), build.model("other", pool=two_types.SMALL))


def spread_over(count: int, **pools: int) -> Decision:
    return replace(decision(count), spread=tuple(pools.items()))


def spanned(
    made: Decision,
    running: Mapping[str, str | None],
    *workers: WorkerSeen,
    target: int | None = None,
    other: int = 0,
    surplus_since_s: Mapping[str, float] | None = None,
) -> tuple[Action, ...]:
    """A model on both types, workers named s/b… and s/t…, beside one that has `other` replicas still to come."""
    seen = [
        pool(*(each for each in workers if each.pod.startswith(prefix)), name=name)
        for name, prefix in ((two_types.BIG, "s/b"), (two_types.SMALL, "s/t"))
    ]
    deployments = [
        deployment(target=len(running) if target is None else target, running=running),
        deployment(model="other", target=other),
    ]
    decisions = [made, decision(other, model="other")]
    return planned(decisions, deployments, seen, spec=BOTH, surplus_since_s=surplus_since_s)


def test_workers_grow_in_the_pools_for_which_replicas_are_meant() -> None:
    assert spanned(spread_over(4, big=1, small=3), {"r1": "s/b1"}, worker("s/b1"), worker("s/t1", "t1")) == (
        SetWorkers(pool=two_types.SMALL, before=1, count=3),
        SetReplicas(model="minilm", before=1, count=2),
    )


def test_a_target_rises_to_the_ready_workers_of_all_pools_less_those_of_others() -> None:
    workers = (worker("s/b1"), worker("s/b2"), worker("s/t1", "t1"), worker("s/t2", "t1"))
    made = spread_over(4, big=2, small=2)
    assert spanned(made, {"r1": "s/b1"}, *workers) == (SetReplicas(model="minilm", before=1, count=4),)
    assert spanned(made, {"r1": "s/b1"}, *workers, other=1)[-1] == SetReplicas(model="minilm", before=1, count=3)


def test_the_victim_s_worker_is_drained_in_whichever_pool_it_is() -> None:
    made = replace(spread_over(1, big=1), victims=("r2", "r1"))
    workers = (worker("s/b1"), worker("s/t1", "t1"))
    assert spanned(made, {"r1": "s/b1", "r2": "s/t1"}, *workers) == (
        DrainWorkers(model="minilm", workers=("s/t1",)),
        SetReplicas(model="minilm", before=2, count=1),
    )


def test_a_pool_gives_up_the_workers_that_no_replica_is_meant_for() -> None:
    workers = (worker("s/b1"), worker("s/t1", "t1"))
    made = spread_over(1, big=1)
    surplus = {two_types.SMALL: 0.0}
    assert spanned(made, {"r1": "s/b1"}, *workers, surplus_since_s=surplus) == (
        SetWorkers(pool=two_types.SMALL, before=1, count=0, victims=("s/t1",)),
    )


def test_while_nobody_has_said_for_which_pool_replicas_are_no_pool_changes() -> None:
    assert spanned(decision(3), {"r1": "s/b1"}, worker("s/b1"), worker("s/t1", "t1"))[0] == SetReplicas(
        model="minilm", before=1, count=2
    )


def test_with_one_of_its_pools_unread_a_model_s_target_does_not_rise_and_ray_serve_chooses_who_leaves() -> None:
    seen = [pool(worker("s/b1"), worker("s/b2"), name=two_types.BIG)]
    running = deployment(target=2, running={"r1": "s/b1", "r2": "s/t1"})
    other = deployment(model="other", target=0)
    rising = [spread_over(3, big=3), decision(0, model="other")]
    assert planned(rising, [running, other], seen, spec=BOTH) == (SetWorkers(pool=two_types.BIG, before=2, count=3),)
    falling = [replace(spread_over(1, big=1), victims=("r2", "r1")), decision(0, model="other")]
    assert planned(falling, [running, other], seen, spec=BOTH) == (SetReplicas(model="minilm", before=2, count=1),)


def test_with_a_pool_unread_others_rise_by_what_is_left_when_all_that_may_still_sit_down_has() -> None:
    """`minilm` has one in the pool that was read, one in the other and one that waits and might come here."""
    seen = [pool(*(worker(f"s/t{index}", "t1") for index in range(1, 5)), name=two_types.SMALL)]
    running = deployment(target=3, running={"r1": "s/b1", "r2": "s/t1"}, starting=("r3",))
    made = [spread_over(3, big=2, small=1), decision(4, model="other")]
    asleep = deployment(model="other", target=0)
    assert planned(made, [running, asleep], seen, spec=BOTH)[-1] == SetReplicas(model="other", before=0, count=2)


def with_absent(
    seen: PoolSeen, running: DeploymentSeen, count: int, *, is_absent: bool = True, surplus: bool = False
) -> tuple[Action, ...]:
    """One model that is there and one, on the same pool, that Ray Serve does not have, or could not be asked about."""
    fleet = Fleet(
        spec=build.fleet(build.model("minilm"), build.model("ocr")),
        decisions={"minilm": decision(count)},
        deployments={"minilm": running},
        pools={seen.pool: seen},
        absent=frozenset({"ocr"}) if is_absent else frozenset(),
    )
    return plan_actions(fleet, NODES, LONG_SURPLUS if surplus else {}, 100.0)[0]


def test_a_model_that_ray_does_not_have_stops_nobody_from_growing() -> None:
    running = deployment(target=1, running={"r1": "s/w1"})
    assert with_absent(pool(*TWO), running, 3) == (
        SetWorkers(pool="v100-8q", before=2, count=3, preferred_nodes=("n2", "n3")),
        SetReplicas(model="minilm", before=1, count=2),
    )
    assert with_absent(pool(*TWO), running, 3, is_absent=False) == ()


def test_no_surplus_goes_while_a_model_of_the_pool_is_not_there_yet() -> None:
    running = deployment(target=1, running={"r1": "s/w1"})
    assert with_absent(pool(*TWO), running, 1, surplus=True) == ()


def test_a_drained_worker_is_replaced_beside_a_model_that_is_not_there_yet() -> None:
    running = deployment(target=1, running={"r1": "s/w1"})
    drained = replace(worker("s/w2"), ready=False, draining=True)
    seen = pool(worker("s/w1"), drained)
    assert with_absent(seen, running, 2) == (SetWorkers(pool="v100-8q", before=2, count=2, victims=("s/w2",)),)


def test_joined_pools_grow_beside_a_model_that_ray_does_not_have() -> None:
    both = build.model("both", pool=two_types.BIG, further_pools=(two_types.SMALL,))
    fleet = Fleet(
        spec=two_types.fleet(both, build.model("new", pool=two_types.SMALL)),
        decisions={"both": replace(decision(2, model="both"), spread=((two_types.BIG, 2),))},
        deployments={"both": deployment(model="both", target=1, running={"r1": "s/w1"})},
        pools={two_types.BIG: pool(*TWO, name=two_types.BIG), two_types.SMALL: pool(name=two_types.SMALL)},
        absent=frozenset({"new"}),
    )
    assert plan_actions(fleet, {}, {}, 100.0)[0] == (SetReplicas(model="both", before=1, count=2),)
    assert plan_actions(replace(fleet, absent=frozenset()), {}, {}, 100.0)[0] == ()
