"""What is due, what is announced, and which request is taken up: all of it without a cluster."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import yaml

from tests.unit.switcher.world import FILE
from vgpu.core.switching.record import Asked, Cause, Result, Switch
from vgpu.core.switching.state_machine import begin
from vgpu.switcher import asking, config
from vgpu.switcher.asking import Coming
from vgpu.switcher.records import Record

TEN_S = datetime(2027, 1, 15, 22, tzinfo=UTC).timestamp()
CONFIG = config.parse(
    yaml.safe_load(FILE + '\nschedule: [{layout: night, at: "22:00"}, {layout: day, at: "07:00"}]\n'), interval_s=2.0
)
DAY = Record(gpu="gpu-a", version="1", layout="day")
DUE = Asked(id=f"schedule-night-{int(TEN_S)}", layout="night", cause=Cause.SCHEDULE, at_s=TEN_S)
NODES = frozenset({"node-1", "node-2", "node-3"})


def by_hand(layout: str = "night", at_s: float = TEN_S - 60, number: int = 1) -> Asked:
    return Asked(id=f"hand-{number}", layout=layout, cause=Cause.HAND, at_s=at_s)


def under_way(record: Record) -> Record:
    assert record.request is not None
    return asking.take_up(CONFIG, record, TEN_S)


@pytest.mark.parametrize(
    ("record", "late_s", "noted"),
    [
        (DAY, -1.0, None),
        (DAY, 0.0, replace(DAY, request=DUE, scheduled_s=TEN_S)),
        (DAY, 3600.0, replace(DAY, request=DUE, scheduled_s=TEN_S)),
        (DAY, 3601.0, None),
        # Noted by a clock that stood years ahead: it has not been acted on.
        (replace(DAY, scheduled_s=TEN_S + 1e9), 10.0, replace(DAY, request=DUE, scheduled_s=TEN_S)),
        # By one that was set back by an hour it has.
        (replace(DAY, scheduled_s=TEN_S + 3600), 10.0, None),
        # It was acted on, whatever came of it.
        (replace(DAY, scheduled_s=TEN_S), 10.0, None),
        # What was asked before it is overtaken; what was asked after it stays.
        (replace(DAY, request=by_hand("day")), 10.0, replace(DAY, request=DUE, scheduled_s=TEN_S)),
        (
            replace(DAY, request=by_hand("day", TEN_S + 5)),
            10.0,
            replace(DAY, request=by_hand("day", TEN_S + 5), scheduled_s=TEN_S),
        ),
        # It is there already.
        (replace(DAY, layout="night"), 10.0, replace(DAY, layout="night", scheduled_s=TEN_S)),
    ],
)
def test_a_change_of_the_calendar_is_acted_on_once(record: Record, late_s: float, noted: Record | None) -> None:
    # The day before's change to day is noted already.
    record = replace(record, scheduled_s=record.scheduled_s or TEN_S - 15 * 3600)
    found = asking.due(CONFIG, record, TEN_S + late_s)
    assert found == noted


def test_a_gpu_of_which_the_layout_does_not_speak_is_left_alone() -> None:
    assert asking.due(CONFIG, Record(gpu="gpu-x", layout="day"), TEN_S) is None


@pytest.mark.parametrize(
    ("record", "before_s", "coming"),
    [
        (DAY, 301.0, None),
        (DAY, 300.0, Coming(layout="night", nodes=NODES)),
        (DAY, 1.0, Coming(layout="night", nodes=NODES)),
        # What is asked by hand comes at once, and what the calendar brought may wait for other GPUs.
        (replace(DAY, request=by_hand()), 3600.0, None),
        (replace(DAY, request=DUE), 3600.0, Coming(layout="night", nodes=NODES)),
        (replace(DAY, layout=""), 1.0, None),
        (replace(DAY, layout="night"), 1.0, None),
        (under_way(replace(DAY, request=by_hand())), 1.0, None),
    ],
)
def test_what_is_announced(record: Record, before_s: float, coming: Coming | None) -> None:
    assert asking.coming(CONFIG, record, TEN_S - before_s) == coming


def test_who_asked_first_is_next() -> None:
    first = replace(DAY, gpu="gpu-z", request=by_hand(at_s=1.0))
    second = replace(DAY, request=by_hand(at_s=2.0))
    busy = replace(under_way(second), gpu="gpu-b", request=by_hand(at_s=0.0))
    assert asking.next_up([second, busy, DAY, first]) == [first, second]


def test_a_request_is_begun() -> None:
    asked = by_hand()
    begun = replace(begin(asked, "gpu-a", "day", "night", TEN_S), about=asking.about(CONFIG, "gpu-a", "day", "night"))
    assert asking.take_up(CONFIG, replace(DAY, request=asked), TEN_S) == replace(DAY, switch=begun)


def test_a_request_that_has_been_done_is_not_done_again() -> None:
    asked = by_hand()
    done = replace(begin(asked, "gpu-a", "day", "night", 1.0), result=Result.DONE, ended_at_s=2.0)
    record = replace(DAY, layout="night", switch=done, history=(done,))
    assert asking.take_up(CONFIG, replace(record, request=asked), TEN_S) == record


def refused(record: Record, layout: str) -> Switch:
    after = asking.take_up(CONFIG, replace(record, request=by_hand(layout)), TEN_S)
    assert after.switch is not None
    assert (after.layout, after.history[-1], after.request) == (record.layout, after.switch, None)
    return after.switch


@pytest.mark.parametrize(
    ("record", "layout", "why"),
    [
        (DAY, "noon", "the file has no layout 'noon' for GPU gpu-a; it has day, night"),
        (replace(DAY, layout="noon"), "day", "GPU gpu-a is in layout 'noon', which the file does not have for it"),
        (replace(DAY, layout=""), "day", "nobody can tell which layout GPU gpu-a is in; say it with"),
    ],
)
def test_a_request_that_cannot_be_is_refused_at_once(record: Record, layout: str, why: str) -> None:
    switch = refused(record, layout)
    assert switch.result is Result.REFUSED
    assert switch.why.startswith(why)
