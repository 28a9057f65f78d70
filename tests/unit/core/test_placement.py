"""Which slots help: least crowded first, none on a saturated card, in the order of priority."""

from dataclasses import replace

from autoscaler.core.capacity import Cards
from autoscaler.core.contention import Contention, measure
from autoscaler.core.decision import Reason
from autoscaler.core.observation import SlotReading
from autoscaler.core.placement import FleetPlacement, Grant, Want, place_models
from autoscaler.core.spec import PolicySettings
from tests import build
from vgpu.core.inventory import Inventory
from vgpu.core.packing import Blocked
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy

PROFILE = parse_profile(build.PROFILE)


def want(count: int, *, model: str = "minilm", current: int = 1, firm: int = 1, pool: str = "p") -> Want:
    return Want(model=model, pool=pool, profile=PROFILE, count=count, current=current, firm=firm)


def cards(policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT, held: str = "") -> Inventory:
    """Three cards of two slots; `held` lists the slots that a worker or another tenant holds."""
    return build.inventory(
        *(
            build.node(
                f"n{index}",
                slots=2,
                card=f"GPU-{index}",
                policy=policy,
                held={slot: f"pod/{index}{slot}" for slot in (0, 1) if f"n{index}/{slot}" in held.split()},
            )
            for index in (1, 2, 3)
        )
    )


def contention(stock: Inventory, **busy: float) -> Contention:
    """Slot readings as n1_0=0.5; what is not given reads 0."""
    readings = [
        SlotReading(slot_id=slot.slot_id, at_s=0, busy_ratio=busy.get(slot.slot_id.replace("/", "_"), 0.0))
        for slot in stock.slots
    ]
    return measure(stock, build.world(stock, slots=readings), PolicySettings(), 0)


def place(stock: Inventory, *wants: Want, bound: int = 0, **busy: float) -> FleetPlacement:
    return place_models(wants, {"p": bound}, stock, known(stock, contention(stock, **busy)))


def known(stock: Inventory, measured: Contention) -> Cards:
    return Cards.of(stock, measured, frozenset(), frozenset())


def test_new_workers_go_to_the_least_busy_card() -> None:
    stock = cards(held="n1/0 n2/0 n3/0")
    placed = place(stock, want(5, current=3), bound=3, n1_0=0.8, n2_0=0.1, n3_0=0.4)
    assert placed == FleetPlacement(grants={"minilm": Grant(model="minilm", count=5)}, nodes={"p": ("n2", "n3")})


def test_no_successor_takes_the_worker_of_a_replica_that_stays() -> None:
    """Both replicas of the first model leave; one slot is free, and the two workers that stay hold the second's."""
    stock = cards(held="n1/0 n1/1 n2/0 n2/1 n3/0")
    moves = replace(want(2, model="a", current=2, firm=2), leaving=2)
    placed = place(stock, moves, want(2, model="b", current=2, firm=2), bound=2)
    full = tuple((node, Blocked.ALL_SLOTS_HELD) for node in ("n1", "n2", "n3"))
    assert placed.grants == {
        "a": Grant(model="a", count=2, blocked=full, seats=1),
        "b": Grant(model="b", count=2),
    }
    assert placed.nodes == {"p": ("n3",)}


def test_what_leaves_has_its_place_still_and_growth_beyond_it_has_none() -> None:
    stock = cards(held="n1/0 n1/1 n2/0 n2/1 n3/0")
    placed = place(stock, replace(want(5, current=2, firm=2), leaving=2)).grants["minilm"]
    assert (placed.count, placed.seats, placed.unplaced, placed.reason) == (3, 1, 2, Reason.NO_SLOTS)


def test_what_this_plan_put_on_a_card_counts_as_a_neighbour() -> None:
    assert place(cards(), want(3)).nodes == {"p": ("n1", "n2", "n3")}


def test_under_fixed_share_neighbours_do_not_matter_and_cards_are_filled() -> None:
    stock = cards(SchedulerPolicy.FIXED_SHARE, held="n2/0")
    assert place(stock, want(3), n2_0=0.5).nodes == {"p": ("n2", "n1")}


def test_under_equal_share_an_idle_neighbour_counts() -> None:
    stock = cards(SchedulerPolicy.EQUAL_SHARE, held="n1/0")
    assert place(stock, want(2)).nodes == {"p": ("n2", "n3")}


def test_growth_stops_at_saturated_cards_and_says_so() -> None:
    stock = cards(held="n1/0 n2/0 n3/0 n3/1")
    placed = place(stock, want(4, current=1), bound=1, n1_0=0.95, n2_0=0.95)
    assert placed.grants["minilm"] == Grant(
        model="minilm",
        count=1,
        unplaced=3,
        reason=Reason.SATURATED,
        blocked=(("n1", Blocked.REFUSED), ("n2", Blocked.REFUSED), ("n3", Blocked.ALL_SLOTS_HELD)),
    )


