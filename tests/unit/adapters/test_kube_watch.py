"""The reflector: what it yields through every kind of trouble, and how often it asks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.adapters.kube_errors import Expired, Unavailable
from vgpu.adapters.kube_watch import Backoff, Delta, DeltaKind, Reflector, Surroundings, WatchEvent


def _item(name: str, version: int, uid: str = "u") -> Any:
    return {"metadata": {"namespace": "default", "name": name, "uid": uid, "resourceVersion": str(version)}}


def _event(kind: str, name: str, version: int) -> WatchEvent:
    return WatchEvent(kind=kind, item=_item(name, version))


@dataclass
class _Stream:
    """One watch of the script: its events, each after `pause_s`, then its end."""

    script: list[Any]
    clock: "_Clock"
    pause_s: float = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        return

    def __iter__(self) -> Iterator[WatchEvent]:
        for step in self.script:
            self.clock.now_s += self.pause_s
            if isinstance(step, Exception):
                raise step
            yield step
        self.clock.now_s += self.pause_s

    def interrupt(self) -> None:
        return


class _Clock:
    """Virtual time: waiting moves it on at once."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def wait(self, delay_s: float) -> None:
        self.waits.append(delay_s)
        self.now_s += delay_s


@dataclass
class _Source:
    """A server by script: each list and each watch takes the next line; after the last it says so through `at_end`."""

    clock: _Clock
    lists: list[Any]
    watches: list[Any]
    at_end: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)
    pause_s: float = 0.0

    def list(self) -> tuple[list[Any], str]:
        self.asked.append("list")
        answer = self._next(self.lists)
        if isinstance(answer, Exception):
            raise answer
        items, version = answer
        return items, version

    def open(self, version: str) -> _Stream:
        self.asked.append(f"watch {version}")
        answer = self._next(self.watches)
        if isinstance(answer, Exception):
            raise answer
        return _Stream(answer, self.clock, self.pause_s)

    def _next(self, script: Any) -> Any:
        if not script:
            self.at_end()
            return Unavailable("test", "the script has ended")
        return script.pop(0)


def _story(lists: list[Any], watches: list[Any], *, pause_s: float = 0.0) -> tuple[list[tuple[str, str]], _Source]:
    """Run a reflector over a script to its end; return what it yielded and what it asked."""
    clock = _Clock()
    source = _Source(clock, lists, watches, pause_s=pause_s)
    reflector = Reflector(source, surroundings=Surroundings(clock=clock, wait=clock.wait, draw=lambda: 0.5))
    source.at_end = reflector.stop
    told = [(delta.kind.value, delta.item.get("metadata", {}).get("name", "")) for delta in reflector.deltas()]
    return told, source


def test_what_is_there_comes_first_then_what_changes() -> None:
    told, source = _story(
        [([_item("a", 3)], "5")],
        [[_event("ADDED", "b", 6), _event("MODIFIED", "a", 7), _event("BOOKMARK", "", 9), _event("DELETED", "b", 10)]],
    )
    assert told == [("added", "a"), ("synced", ""), ("added", "b"), ("modified", "a"), ("deleted", "b")]
    assert source.asked == ["list", "watch 5", "watch 10"]


def test_a_bookmark_moves_the_version_and_tells_nobody() -> None:
    told, source = _story([([], "5")], [[_event("BOOKMARK", "", 8)]])
    assert told == [("synced", "")]
    assert source.asked == ["list", "watch 5", "watch 8"]


def test_after_an_expired_version_only_real_differences_are_told() -> None:
    told, source = _story(
        [
            ([_item("same", 1), _item("changed", 2), _item("gone", 3), _item("reborn", 4, "u1")], "5"),
            ([_item("same", 1), _item("changed", 7), _item("new", 8), _item("reborn", 9, "u2")], "9"),
        ],
        [Expired("watch", "410"), []],
    )
    assert told[5:] == [
        ("deleted", "gone"),
        ("deleted", "reborn"),
        ("modified", "changed"),
        ("added", "new"),
        ("added", "reborn"),
        ("synced", ""),
    ]
    assert source.asked[:4] == ["list", "watch 5", "list", "watch 9"]


def test_a_version_that_expires_in_the_middle_of_a_watch_is_listed_again() -> None:
    told, _ = _story([([], "5"), ([_item("a", 6)], "7")], [[Expired("watch", "410")]])
    assert told == [("synced", ""), ("added", "a"), ("synced", "")]


def test_a_dropped_watch_goes_on_where_it_ended() -> None:
    told, source = _story(
        [([], "5")], [[_event("ADDED", "a", 6), Unavailable("watch", "connection lost")], [_event("ADDED", "b", 7)]]
    )
    assert told == [("synced", ""), ("added", "a"), ("added", "b")]
    assert source.asked == ["list", "watch 5", "watch 6", "watch 7"]


def test_a_server_that_cannot_even_list_is_asked_again() -> None:
    told, source = _story([Unavailable("list", "500"), ([], "5")], [])
    assert told == [("synced", "")]
    assert source.asked == ["list", "list", "watch 5"]


