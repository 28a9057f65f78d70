"""A RayCluster's JSON: which groups can be sized, who is named to leave, and what a patch touches."""

from copy import deepcopy
from typing import Any

import pytest

from autoscaler.adapters import raycluster
from autoscaler.adapters.raycluster import Group
from autoscaler.embedded.apiserver import patches
from tests.fakes import kuberay

POOL, OTHER = "workers-v100-8q-8gb", "workers-a100-4q-20gb"


def group(**changes: Any) -> Group:
    given: dict[str, Any] = {"index": 0, "asked": 3, "least": 0, "most": 9, "named": (), "has_strategy": False}
    return Group(**{**given, **changes})


def pod(name: str, *, node: str | None = "n1", ready: bool = True, ending: bool = False, phase: str = "Running") -> Any:
    about = {"name": name, "namespace": "ns"} | ({"deletionTimestamp": "2027-01-15T08:00:00Z"} if ending else {})
    condition = {"type": "Ready", "status": str(ready)}
    return {
        "metadata": about,
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": [condition]},
    }


def test_a_group_is_found_by_its_name_with_what_it_asks_for() -> None:
    cluster = kuberay.manifest({OTHER: 1, POOL: 2})
    cluster["spec"]["workerGroupSpecs"][1]["scaleStrategy"] = {"workersToDelete": ["w1"]}
    assert raycluster.find_group(cluster, POOL) == Group(
        index=1, asked=2, least=0, most=2147483647, named=("w1",), has_strategy=True
    )


def test_a_group_without_the_crds_defaults_asks_for_nothing_and_has_no_bounds() -> None:
    cluster = {"spec": {"workerGroupSpecs": [{"groupName": POOL}]}}
    assert raycluster.find_group(cluster, POOL) == Group(
        index=0, asked=0, least=0, most=2147483647, named=(), has_strategy=False
    )


@pytest.mark.parametrize(
    ("asked", "count"), [(0, 2), (2, 2), (3, 3), (5, 5), (6, 5)], ids=["below", "least", "inside", "most", "above"]
)
def test_a_count_is_kept_within_the_groups_bounds(asked: int, count: int) -> None:
    assert group(asked=asked, least=2, most=5).count == count


def test_of_bounds_that_contradict_each_other_the_operators_choice_is_known() -> None:
    assert [group(asked=asked, least=5, most=3).count for asked in (4, 6)] == [5, 3]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"suspend": True}, "the group is suspended; set its suspend to false"),
        ({"numOfHosts": 4}, "numOfHosts is 4, and a worker is one pod; set it to 1"),
        (
            {"groupName": "gpu"},
            f"no worker groups of this name (there: gpu, {OTHER}); give it one with groupName: {POOL}",
        ),
    ],
)
def test_a_group_that_cannot_be_sized_says_why(changes: dict[str, Any], why: str) -> None:
    cluster = kuberay.manifest({POOL: 1, OTHER: 1})
    cluster["spec"]["workerGroupSpecs"][0].update(changes)
    assert raycluster.find_group(cluster, POOL) == why
    assert isinstance(raycluster.find_group(cluster, OTHER), Group)


def test_two_groups_of_one_name_are_refused() -> None:
    cluster = kuberay.manifest({POOL: 1})
    cluster["spec"]["workerGroupSpecs"] *= 2
    why = f"2 worker groups of this name (there: {POOL}, {POOL}); give it one with groupName: {POOL}"
    assert raycluster.find_group(cluster, POOL) == why


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({}, None),
        ({"enableInTreeAutoscaling": False, "suspend": False}, None),
        (
            {"enableInTreeAutoscaling": True},
            "enableInTreeAutoscaling is true, and a worker group has one owner of its size; set it to false, "
            "or run the autoscaler on other workers",
        ),
        ({"suspend": True}, "it is suspended; set spec.suspend to false"),
    ],
)
def test_a_cluster_that_belongs_to_somebody_else_or_to_nobody_says_why(spec: dict[str, Any], why: str | None) -> None:
    assert raycluster.refusal(kuberay.manifest({POOL: 1}, **spec)) == why


