"""Pools without the workers in which others' replicas live, and plans put back on the whole pools."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler import lodgers
from autoscaler.core.decision import DrainWorkers, Plan, SetReplicas, SetWorkers
from tests import build
from tests.build import deployment, pool, worker

SPEC = build.fleet(build.model("minilm"), build.model("ocr", pool="t4-4q"))
THREE = pool(worker("s/w1"), worker("s/w2"), worker("s/w3"))
NOBODY = frozenset[str]()


def test_without_others_pools_are_as_they_are() -> None:
    running = deployment(running={"r1": "s/w1"})
    assert lodgers.without([THREE], NOBODY, [running], SPEC) == ((THREE,), {})


def test_a_worker_of_others_is_neither_there_nor_wanted() -> None:
    assert lodgers.without([THREE], frozenset({"s/w2", "s/unheard-of"}), [], SPEC) == (
        (replace(pool(worker("s/w1"), worker("s/w3")), wanted=2),), {"v100-8q": 1},
    )  # fmt: skip


def test_a_worker_that_also_holds_one_of_ours_stays() -> None:
    running = deployment(running={"r1": "s/w1"})
    assert lodgers.without([THREE], frozenset({"s/w1"}), [running], SPEC) == ((THREE,), {})


def test_a_worker_that_is_being_deleted_counts_no_more_anyway() -> None:
    seen = pool(worker("s/w1"), replace(worker("s/w2"), deleting=True), wanted=1)
    assert lodgers.without([seen], frozenset({"s/w2"}), [], SPEC) == ((seen,), {})


def test_a_model_that_is_to_live_elsewhere_is_another_one_here() -> None:
    moved = deployment(model="ocr", running={"o1": "s/w3"})
    pools, lent = lodgers.without([THREE], NOBODY, [moved], SPEC)
    assert ([seen.pod for seen in pools[0].workers], lent) == (["s/w1", "s/w2"], {"v100-8q": 1})


def test_a_pool_that_was_made_smaller_than_its_lodgers_wants_none() -> None:
    pools, lent = lodgers.without([replace(THREE, wanted=1)], frozenset({"s/w1", "s/w2"}), [], SPEC)
    assert (pools[0].wanted, lent) == (0, {"v100-8q": 2})


PLAN = Plan(
    at_s=1.0,
    decisions=(),
    actions=(
        SetWorkers(pool="v100-8q", before=1, count=3, preferred_nodes=("n2",)),
        DrainWorkers(model="minilm", workers=("s/w1",)),
        SetReplicas(model="minilm", before=2, count=1),
        SetWorkers(pool="t4-4q", before=2, count=1, victims=("s/t1",)),
        SetWorkers(pool="t4-4q", before=1, count=1, victims=("s/t2",)),
    ),
)


def test_actions_are_put_back_on_the_whole_pool() -> None:
    assert lodgers.put_back(PLAN, {"v100-8q": 2}).actions == (
        SetWorkers(pool="v100-8q", before=3, count=5, preferred_nodes=("n2",)), *PLAN.actions[1:],
    )  # fmt: skip
    assert lodgers.put_back(PLAN, {}) is PLAN


def test_no_worker_goes_while_nobody_can_say_who_lives_where() -> None:
    assert lodgers.put_back(PLAN, {}, is_unread=True).actions == PLAN.actions[:3]


@given(
    lent=st.sets(st.integers(0, 9)), ours=st.sets(st.integers(0, 9)), deleting=st.sets(st.integers(0, 9)),
    missing=st.integers(0, 3),
)  # fmt: skip
def test_what_is_left_out_is_counted_and_nothing_else_is_touched(
    lent: set[int], ours: set[int], deleting: set[int], missing: int
) -> None:
    workers = [replace(worker(f"s/w{index}"), deleting=index in deleting) for index in range(10)]
    seen = pool(*workers, wanted=10 - len(deleting) + missing)
    running = deployment(target=len(ours), running={f"r{index}": f"s/w{index}" for index in ours})
    (left,), counts = lodgers.without([seen], frozenset(f"s/w{index}" for index in lent), [running], SPEC)
    taken = counts.get(seen.pool, 0)
    assert taken == len(lent - ours - deleting)
    assert (left.wanted + taken, len(left.live) + taken) == (seen.wanted, len(seen.live))
    assert {f"s/w{index}" for index in ours} <= {each.pod for each in left.workers}


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_pool_put_back_is_as_much_larger_before_as_after(count: int) -> None:
    action = SetWorkers(pool="p", before=3, count=count)
    (made,) = lodgers.put_back(replace(PLAN, actions=(action,)), {"p": 4}).actions
    assert made == SetWorkers(pool="p", before=7, count=count + 4)