def test_a_deleted_object_is_given_in_its_last_known_state_when_its_deletion_was_missed() -> None:
    clock = _Clock()
    source = _Source(clock, [([_item("a", 3)], "5"), ([], "9")], [Expired("watch", "410")])
    reflector = Reflector(source, surroundings=Surroundings(clock=clock, wait=clock.wait))
    source.at_end = reflector.stop
    deleted = [delta for delta in reflector.deltas() if delta.kind is DeltaKind.DELETED]
    assert deleted == [Delta(kind=DeltaKind.DELETED, item=_item("a", 3))]


def _requests_in(seconds: float, lists: Callable[[], Any], watches: Callable[[], Any], pause_s: float = 0.0) -> int:
    """Count the requests a reflector makes of a server that always answers the same."""
    clock = _Clock()

    class Same:
        asked = 0

        def list(self) -> Any:
            self.asked += 1
            answer = lists()
            if isinstance(answer, Exception):
                raise answer
            return answer

        def open(self, version: str) -> Any:
            self.asked += 1
            answer = watches()
            if isinstance(answer, Exception):
                raise answer
            return _Stream(answer, clock, pause_s)

    source = Same()

    def wait(delay_s: float) -> None:
        clock.wait(delay_s)
        if clock.now_s >= seconds:
            reflector.stop()

    reflector = Reflector(source, surroundings=Surroundings(clock=clock, wait=wait, draw=lambda: 0.0))
    for _ in reflector.deltas():
        continue
    return source.asked


@pytest.mark.parametrize(
    ("lists", "watches", "most"),
    [
        pytest.param(lambda: ([], "5"), lambda: Unavailable("watch", "500"), 14, id="500 to every watch"),
        pytest.param(lambda: Unavailable("list", "500"), lambda: [], 13, id="500 to every list"),
        pytest.param(lambda: ([], "5"), lambda: [], 14, id="every watch ended at once"),
        pytest.param(lambda: ([], "5"), lambda: Expired("watch", "410"), 26, id="every version expired"),
        pytest.param(lambda: ([], "5"), lambda: [Unavailable("watch", "cut")], 14, id="every watch cut at once"),
    ],
)
def test_a_server_in_trouble_gets_few_requests_a_minute(
    lists: Callable[[], Any], watches: Callable[[], Any], most: int
) -> None:
    """Drawn at its shortest, the pauses are 0.05, 0.1, 0.2 … 12.8, 15, 15 s. The library's informer: 63,600."""
    assert 9 <= _requests_in(60.0, lists, watches) <= most


def test_a_healthy_quiet_server_is_asked_once_per_watch() -> None:
    requests = _requests_in(3600.0, lambda: ([], "5"), lambda: [], pause_s=300.0)
    assert requests == 1 + 12


def test_after_good_news_the_pauses_start_small_again() -> None:
    _, source = _story(
        [([], "5")],
        [*[Unavailable("watch", "500")] * 5, [_event("ADDED", "a", 6)], Unavailable("watch", "500")],
    )
    assert source.clock.waits == pytest.approx([0.075, 0.15, 0.3, 0.6, 1.2, 0.075, 0.15])


def test_a_watch_that_lasted_counts_as_good_news_too() -> None:
    _, source = _story([([], "5")], [*[Unavailable("watch", "500")] * 3, [], Unavailable("watch", "500")], pause_s=60.0)
    assert source.clock.waits == pytest.approx([0.075, 0.15, 0.3, 0.075, 0.15])


def test_each_pause_is_told_with_its_reason() -> None:
    clock, heard = _Clock(), []
    source = _Source(clock, [([], "5")], [Unavailable("watch", "500"), []])
    around = Surroundings(
        clock=clock,
        wait=clock.wait,
        draw=lambda: 0.0,
        on_trouble=lambda fault, delay_s: heard.append((fault.why, delay_s)),
    )
    reflector = Reflector(source, surroundings=around)
    source.at_end = reflector.stop
    assert [delta.kind for delta in reflector.deltas()] == [DeltaKind.SYNCED]
    assert heard == [("500", 0.05), ("ended by the server", 0.1)]


def test_a_stopped_reflector_asks_for_nothing() -> None:
    source = _Source(_Clock(), [([], "5")], [[]])
    reflector = Reflector(source)
    reflector.stop()
    assert list(reflector.deltas()) == []
    assert source.asked == []


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_above_the_cap_nor_below_half_the_first(failures: int, drawn: float) -> None:
    delay_s = Backoff(first_s=0.1, cap_s=30.0).delay_s(failures, drawn)
    assert 0.05 <= delay_s <= 30.0


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True))
def test_a_pause_never_shrinks_while_failures_go_on(failures: int, drawn: float) -> None:
    backoff = Backoff()
    assert backoff.delay_s(failures + 1, drawn) >= backoff.delay_s(failures, drawn)


@pytest.mark.parametrize(("first_s", "cap_s"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_a_backoff_that_makes_no_sense_is_refused(first_s: float, cap_s: float) -> None:
    with pytest.raises(ValueError, match="first_s"):
        Backoff(first_s=first_s, cap_s=cap_s)
