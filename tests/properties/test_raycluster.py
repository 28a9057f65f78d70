"""Whoever is where in a worker group: after our patch KubeRay's operator has nobody left to choose."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters import raycluster
from autoscaler.adapters.raycluster import Group
from tests.unit.autoscaler.test_raycluster import pod

NAMES = tuple("abcdefgh")
states = st.fixed_dictionaries(
    {
        "node": st.sampled_from([None, "n1"]),
        "ready": st.booleans(),
        "ending": st.booleans(),
        "phase": st.sampled_from(["Pending", "Running", "Failed"]),
    }
)
subsets = st.sets(st.sampled_from(NAMES))
groups_of_pods = st.dictionaries(st.sampled_from(NAMES), states).map(
    lambda found: [pod(name, **state) for name, state in found.items()]
)


def called(pods: list[Any]) -> set[str]:
    return {found["metadata"]["name"] for found in pods}


@given(groups_of_pods, st.integers(0, 9), subsets, subsets)
def test_the_operator_never_has_to_choose(pods: list[Any], count: int, victims: set[str], named: set[str]) -> None:
    group = Group(index=0, asked=count, least=0, most=9, named=tuple(named), has_strategy=True)
    keys = [f"ns/{name}" for name in victims]
    names = raycluster.to_delete(group, pods, count, keys)

    there = [found for found in pods if found["status"]["phase"] != "Failed"]
    alive = called([found for found in there if "deletionTimestamp" not in found["metadata"]]) - named
    # It counts all that are there, those on their way out included, but for those that it is told to delete.
    assert len(called(there) - set(names)) <= max(count, 0)
    # Those who were told to go go, and nobody is named who is not there.
    assert called(there) & named <= set(names) <= called(there)
    # As many leave as are too many, victims first.
    left = alive - set(names)
    assert len(left) == min(count, len(alive))
    assert not (alive & set(names)) - victims or not left & victims
    # Asked again, nothing changes.
    again = Group(index=0, asked=count, least=0, most=9, named=names, has_strategy=True)
    assert raycluster.to_delete(again, pods, count, keys) == names
