"""What must hold of the time-sliced engine whatever arrives when."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from vgpu.core.share import SchedulerPolicy, entitled_ratio
from vgpu.emulator.engine import Completion, Engine

SEATS = 4
policies = st.sampled_from(SchedulerPolicy)
slices = st.integers(1, 30)


@dataclass(frozen=True)
class Arrival:
    after_ns: int
    slot: str
    demand_ns: int


def arrivals(slots: int) -> st.SearchStrategy[list[Arrival]]:
    names = st.sampled_from([f"s{index}" for index in range(slots)])
    return st.lists(st.builds(Arrival, st.integers(0, 120), names, st.integers(1, 200)), max_size=12)


@st.composite
def workloads(draw: st.DrawFn) -> tuple[Engine, Engine, list[Arrival]]:
    """Two equal engines and a list of arrivals for their slots."""
    policy, slice_ns, attached = draw(policies), draw(slices), draw(st.integers(1, SEATS))
    twins = [new_engine(policy, slice_ns, attached) for _ in range(2)]
    return twins[0], twins[1], draw(arrivals(attached))


def new_engine(policy: SchedulerPolicy, slice_ns: int, attached: int) -> Engine:
    engine = Engine(policy=policy, slice_ns=slice_ns, most_per_gpu=SEATS)
    for index in range(attached):
        engine.attach(f"s{index}")
    return engine


def play(engine: Engine, schedule: list[Arrival], piece_ns: int | None = None) -> list[Completion]:
    """Feed the arrivals, then run 5000 ns on; with `piece_ns` the engine never advances further than that at once."""
    done: list[Completion] = []

    def advance(to_ns: int) -> None:
        while piece_ns and engine.now_ns + piece_ns < to_ns:
            done.extend(engine.advance(engine.now_ns + piece_ns))
        done.extend(engine.advance(to_ns))

    for number, arrival in enumerate(schedule):
        advance(engine.now_ns + arrival.after_ns)
        engine.submit(arrival.slot, number, arrival.demand_ns)
    advance(engine.now_ns + 5000)
    return done


def total_busy_ns(engine: Engine) -> int:
    return sum(engine.busy_ns(f"s{index}") for index in range(SEATS))


@given(workloads(), st.integers(1, 90))
def test_advancing_in_pieces_equals_advancing_at_once(
    work: tuple[Engine, Engine, list[Arrival]], piece_ns: int
) -> None:
    at_once, in_pieces, schedule = work
    assert play(at_once, schedule) == play(in_pieces, schedule, piece_ns)
    assert [at_once.busy_ns(f"s{index}") for index in range(SEATS)] == [
        in_pieces.busy_ns(f"s{index}") for index in range(SEATS)
    ]
    assert at_once.reserved_idle_ns == in_pieces.reserved_idle_ns


@given(workloads())
def test_completions_come_in_order_of_time_and_of_arrival_within_a_slot(
    work: tuple[Engine, Engine, list[Arrival]],
) -> None:
    engine, _, schedule = work
    done = play(engine, schedule)
    assert [item.finished_ns for item in done] == sorted(item.finished_ns for item in done)
    for slot in {item.slot for item in done}:
        jobs = [item.job for item in done if item.slot == slot]
        assert jobs == [number for number, arrival in enumerate(schedule) if arrival.slot == slot][: len(jobs)]


@given(workloads())
def test_the_engine_is_never_busier_than_time_has_passed(work: tuple[Engine, Engine, list[Arrival]]) -> None:
    engine, _, schedule = work
    play(engine, schedule)
    assert total_busy_ns(engine) + engine.reserved_idle_ns <= engine.now_ns


@given(workloads(), st.integers(0, 300))
def test_each_predicted_completion_is_the_next_one_if_nothing_arrives(
    work: tuple[Engine, Engine, list[Arrival]], later_ns: int
) -> None:
    engine, _, schedule = work
    for number, arrival in enumerate(schedule):
        engine.advance(engine.now_ns + arrival.after_ns)
        engine.submit(arrival.slot, number, arrival.demand_ns)
    engine.advance(engine.now_ns + later_ns)
    while (predicted := engine.next_completion_ns()) is not None:
        assert predicted > engine.now_ns
        assert engine.advance(predicted - 1) == ()
        assert [item.finished_ns for item in engine.advance(predicted)] == [predicted]
    assert engine.advance(engine.now_ns + 10_000) == ()


@given(slices, st.integers(1, SEATS), st.data())
def test_best_effort_never_idles_while_work_waits(slice_ns: int, attached: int, data: st.DataObject) -> None:
    engine = new_engine(SchedulerPolicy.BEST_EFFORT, slice_ns, attached)
    free_at_ns = now_ns = 0  # one server that loses no time: it is free again `demand` after it could start
    schedule = data.draw(arrivals(attached))
    for arrival in schedule:
        now_ns += arrival.after_ns
        free_at_ns = max(free_at_ns, now_ns) + arrival.demand_ns
    done = play(engine, schedule)
    assert total_busy_ns(engine) == sum(arrival.demand_ns for arrival in schedule)
    assert [item.finished_ns for item in done[-1:]] == [free_at_ns for _ in schedule[-1:]]
    assert engine.reserved_idle_ns == 0


@given(policies, slices, st.integers(1, SEATS), st.data(), st.integers(1, 100_000))
def test_every_saturated_slot_is_within_one_slice_of_its_entitlement(
    policy: SchedulerPolicy, slice_ns: int, attached: int, data: st.DataObject, elapsed_ns: int
) -> None:
    busy = data.draw(st.integers(1, attached))
    engine = new_engine(policy, slice_ns, attached)
    for index in range(busy):
        engine.submit(f"s{index}", "endless", 10**12)
    engine.advance(elapsed_ns)
    share = entitled_ratio(policy, running=attached, busy=busy, most_per_gpu=SEATS)
    for index in range(busy):
        assert abs(engine.busy_ns(f"s{index}") - share * elapsed_ns) <= slice_ns


@given(workloads(), st.integers(0, SEATS - 1))
def test_a_detached_slot_hands_back_exactly_what_it_has_not_finished(
    work: tuple[Engine, Engine, list[Arrival]], leaver: int
) -> None:
    engine, _, schedule = work
    done = []
    for number, arrival in enumerate(schedule):
        done += engine.advance(engine.now_ns + arrival.after_ns)
        engine.submit(arrival.slot, number, arrival.demand_ns)
    slot = f"s{leaver}"
    submitted = [number for number, arrival in enumerate(schedule) if arrival.slot == slot]
    finished = [item.job for item in done if item.slot == slot]
    if submitted:
        assert list(engine.detach(slot)) == submitted[len(finished) :]
        rest = engine.advance(engine.now_ns + 20_000)
        assert len(done) + len(rest) == len(schedule) - len(submitted) + len(finished)