def test_growth_takes_what_helps_before_it_stops() -> None:
    stock = cards(held="n1/0 n2/0")
    placed = place(stock, want(6, current=2), bound=2, n1_0=0.95, n2_0=0.95)
    assert (placed.grants["minilm"].count, placed.grants["minilm"].reason) == (4, Reason.SATURATED)
    assert placed.nodes == {"p": ("n3",)}


def test_a_full_card_of_fixed_shares_is_no_reason_to_stop() -> None:
    stock = cards(SchedulerPolicy.FIXED_SHARE, held="n1/0 n2/0 n3/0 n3/1")
    placed = place(stock, want(3, current=1), bound=1, n1_0=0.5, n2_0=0.5, n3_0=0.5, n3_1=0.5)
    assert placed.grants["minilm"] == Grant(model="minilm", count=3)


def test_without_a_free_slot_the_reason_is_another() -> None:
    stock = cards(held="n1/0 n1/1 n2/0 n2/1 n3/0 n3/1")
    placed = place(stock, want(3, current=2), bound=2)
    assert (placed.grants["minilm"].count, placed.grants["minilm"].reason) == (2, Reason.NO_SLOTS)


def test_what_was_decided_before_may_go_to_a_saturated_card() -> None:
    """Workers on their way would otherwise come and go with every reading around 90 %."""
    stock = cards(held="n1/0 n2/0 n3/0 n3/1")
    placed = place(stock, want(3, current=3), bound=1, n1_0=0.95, n2_0=0.95)
    assert placed.grants["minilm"] == Grant(model="minilm", count=3)


def test_what_was_decided_before_is_given_up_when_its_slots_are_gone() -> None:
    stock = cards(held="n1/0 n1/1 n2/0 n2/1 n3/0 n3/1")
    placed = place(stock, want(4, current=4, firm=2), bound=2)
    assert (placed.grants["minilm"].count, placed.grants["minilm"].unplaced) == (2, 2)


def test_what_runs_and_the_minimum_are_granted_even_without_a_slot() -> None:
    stock = cards(held="n1/0 n1/1 n2/0 n2/1 n3/0 n3/1")
    grant = place(stock, want(2, current=2, firm=2), bound=0).grants["minilm"]
    assert (grant.count, grant.unplaced, grant.reason) == (2, 2, Reason.NO_SLOTS)


def test_warm_workers_are_used_before_new_slots() -> None:
    assert place(cards(held="n1/0 n2/0"), want(2), bound=2).nodes == {}


def test_free_slots_go_to_the_higher_priority() -> None:
    stock = cards(held="n1/0 n1/1 n2/0 n2/1 n3/0")
    placed = place(stock, want(3, model="first"), want(3, model="second"), bound=2)
    assert {model: grant.count for model, grant in placed.grants.items()} == {"first": 2, "second": 1}


def test_a_higher_priority_takes_no_worker_from_a_running_replica() -> None:
    stock = cards(held="n1/0 n1/1 n2/0 n2/1 n3/0 n3/1")
    placed = place(stock, want(4, model="first"), want(3, model="second", current=3, firm=3), bound=4)
    assert {model: grant.count for model, grant in placed.grants.items()} == {"first": 1, "second": 3}


def test_minimums_come_before_growth_of_a_higher_priority() -> None:
    stock = cards(held="n1/0 n1/1 n2/0 n2/1 n3/0")
    placed = place(stock, want(9, model="first", current=5, firm=5), want(1, model="second", current=0), bound=5)
    assert {model: grant.count for model, grant in placed.grants.items()} == {"first": 5, "second": 1}


def test_a_pool_that_cannot_be_read_grows_nothing() -> None:
    stock = cards()
    placed = place_models([want(3, current=2)], {}, stock, known(stock, contention(stock)))
    assert placed.grants == {"minilm": Grant(model="minilm", count=2, reason=Reason.WORKERS_UNREADABLE)}
    shrinking = place_models([want(1, current=2)], {}, stock, known(stock, contention(stock)))
    assert shrinking.grants == {"minilm": Grant(model="minilm", count=1)}


def test_an_unread_card_is_used_after_the_quiet_ones() -> None:
    stock = cards(held="n1/0")
    seen = build.world(
        stock,
        slots=[SlotReading(slot_id=slot.slot_id, at_s=0, busy_ratio=0.0) for slot in stock.slots if slot.node != "n1"],
    )
    measured = measure(stock, seen, PolicySettings(), 0)
    placed = place_models([want(3)], {"p": 1}, stock, known(stock, measured))
    assert placed.nodes == {"p": ("n2", "n3")}


def test_growth_up_to_each_share_comes_before_growth_beyond() -> None:
    greedy, modest = replace(want(6, model="a"), share=3), want(3, model="b")
    found = place(cards(), greedy, modest)
    assert {name: grant.count for name, grant in found.grants.items()} == {"a": 3, "b": 3}
    found = place(cards(), greedy, replace(modest, count=2))
    assert {name: grant.count for name, grant in found.grants.items()} == {"a": 4, "b": 2}