def test_a_cluster_that_is_being_deleted_is_not_sized() -> None:
    cluster = kuberay.manifest({POOL: 1})
    cluster["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    assert raycluster.refusal(cluster) == "it is being deleted; create it anew"


A, B, C = (pod(name) for name in "abc")
NAMED: list[tuple[str, list[Any], int, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = [
    # what, pods, count, victims, named before, named then
    ("nobody leaves a group that grows", [A, B, C], 4, (), (), ()),
    ("victims leave", [A, B, C], 1, ("ns/b", "ns/c"), (), ("b", "c")),
    ("as many victims as the count falls by", [A, B, C], 2, ("ns/b", "ns/c"), (), ("b",)),
    ("a victim of another namespace is nobody", [A, B, C], 3, ("other/b",), (), ()),
    ("without victims, who has no node", [A, pod("z", node=None, ready=False)], 1, (), (), ("z",)),
    ("then who is not ready", [A, pod("z", ready=False)], 1, (), (), ("z",)),
    ("a victim that is ready before both", [A, pod("z", ready=False)], 1, ("ns/a",), (), ("a",)),
    ("who was named and is there yet stays named", [A, B, C], 2, ("ns/c",), ("c",), ("c",)),
    ("also when the group grows", [A, B, C], 5, (), ("c",), ("c",)),
    ("who is gone does not", [A, B], 2, (), ("c",), ()),
    ("who ended is left to the operator", [A, B, pod("c", phase="Failed")], 1, ("ns/b",), (), ("b",)),
    ("who is ending would be counted", [A, B, pod("c", ending=True)], 1, ("ns/b",), (), ("b", "c")),
    ("also where nobody else leaves", [A, B, pod("c", ending=True)], 2, (), (), ("c",)),
    ("and is left alone where there is room", [A, B, pod("c", ending=True)], 3, (), (), ()),
    ("pods that do not exist yet are not named", [A], 2, ("ns/b",), (), ()),
]


@pytest.mark.parametrize(
    ("pods", "count", "victims", "named", "then"), [case[1:] for case in NAMED], ids=[case[0] for case in NAMED]
)
def test_who_is_named_to_leave(
    pods: list[Any], count: int, victims: tuple[str, ...], named: tuple[str, ...], then: tuple[str, ...]
) -> None:
    assert raycluster.to_delete(group(named=named), pods, count, victims) == then


def test_a_patch_touches_the_count_and_the_names_and_nothing_else() -> None:
    cluster = kuberay.manifest({OTHER: 7, POOL: 3})
    found = raycluster.find_group(cluster, POOL)
    assert isinstance(found, Group)
    patched = patches.json_patch(cluster, list(raycluster.resized(found, 2, ["a"])))
    expected = deepcopy(cluster)
    expected["spec"]["workerGroupSpecs"][1] |= {"replicas": 2, "scaleStrategy": {"workersToDelete": ["a"]}}
    assert patched == expected


def test_what_else_is_in_the_scale_strategy_stays() -> None:
    cluster = kuberay.manifest({POOL: 3})
    cluster["spec"]["workerGroupSpecs"][0]["scaleStrategy"] = {"workersToDelete": ["a"], "later": 1}
    found = raycluster.find_group(cluster, POOL)
    assert isinstance(found, Group)
    patched = patches.json_patch(cluster, list(raycluster.resized(found, 3, ())))
    assert patched["spec"]["workerGroupSpecs"][0]["scaleStrategy"] == {"workersToDelete": [], "later": 1}
    assert patched["spec"]["workerGroupSpecs"][0]["replicas"] == 3


def test_nothing_is_written_where_all_is_so() -> None:
    assert list(raycluster.resized(group(asked=3, named=("a", "b")), 3, ["b", "a"])) == []


KEY = f"preferred-nodes.vgpu-serve.io/{POOL}"


@pytest.mark.parametrize("annotations", [None, {}, {"kept": "1", KEY: "old"}], ids=["none", "empty", "others"])
def test_preferred_nodes_are_noted_on_the_cluster_for_each_group(annotations: dict[str, str] | None) -> None:
    cluster = kuberay.manifest({POOL: 1})
    if annotations is not None:
        cluster["metadata"]["annotations"] = annotations
    patched = patches.json_patch(cluster, list(raycluster.preferring(cluster, POOL, ("n2", "n1"))))
    assert patched["metadata"]["annotations"] == {**(annotations or {}), KEY: "n2,n1"}
    assert patched["spec"] == cluster["spec"]
    assert list(raycluster.preferring(patched, POOL, ("n2", "n1"))) == []
    assert list(raycluster.preferring(patched, POOL, ())) == []
