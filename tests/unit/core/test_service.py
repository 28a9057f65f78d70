"""The cost of a batch is learned from what replicas did, with the waits for their neighbours taken out."""

import pytest

from autoscaler.core.contention import Contention, measure
from autoscaler.core.observation import Counters, SlotReading
from autoscaler.core.replicas import FreshReplica
from autoscaler.core.service import Demand, Service, learn
from autoscaler.core.spec import PolicySettings
from tests import build
from vgpu.core.share import SchedulerPolicy

WARM = frozenset({"r1"})


def taught(*batches: tuple[float, float], each: float = 100.0) -> Service:
    """A model whose batches of so many items took so many seconds, a third of them on the engine."""
    service = Service()
    for items, solo_s in batches:
        service = service.with_batches(batches=each, items=items, solo_s=solo_s, engine_s=solo_s / 3)
    return service


def line(items: float) -> float:
    return 0.020 + 0.005 * items


def test_a_line_of_costs_is_found_again() -> None:
    service = taught(*((items, line(items)) for items in (1.0, 2.0, 4.0, 8.0)))
    for items in (1.0, 3.0, 8.0, 16.0):
        assert service.demand(items).solo_s == pytest.approx(line(items))
        assert service.demand(items).engine_s == pytest.approx(line(items) / 3)


def test_one_batch_size_says_nothing_of_another_so_cost_is_taken_in_proportion() -> None:
    service = taught((4.0, 0.040))
    assert service.demand(1.0).solo_s == pytest.approx(0.010)
    assert service.demand(8.0).solo_s == pytest.approx(0.080)


def test_larger_batches_never_cost_less_nor_more_than_in_proportion() -> None:
    assert taught((1.0, 0.050), (4.0, 0.030)).demand(8.0).solo_s == pytest.approx(0.040, rel=0.01)
    steep = taught((1.0, 0.001), (4.0, 0.100)).demand(8.0)
    assert steep.solo_s == pytest.approx(0.0505 / 2.5 * 8, rel=0.01)


def test_a_demand_is_time_elsewhere_and_time_of_the_engine() -> None:
    demand = taught((1.0, 0.060)).demand(1.0)
    assert (demand.away_s, demand.engine_s) == (pytest.approx(0.040), pytest.approx(0.020))
    assert demand.solo_s == pytest.approx(0.060)


def test_a_handful_of_batches_tells_no_cost() -> None:
    few = taught((1.0, 0.060), each=19.0)
    assert not few.is_known
    with pytest.raises(ValueError, match="only 19 batches were seen; 20 tell a cost"):
        few.demand(1.0)
    assert taught((1.0, 0.060), each=20.0).is_known


def test_new_costs_replace_old_ones() -> None:
    service = taught((1.0, 0.060))
    for _ in range(150):
        service = service.with_batches(batches=100.0, items=1.0, solo_s=0.120, engine_s=0.040)
    assert service.demand(1.0).solo_s == pytest.approx(0.120, rel=0.01)


def test_the_best_batch_does_most_within_its_time() -> None:
    service = taught(*((items, line(items)) for items in (1.0, 4.0, 8.0)))
    assert service.best(most_items=64, within_s=0.070).items == 8.0
    assert service.best(most_items=64, within_s=0.050).items == 4.0
    assert service.best(most_items=1, within_s=0.070).items == 1.0


def test_where_no_batch_is_in_time_single_requests_are_the_best() -> None:
    assert taught((1.0, 0.060)).best(most_items=8, within_s=0.010) == Demand(
        away_s=pytest.approx(0.040), engine_s=pytest.approx(0.020), items=1.0
    )


def replica(
    *, answered: int = 100, batches: int = 100, busy_s: float = 6.0, slot_id: str | None = "n1/0"
) -> FreshReplica:
    """What one replica did in 10 s."""
    before = build.sample("r1", 0.0, build.counters(), slot_id=slot_id)
    done = build.counters({50: answered}, busy_s=busy_s)
    counted = Counters(
        answered=done.answered,
        refused=0,
        failed=0,
        duration=done.duration,
        engine_busy_s=done.engine_busy_s,
        batches=batches,
    )
    window = build.window(before, build.sample("r1", 10.0, counted, slot_id=slot_id))
    return FreshReplica(replica_id="r1", slot_id=slot_id, age_s=0.0, samples=window)


def card(*busy: float, policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT) -> Contention:
    """One card; a guest in each slot, which is so busy."""
    held = {index: f"s/w{index}" for index in range(len(busy))}
    stock = build.inventory(build.node("n1", slots=len(busy), card="GPU-a", policy=policy, held=held))
    readings = [SlotReading(slot_id=f"n1/{index}", at_s=10.0, busy_ratio=ratio) for index, ratio in enumerate(busy)]
    return measure(stock, build.world(stock, slots=readings), PolicySettings(), 10.0)


def learned(made: FreshReplica, contention: Contention, warm: frozenset[str] = WARM) -> Demand:
    return learn(Service(), [made], contention, warm).demand(1.0)


def test_alone_on_its_card_the_time_of_a_batch_is_its_cost() -> None:
    """100 batches in 6 s of work, and NVML saw the engine busy for 2 of the 10 s."""
    demand = learned(replica(), card(0.2))
    assert (demand.solo_s, demand.engine_s) == (pytest.approx(0.060), pytest.approx(0.020))


def test_waits_for_a_neighbour_are_taken_out() -> None:
    """A neighbour that takes half of the engine beside our fifth is met at 56 % of the visits: 20 ms become 31.3 ms."""
    demand = learned(replica(busy_s=4.0 + 2.0 * 1.5635), card(0.2, 0.5))
    assert (demand.solo_s, demand.engine_s) == (pytest.approx(0.060, rel=1e-3), pytest.approx(0.020))


def test_under_fixed_share_the_turns_of_absent_guests_are_taken_out() -> None:
    """A 16 GB card cut into 8 GB slots: every slot waits as long as it works."""
    demand = learned(replica(busy_s=8.0), card(0.2, policy=SchedulerPolicy.FIXED_SHARE))
    assert (demand.solo_s, demand.engine_s) == (pytest.approx(0.060), pytest.approx(0.020))


@pytest.mark.parametrize(
    ("made", "contention", "warm"),
    [
        (replica(), card(0.2), frozenset()),
        (replica(), card(0.1, 0.86), WARM),
        (replica(busy_s=0.0), card(0.2), WARM),
        (replica(answered=0, batches=0), card(0.2), WARM),
    ],
    ids=["it warms up", "its card is too full to tell", "it counts no engine time", "it answered nothing"],
)
def test_some_replicas_teach_nothing(made: FreshReplica, contention: Contention, warm: frozenset[str]) -> None:
    assert learn(Service(), [made], contention, warm) == Service()


def test_without_a_device_reading_all_of_the_time_is_the_engines() -> None:
    demand = learned(replica(slot_id=None), card(0.2))
    assert (demand.away_s, demand.engine_s) == (0.0, pytest.approx(0.060))


def test_a_server_that_counts_no_batches_is_taken_to_run_each_request_alone() -> None:
    assert learned(replica(batches=0), card(0.2)).solo_s == pytest.approx(0.060)


def test_the_size_of_batches_comes_from_requests_and_batches() -> None:
    service = learn(Service(), [replica(answered=400, batches=100)], card(0.2), WARM)
    assert service.demand(4.0).solo_s == pytest.approx(0.060)
    assert service.most_items == 4.0
