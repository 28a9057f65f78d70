"""How far targets may rise over joined pools: never beyond the workers in which the replicas could sit."""

from autoscaler.core.seating import Party, targets


def party(model: str, pools: str, *, claim: int, target: int | None, count: int, **held: int) -> Party:
    return Party(model=model, pools=tuple(pools.split()), claim=claim, held=held, target=target, count=count)


def test_a_target_rises_to_the_workers_left_in_any_of_its_pools() -> None:
    grows = party("s", "a b", claim=1, target=1, count=5, a=1)
    assert targets([grows], {"a": 2, "b": 2}) == {"s": 4}


def test_workers_of_other_pools_are_no_use() -> None:
    assert targets([party("s", "a", claim=1, target=1, count=5, a=1)], {"a": 1, "b": 9}) == {"s": 1}


def test_who_has_one_pool_sits_down_before_who_has_a_choice() -> None:
    waits = party("s", "a b", claim=2, target=2, count=2)
    single = party("m", "a", claim=0, target=0, count=1)
    single_waits = party("n", "a", claim=1, target=1, count=1)
    assert targets([waits, single, single_waits], {"a": 2, "b": 1}) == {"s": 2, "m": 0, "n": 1}
    assert targets([waits, single, single_waits], {"a": 2, "b": 2}) == {"s": 2, "m": 1, "n": 1}


def test_the_first_in_order_takes_what_is_left() -> None:
    first = party("s", "a b", claim=0, target=0, count=2)
    second = party("m", "b", claim=0, target=0, count=2)
    assert targets([first, second], {"a": 1, "b": 2}) == {"s": 2, "m": 1}
    assert targets([second, first], {"a": 1, "b": 2}) == {"m": 2, "s": 1}


def test_what_cannot_be_read_keeps_its_workers() -> None:
    unread = party("u", "a", claim=2, target=None, count=2)
    assert targets([party("s", "a b", claim=0, target=0, count=3), unread], {"a": 3, "b": 1}) == {"s": 2}


def test_too_few_workers_lower_no_target() -> None:
    assert targets([party("s", "a b", claim=4, target=4, count=5, a=3)], {"a": 1, "b": 0}) == {"s": 4}
