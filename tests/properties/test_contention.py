"""What holds for readings on cards, however many cards there are and of whatever kinds: all are worked out at once."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.contention import BUSY_RATIO, measure
from autoscaler.core.interference import stretches
from autoscaler.core.observation import Observation, SlotReading
from autoscaler.core.pace import firsts_per_s, gains_per_s
from autoscaler.core.service import Demand
from autoscaler.core.spec import PolicySettings
from tests import build
from vgpu.core.inventory import Inventory, Node
from vgpu.core.share import SchedulerPolicy

RATIO = st.floats(0.0, 1.0)


@st.composite
def cards(draw: st.DrawFn) -> list[Node]:
    """Cards of one to four slots, each below a node of its own, that nobody may know."""
    nodes = []
    for number in range(draw(st.integers(1, 6))):
        slots = draw(st.integers(1, 4))
        held = draw(st.sets(st.integers(0, slots - 1)))
        nodes.append(
            build.node(
                f"n{number}",
                profile="v100-4q-4GB",
                slots=slots,
                card=f"GPU-{number}" if draw(st.booleans()) else None,
                policy=draw(st.sampled_from(list(SchedulerPolicy))),
                held={index: f"s/w{number}-{index}" for index in held},
            )
        )
    return nodes


@given(nodes=cards(), data=st.data())
def test_a_card_does_not_depend_on_what_other_cards_there_are(nodes: list[Node], data: st.DataObject) -> None:
    stock = build.inventory(*nodes)
    ids = [slot.slot_id for slot in stock.slots]
    busy = data.draw(st.fixed_dictionaries({slot_id: st.none() | RATIO for slot_id in ids}))
    before = data.draw(st.dictionaries(st.sampled_from(ids), RATIO))
    readings = tuple(
        SlotReading(slot_id=key, at_s=0.0, busy_ratio=ratio) for key, ratio in busy.items() if ratio is not None
    )
    seen = Observation(slots=readings)
    whole = measure(stock, seen, PolicySettings(), 0.0, before)
    for node in stock.nodes:
        alone = measure(Inventory(nodes=(node,)), seen, PolicySettings(), 0.0, before)
        for gpu, load in alone.gpus.items():
            assert (whole.gpus[gpu], whole.usual_by_gpu[gpu]) == (load, alone.usual_by_gpu[gpu])
        for slot in node.slots:
            for name in ("readings", "neighbours", "used", "usual", "left"):
                assert getattr(whole, name).get(slot.slot_id) == getattr(alone, name).get(slot.slot_id), name
    assert list(whole.gpus) == list(stock.directory.cards), "in the order of nodes"


@given(busy=st.lists(RATIO, min_size=1, max_size=4), before=st.lists(RATIO, min_size=4, max_size=4))
def test_sums_are_those_of_one_slot_after_the_other(busy: list[float], before: list[float]) -> None:
    """To the last bit: a plan must not depend on how many numbers a machine adds at once."""
    stock = build.inventory(build.node("n1", profile="v100-4q-4GB", slots=len(busy), card="GPU-a"))
    readings = tuple(SlotReading(slot_id=f"n1/{at}", at_s=0.0, busy_ratio=ratio) for at, ratio in enumerate(busy))
    usual = {f"n1/{at}": ratio for at, ratio in enumerate(before)}
    seen = measure(stock, Observation(slots=readings), PolicySettings(), 0.0, usual)
    assert seen.gpus["GPU-a"].busy_ratio == added(busy)
    assert seen.usual_on("GPU-a") == added([seen.usual[f"n1/{at}"] for at in range(len(busy))])
    for at, own in enumerate(busy):
        beside = seen.beside(f"n1/{at}")
        assert beside is not None
        others = [*busy[:at], *busy[at + 1 :]]
        assert (beside.own_ratio, beside.others_ratio) == (own, added(others))
        active = np.array([sum(ratio > BUSY_RATIO for ratio in others)])
        none, ratios = np.array([0]), np.array([[added(others)], [own]])
        assert beside.stretch == stretches(SchedulerPolicy.BEST_EFFORT, *ratios, none, none, active)[0]


def added(ratios: list[float]) -> float:
    total = 0.0
    for ratio in ratios:
        total += ratio
    return total


DEMAND = st.builds(Demand, away_s=st.floats(0.0, 0.1), engine_s=st.floats(0.001, 0.1), items=st.floats(1.0, 8.0))
CARD = st.tuples(st.integers(1, 4), st.floats(0.05, 1.0))


@given(demand=DEMAND, free=st.lists(CARD, min_size=1, max_size=8), least=st.floats(0.0, 0.5))
def test_first_replicas_are_all_that_matters_only_where_no_second_one_is_worth_more(
    demand: Demand, free: list[tuple[int, float]], least: float
) -> None:
    least_per_s = least * demand.items / demand.solo_s
    firsts = firsts_per_s(demand, free, least_per_s)
    every = sorted([gain for slots, left in free for gain, _ in gains_per_s(demand, left, 0, slots)], reverse=True)
    if firsts is not None:
        assert firsts == every[: len(free)]
        assert firsts[-1] >= least_per_s
        assert all(after <= before for before, after in pairwise(firsts))
