"""Use against entitlement, saturation and crowding, by scheduler policy."""

import pytest

from autoscaler.core.contention import Beside, Contention, GpuLoad, measure
from autoscaler.core.observation import Missing, MissingReason, Observation, SlotReading, Source
from autoscaler.core.spec import PolicySettings
from tests import build
from vgpu.core.inventory import Gpu, Inventory, Node, Slot
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_type import Fraction

BEST, EQUAL, FIXED = SchedulerPolicy.BEST_EFFORT, SchedulerPolicy.EQUAL_SHARE, SchedulerPolicy.FIXED_SHARE


def contention(
    policy: SchedulerPolicy, *busy: float | None, card: str | None = "GPU-a", at_s: float = 0.0, now_s: float = 0.0
) -> Contention:
    """One card with a 4q slot for each reading, None for a slot that was not read; the first two slots are held."""
    stock = build.inventory(
        build.node(
            "n1",
            profile="v100-4q-4GB",
            slots=len(busy),
            card=card,
            policy=policy,
            held={0: "serving/a", 1: "serving/b"},
        )
    )
    readings = [
        SlotReading(slot_id=f"n1/{index}", at_s=at_s, busy_ratio=ratio)
        for index, ratio in enumerate(busy)
        if ratio is not None
    ]
    return measure(stock, build.world(stock, slots=readings), PolicySettings(), now_s)


@pytest.mark.parametrize(
    ("policy", "busy", "used"),
    [
        (FIXED, (0.25, 0.0), 1.0),
        (FIXED, (0.125, 0.25), 0.5),
        (EQUAL, (0.25, 0.0), 0.5),
        (EQUAL, (0.25, 0.25, 0.0, 0.0), 1.0),
        (BEST, (0.5, 0.0), 0.5),
        (BEST, (0.5, 0.5), 1.0),
        (BEST, (0.45, 0.10), 0.5),
        (BEST, (0.9, 0.03), 0.9),
        (BEST, (0.25, 0.25, 0.25, 0.25), 1.0),
        (FIXED, (0.5, 0.0), 1.0),
    ],
    ids=[
        "a fixed quarter is full at a quarter of the engine",
        "a fixed share does not depend on the neighbour",
        "equal share halves with an idle neighbour",
        "equal share quarters with three neighbours",
        "best effort alone has the whole card",
        "best effort halves with a busy neighbour",
        "best effort has what a light neighbour leaves",
        "a neighbour at rest takes nothing",
        "four busy neighbours have a quarter each",
        "more than the share still reads as full",
    ],
)
def test_use_is_measured_against_what_the_slot_is_entitled_to(
    policy: SchedulerPolicy, busy: tuple[float, ...], used: float
) -> None:
    assert contention(policy, *busy).used_of_entitled("n1/0") == pytest.approx(used)


@pytest.mark.parametrize(
    ("policy", "card", "busy", "used"),
    [
        (BEST, "GPU-a", (0.5, None), None),
        (EQUAL, "GPU-a", (0.25, None), 0.5),
        (FIXED, "GPU-a", (0.25, None), 1.0),
        (BEST, None, (0.5, 0.0), None),
        (EQUAL, None, (0.5, 0.0), None),
        (FIXED, None, (0.25, 0.0), 1.0),
        (FIXED, "GPU-a", (None, 0.0), None),
    ],
    ids=[
        "best effort needs every neighbour's reading",
        "equal share needs only their number",
        "fixed share needs neither",
        "an unknown card hides best-effort neighbours",
        "an unknown card hides equal-share neighbours",
        "an unknown card hides nothing a fixed share depends on",
        "a slot without a reading has no use",
    ],
)
def test_what_cannot_be_said_is_not_guessed(
    policy: SchedulerPolicy, card: str | None, busy: tuple[float | None, ...], used: float | None
) -> None:
    assert contention(policy, *busy, card=card).used_of_entitled("n1/0") == used


def test_a_card_with_slots_of_two_sizes_divides_by_those_that_run() -> None:
    nodes = [
        build.node("n1", card="GPU-a", policy=EQUAL),
        build.node("n2", profile="v100-4q-4GB", slots=2, card="GPU-a", policy=EQUAL),
    ]
    stock = build.inventory(*nodes)
    seen = build.world(stock, slots=[SlotReading(slot_id="n1/0", at_s=0, busy_ratio=0.25)])
    assert measure(stock, seen, PolicySettings(), 0).used_of_entitled("n1/0") == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("policy", "card", "busy", "saturated"),
    [
        (BEST, "GPU-a", (0.5, 0.4), True),
        (EQUAL, "GPU-a", (0.5, 0.4), True),
        (BEST, "GPU-a", (0.5, 0.39), False),
        (BEST, "GPU-a", (0.9, None), True),
        (BEST, "GPU-a", (0.5, None), False),
        (FIXED, "GPU-a", (0.5, 0.5), False),
        (BEST, None, (0.5, 0.5), False),
    ],
    ids=[
        "best effort",
        "equal share",
        "not quite",
        "whatever the unread slot does",
        "an unread slot is not taken for busy",
        "a fixed share is there for whoever takes it",
        "slots below one node may lie on several cards",
    ],
)
def test_a_saturated_card_has_nothing_left_to_give(
    policy: SchedulerPolicy, card: str | None, busy: tuple[float | None, ...], saturated: bool
) -> None:
    load = next(iter(contention(policy, *busy, card=card).gpus.values()))
    assert load.saturated is saturated


