"""What was felt and seen, cut into windows."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.embedded.timeline import Scene, Timeline, largest_p95_ms, replicas_over_time
from autoscaler.load.client import Sample
from autoscaler.load.report import summarise
from tests.unit.embedded.story import state, timeline

due_times = st.lists(st.floats(min_value=0, max_value=100), max_size=50)


def filled(due_s: list[float]) -> Timeline:
    told = Timeline()
    for at_s in due_s:
        told.add_sample(Sample(0, at_s, at_s + 0.1, 200))
    return told


def test_nothing_felt_is_no_window() -> None:
    assert Timeline().windows(2.0) == []
    assert Timeline().between(0.0, 100.0) == summarise(())
    assert largest_p95_ms([]) is None


@given(due_times)
def test_every_request_is_in_exactly_one_window(due_s: list[float]) -> None:
    windows = filled(due_s).windows(4.0)
    assert sum(summary.requests for _, summary in windows) == len(due_s)
    assert [at_s for at_s, _ in windows] == sorted({(at_s // 4) * 4 + 2 for at_s in due_s})


@given(due_times, st.floats(0, 100), st.floats(0, 100))
def test_a_span_holds_what_was_due_in_it(due_s: list[float], from_s: float, to_s: float) -> None:
    assert filled(due_s).between(from_s, to_s).requests == sum(from_s <= at_s < to_s for at_s in due_s)


def test_a_request_belongs_to_when_it_was_due_and_not_to_when_it_was_answered() -> None:
    told = Timeline()
    told.add_sample(Sample(0, 1.0, 31.0, 200))
    assert told.between(0.0, 2.0).p95_ms == 30_000.0
    assert told.between(30.0, 32.0).requests == 0


def test_the_worst_window_is_found_past_windows_without_an_answer() -> None:
    told = filled([1.0])
    told.add_sample(Sample(0, 5.0, 6.0, 200))
    told.add_sample(Sample(0, 9.0, 9.1, 503))
    assert largest_p95_ms(told.windows(4.0)) == 1000.0


def test_replicas_are_drawn_where_they_could_be_counted() -> None:
    told = Timeline()
    for at_s, running in ((1.0, 1), (2.0, None), (3.0, 3)):
        told.add_scene(Scene(at_s, state(running)))
    assert replicas_over_time(told.scenes, "minilm") == [(1.0, 1), (3.0, 3)]


def test_nodes_are_used_where_a_slot_serves_the_model() -> None:
    assert Scene(0.0, state(2, nodes=("node-3", "node-1"))).nodes_used("minilm") == ["node-1", "node-3"]
    assert Scene(0.0, state(2, nodes=("node-3",))).nodes_used("filetype") == []


def test_several_threads_may_fill_it_and_nothing_is_lost() -> None:
    told = timeline()
    before = len(told.samples)

    def fill() -> None:
        for _ in range(500):
            told.add_sample(Sample(0, 1.0, 1.1, 200))

    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        told.windows(2.0)
    assert len(told.samples) == before + 2000
