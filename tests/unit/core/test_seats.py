"""Whether replicas find slots, where a greedy choice would seat too few."""

import pytest

from vgpu.core.seats import Demand, seat

SMALL, LARGE = "v100-4q-4GB", "v100-16q-16GB"


def demand(name: str, count: int, *types: str) -> Demand:
    return Demand(name=name, count=count, slot_types=types)


def test_all_fit() -> None:
    assert seat([demand("chat", 4, SMALL), demand("train", 1, LARGE)], {SMALL: 4, LARGE: 1}) == {}


def test_who_can_move_makes_room_for_who_cannot() -> None:
    assert seat([demand("chat", 2, SMALL, LARGE), demand("embed", 2, SMALL)], {SMALL: 3, LARGE: 1}) == {}


def test_a_chain_of_moves_is_found() -> None:
    demands = [demand("a", 1, "x", "y"), demand("b", 1, "y", "z"), demand("c", 1, "x"), demand("d", 1, "x", "y")]
    assert seat(demands, {"x": 1, "y": 1, "z": 1}) == {"d": 1}


def test_those_named_first_are_seated_first() -> None:
    assert seat([demand("chat", 3, SMALL), demand("embed", 3, SMALL)], {SMALL: 4}) == {"embed": 2}


def test_a_type_that_nobody_has_seats_nobody() -> None:
    assert seat([demand("chat", 2, SMALL), demand("none", 1), demand("idle", 0, SMALL)], {LARGE: 9}) == {
        "chat": 2,
        "none": 1,
    }


def test_what_cannot_be_asked_for_is_refused() -> None:
    with pytest.raises(ValueError, match="a name comes twice in chat, chat; join its counts"):
        seat([demand("chat", 1, SMALL), demand("chat", 1, LARGE)], {})
    with pytest.raises(ValueError, match="count of 'chat' is -1; a model needs 0 replicas or more"):
        demand("chat", -1, SMALL)
