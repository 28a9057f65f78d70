"""The experiment on a generated miniature: its procedure, and that the figures do not depend on how it is run."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.unit.study import miniature
from vgpu.core.fractions.policies import DEFAULT_POLICY, POLICIES
from vgpu.core.fractions.shape import Shape
from vgpu.study import experiment, report
from vgpu.study.experiment import Lists, Run, TieBreak
from vgpu.study.lists import read_nodes, read_pods
from vgpu.study.sweep import sweep


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Lists:
    folder = tmp_path_factory.mktemp("lists")
    return Lists(
        nodes=read_nodes(miniature.write_nodes(folder / "nodes.csv")),
        pods=read_pods(miniature.write_pods(folder / "pods.csv.gz")),
    )


@pytest.mark.parametrize("seed", range(5))
def test_arrivals_are_the_list_and_copies_up_to_the_demand(lists: Lists, seed: int) -> None:
    lists = replace(lists, pods=lists.pods[:60])
    pods = experiment.arrivals(lists, seed)
    asked = sum(pod.total_units for pod in pods)
    largest = max(pod.total_units for pod in lists.pods)
    assert 1.3 * lists.capacity_units - largest <= asked <= 1.3 * lists.capacity_units
    assert Counter(lists.pods) <= Counter(pods)
    assert pods == experiment.arrivals(lists, seed) != experiment.arrivals(lists, seed + 1)


def test_a_list_above_the_demand_loses_pods(lists: Lists) -> None:
    longer = replace(lists, pods=lists.pods * 3)
    pods = experiment.arrivals(longer, 1)
    assert Counter(pods) < Counter(longer.pods)
    assert 1.29 * lists.capacity_units < sum(pod.total_units for pod in pods) <= 1.3 * lists.capacity_units


def unmeasured(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    return tuple(replace(run, seconds=0.0) for run in runs)


def test_a_run_is_the_same_whenever_and_wherever_it_is_made(lists: Lists) -> None:
    policies, ties, seeds = ("random", "fgd", DEFAULT_POLICY), tuple(TieBreak), (42, 43)
    said: list[tuple[int, int]] = []
    alone = sweep(lists, policies, ties, seeds, say=lambda done, total: said.append((done, total)))
    assert said == [(done, 12) for done in range(1, 13)]
    assert [(run.policy, run.tie_break, run.seed) for run in alone] == [
        (policy, tie, seed) for policy in policies for tie in ties for seed in seeds
    ]
    assert unmeasured(sweep(lists, policies, ties, seeds, jobs=2)) == unmeasured(alone)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_allocated_grows_and_stays_below_demand_capacity_and_bound(lists: Lists, policy: str) -> None:
    run = experiment.run(lists, policy, TieBreak.FIXED, 42)
    curve = [run.allocated_ratio[percent] for percent in sorted(run.allocated_ratio)]
    assert curve == sorted(curve)
    assert all(ratio <= (percent + 0.5) / 100 for percent, ratio in run.allocated_ratio.items())
    assert 0.7 < run.allocated_ratio_at_100 <= 1
    assert 0 <= run.fragmentation_ratio_at_100 <= 1 - run.allocated_ratio_at_100 + 1e-9


def test_the_default_leaves_no_ties(lists: Lists) -> None:
    fixed, drawn = (replace(experiment.run(lists, DEFAULT_POLICY, tie, 42), seconds=0.0) for tie in TieBreak)
    assert replace(drawn, tie_break=TieBreak.FIXED) == fixed


def test_few_large_pods_may_jump_over_the_point_of_comparison(lists: Lists) -> None:
    nodes = tuple(node for node in lists.nodes if len(node.free_units) == 4)[:1]
    pods = (Shape(cpu_milli=0, memory_mib=0, gpus=3, units=1000),)
    run = experiment.run(Lists(nodes=nodes, pods=pods), "best-fit", TieBreak.FIXED, 1)
    assert (run.allocated_ratio, run.allocated_ratio_at_100) == ({75: 0.75}, 0.75)


def test_the_bound_is_what_sizes_allow() -> None:
    """810 units leave 190 that nothing fills: of 12 GPUs the whole pods get as many as they ask for, 810 the rest."""
    nodes = tuple(replace(node, free_units=(1000,) * 4) for node in read_two())
    pods = tuple(Shape(cpu_milli=0, memory_mib=0, gpus=1, units=units) for units in (810,) * 10 + (1000,) * 2)
    lists = Lists(nodes=nodes, pods=pods)
    whole = 2 * 12_000 / 10_100
    assert experiment.bound_ratio(lists) == pytest.approx((whole + (12 - whole) * 0.81) / 12)


def read_two() -> tuple[experiment.Host, ...]:
    return tuple(
        experiment.Host(name=f"n{index}", cpu_milli=1, memory_mib=1, free_units=(), model="T4") for index in range(3)
    )


def test_a_report_has_a_row_a_run_and_a_line_a_policy(lists: Lists) -> None:
    runs = sweep(lists, ("best-fit", "fgd", DEFAULT_POLICY), (TieBreak.FIXED,), (42, 43))
    rows = report.rows(runs)["rows"]
    assert [(row["policy"], row["is_default"], row["tie_break"], row["seed"]) for row in rows] == [
        (policy, policy == DEFAULT_POLICY, "fixed", seed)
        for policy in ("best-fit", "fgd", DEFAULT_POLICY)
        for seed in (42, 43)
    ]
    lines = report.summarise(runs, list_name="default", gpus=6212, bound_ratio=1.0)
    assert [(line.policy, line.published_ratio) for line in lines] == [
        ("best-fit", 0.9286),
        ("fgd", 0.9523),
        (DEFAULT_POLICY, None),
    ]
    for line in lines:
        own = [row["allocated_ratio_at_100"] for row in rows if row["policy"] == line.policy]
        assert line.allocated_ratio_at_100 == pytest.approx(sum(own) / 2, abs=1e-6)
    fgd, ours = lines[1].allocated_ratio_at_100, lines[2].allocated_ratio_at_100
    assert lines[1].gap_closed_ratio == 0
    assert lines[2].gap_closed_ratio == (None if ours < fgd else pytest.approx((ours - fgd) / (1 - fgd)))
    assert [line.published_ratio for line in report.summarise(runs, list_name="default", gpus=64, bound_ratio=1.0)] == [
        None
    ] * 3
