"""When another layout would seat what waits, without taking a seat from anybody."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.core import names
from vgpu.core.layout import Guest, difference
from vgpu.core.profile import parse_profile
from vgpu.core.seats import Demand, seat
from vgpu.switcher import demand
from vgpu.switcher.demand import Patience

SMALL, LARGE = "v100-4q-4GB", "v100-16q-16GB"
DAY = tuple(Guest(node=f"node-{number}", profile=parse_profile(SMALL)) for number in range(4))
NIGHT = (Guest(node="node-5", profile=parse_profile(LARGE)),)


def small(count: int, name: str = "search") -> Demand:
    return Demand(name=name, count=count, slot_types=(SMALL,))


def large(count: int) -> Demand:
    return Demand(name="training", count=count, slot_types=(LARGE,))


@pytest.mark.parametrize(
    ("seated", "waiting", "before", "later", "helps"),
    [
        ([], [], {SMALL: 4}, {LARGE: 1}, False),
        ([], [large(1)], {SMALL: 4}, {LARGE: 1}, True),
        ([small(1)], [large(1)], {SMALL: 4}, {LARGE: 1}, False),  # its seat would go
        ([small(1)], [large(1)], {SMALL: 4}, {LARGE: 1, SMALL: 1}, True),
        ([], [large(1)], {LARGE: 1}, {LARGE: 2}, False),  # it has room where it is
        (
            [small(1)],
            [large(2), small(3, "other")],
            {SMALL: 4},
            {LARGE: 1, SMALL: 1},
            False,
        ),  # one more, and three fewer
    ],
)
def test_whether_a_layout_helps(
    seated: list[Demand], waiting: list[Demand], before: dict[str, int], later: dict[str, int], helps: bool
) -> None:
    assert demand.helps(seated, waiting, before=before, later=later) is helps


slots = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 4))
demands = st.lists(
    st.builds(
        Demand,
        name=st.uuids().map(str),
        count=st.integers(1, 4),
        slot_types=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True).map(tuple),
    ),
    max_size=4,
)


@given(demands, demands, slots, slots)
def test_who_has_a_seat_keeps_it_and_more_of_the_others_get_one(
    seated: list[Demand], waiting: list[Demand], before: dict[str, int], later: dict[str, int]
) -> None:
    if not demand.helps(seated, waiting, before=before, later=later):
        return
    assert seat(seated, later) == {}
    placed = [sum(each.count for each in waiting) - short for short in _short(seated, waiting, before, later)]
    assert placed[1] > placed[0]


def _short(
    seated: list[Demand], waiting: list[Demand], before: dict[str, int], later: dict[str, int]
) -> tuple[int, int]:
    """Of those that wait, how many have no seat before and later, whoever is seated first."""
    found = (
        sum(seat((*seated, *waiting), each).values()) - sum(seat(seated, each).values()) for each in (before, later)
    )
    return next(found), next(found)


def test_the_slots_after_a_change() -> None:
    assert demand.after({SMALL: 2, "other": 1}, difference(DAY, NIGHT)) == {SMALL: 2, LARGE: 1, "other": 1}


def pod(label: str | None, *, gpus: object = 1, **about: Any) -> Any:
    selector = {} if label is None else {names.LABEL_PROFILE: label}
    containers = [{"name": "m", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}]
    return {"metadata": {"name": "p", **about}, "spec": {"nodeSelector": selector, "containers": containers}}


def test_which_pods_wait() -> None:
    bound = pod(LARGE)
    bound["spec"]["nodeName"] = "node-5"
    pods = [
        pod(LARGE),
        pod("V100-16Q", gpus=2),
        pod(SMALL),
        bound,
        pod(None),
        pod(LARGE, labels={names.LABEL_POOL: "workers"}),
        pod(LARGE, deletionTimestamp="now"),
        pod("what"),
        pod(LARGE, gpus="half"),
        pod(LARGE, gpus=0),
    ]
    assert demand.waiting_pods(pods) == (
        Demand(name=f"pods for {LARGE}", count=3, slot_types=(LARGE,)),
        Demand(name=f"pods for {SMALL}", count=1, slot_types=(SMALL,)),
    )


def test_patience_begins_anew_with_each_break() -> None:
    patience = Patience()
    assert patience.note("a", ["night"], now_s=10.0) == {"night": 0.0}
    assert patience.note("b", [], now_s=12.0) == {}
    assert patience.note("a", ["noon", "night"], now_s=15.0) == {"night": 5.0, "noon": 0.0}
    assert patience.note("a", ["noon"], now_s=20.0) == {"noon": 5.0}
    assert patience.note("a", ["night", "noon"], now_s=21.0) == {"night": 0.0, "noon": 6.0}