def test_a_card_shows_its_load() -> None:
    assert contention(BEST, 0.5, 0.25, None, 0.0).gpus == {
        "GPU-a": GpuLoad(gpu="GPU-a", policy=BEST, slots=4, held=2, busy_ratio=0.75, unread=1, saturated=False)
    }


@pytest.mark.parametrize(
    ("policy", "busy", "crowding"),
    [
        (FIXED, (1.0, 0.0, 0.0, 0.0), 0.0),
        (BEST, (0.0, 0.0, 0.0, 0.0), 0.0),
        (BEST, (0.42, 0.0, 0.0, 0.0), 0.4),
        (BEST, (0.0, None, 0.0, 0.0), 0.5),
        (EQUAL, (0.0, 0.0, 0.0, 0.0), 0.5),
        (EQUAL, (0.8, 0.0, 0.0, 0.0), 0.8),
    ],
    ids=[
        "a fixed share meets nobody",
        "best effort does not mind idle neighbours",
        "it minds busy ones, in tenths",
        "an unread neighbour may be busy",
        "equal share minds idle ones too",
        "and busy ones more",
    ],
)
def test_crowding_is_what_a_new_replica_would_meet(
    policy: SchedulerPolicy, busy: tuple[float | None, ...], crowding: float
) -> None:
    assert contention(policy, *busy).crowding("GPU-a") == crowding


def test_an_old_reading_is_missing_with_its_age() -> None:
    old = contention(BEST, 0.5, None, at_s=0.0, now_s=11.0)
    assert old.readings == {
        "n1/0": Missing(source=Source.SLOT, name="n1/0", reason=MissingReason.STALE, age_s=11.0),
        "n1/1": Missing(source=Source.SLOT, name="n1/1", reason=MissingReason.NOT_SEEN),
    }


@pytest.mark.parametrize("busy_ratio", [-0.01, 1.01])
def test_garbage_from_the_device_is_refused(busy_ratio: float) -> None:
    with pytest.raises(ValueError, match="0 to 1 of the physical engine"):
        SlotReading(slot_id="n1/0", at_s=0, busy_ratio=busy_ratio)


def shared_card(*parts: tuple[int, str | None, str]) -> Inventory:
    """A card that is shared by units: (units, holder, name) of each part."""
    card = Gpu(uuid="GPU-a", framebuffer_mib=16384, policy=BEST, index=0)
    slots = tuple(
        Slot(node="n1", index=index, profile=Fraction(units=units), gpu=card, holder=holder, name=name)
        for index, (units, holder, name) in enumerate(parts)
    )
    return build.inventory(Node(name="n1", ready=True, schedulable=True, slots=slots))


def test_a_fraction_without_a_process_on_a_card_that_was_read_uses_nothing() -> None:
    stock = shared_card((500, "serving/w1", "w1"), (300, "batch/b1", "b1"))
    readings = (
        SlotReading(slot_id="n1/0", at_s=0, busy_ratio=0.6),  # the card as a whole
        SlotReading(slot_id="n1/w1", at_s=0, busy_ratio=0.6),
    )
    seen = measure(stock, Observation(slots=readings), PolicySettings(), 1.0)
    assert seen.readings["n1/b1"] == SlotReading(slot_id="n1/b1", at_s=0, busy_ratio=0.0)
    assert seen.beside("n1/w1") == Beside(own_ratio=0.6, others_ratio=0.0, stretch=1.0)


def test_a_fraction_on_a_card_that_nobody_read_is_unknown() -> None:
    unread = measure(shared_card((500, "serving/w1", "w1")), Observation(), PolicySettings(), 1.0)
    told = Missing(source=Source.SLOT, name="n1/w1", reason=MissingReason.UNSUPPORTED)
    card = (SlotReading(slot_id="n1/0", at_s=0, busy_ratio=0.6),)
    unsaid = measure(
        shared_card((500, "serving/w1", "w1")), Observation(slots=card, missing=(told,)), PolicySettings(), 1.0
    )
    assert isinstance(unread.readings["n1/w1"], Missing)
    assert unsaid.readings["n1/w1"] == told


def test_what_no_tenant_accounts_for_is_a_strangers_or_an_unknown_tenants() -> None:
    """The exporter could not tell whose a process is, or somebody is on the card who was given nothing of it."""
    stock = shared_card((300, "serving/w1", "w1"), (300, "batch/b1", "b1"), (300, None, "gpu0+300+0"))
    readings = (
        SlotReading(slot_id="n1/0", at_s=0, busy_ratio=0.97),
        SlotReading(slot_id="n1/w1", at_s=0, busy_ratio=0.1),
    )
    seen = measure(stock, Observation(slots=readings), PolicySettings(), 1.0)
    assert isinstance(seen.readings["n1/b1"], Missing)
    load = seen.gpus["GPU-a"]
    assert (load.busy_ratio, load.unread, load.saturated) == (pytest.approx(0.97), 2, True)
    assert seen.usual_on("GPU-a") == pytest.approx(0.97)
    assert seen.beside("n1/w1") is None


def test_what_could_be_cut_instead_is_no_further_slot() -> None:
    """Sizes that other models ask for do not change what this card is to its tenant."""
    one = shared_card((500, "serving/w1", "w1"), (500, None, "a"))
    many = shared_card((500, "serving/w1", "w1"), (500, None, "a"), (250, None, "b"), (250, None, "c"))
    card = (SlotReading(slot_id="n1/0", at_s=0, busy_ratio=0.3), SlotReading(slot_id="n1/w1", at_s=0, busy_ratio=0.3))
    found = [measure(stock, Observation(slots=card), PolicySettings(), 1.0).gpus["GPU-a"] for stock in (one, many)]
    assert [load.slots for load in found] == [2, 2]
