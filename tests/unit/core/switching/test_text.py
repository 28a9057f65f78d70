"""A record and a request as a ConfigMap holds them: public text, see tests/goldens/switching."""

import json
from pathlib import Path

import pytest

from vgpu.core.switching.record import Asked, Cause, Result, Spent, Step, Switch, SwitchError
from vgpu.core.switching.text import parse, parse_asked, render, render_asked

GOLDENS = Path(__file__).parents[3] / "goldens" / "switching"
SWITCH = Switch(
    id="20261123-1",
    gpu="gpu-a",
    origin="day",
    target="night",
    goal="day",
    cause=Cause.SCHEDULE,
    began_at_s=1_795_000_000.0,
    step=Step.START,
    seen_at_s=1_795_000_338.5,
    waited_s=12.5,
    spent=(
        Spent(step=Step.CHECK, goal="night", seconds=0.0),
        Spent(step=Step.STOP, goal="night", seconds=300.0, why="machine vm-3: no permission"),
        Spent(step=Step.STOP, goal="day", seconds=4.0),
    ),
    exchanges=1,
    why="stop towards night: machine vm-3: no permission",
    waits_for="machine vm-1 is suspended",
    fault="StartMachine vm-1: 503",
    beats={"node-1": "2026-11-23T09:00:00Z"},
    snapshots=("vm-1", "vm-2"),
    held=("node-2",),
    about="8c1f00aa12345678",
    attempts=2,
    next_try_at_s=1_795_000_348.5,
)
ASKED = Asked(id="20261123-1", layout="night", cause=Cause.HAND, at_s=1_795_000_000.0, by="günther")


def test_a_record_reads_back() -> None:
    text = (GOLDENS / "record.json").read_text().strip()
    assert (render(SWITCH), parse(text)) == (text, SWITCH)


def test_a_request_reads_back() -> None:
    text = (GOLDENS / "request.json").read_text().strip()
    assert (render_asked(ASKED), parse_asked(text)) == (text, ASKED)


def test_what_a_newer_switcher_adds_is_left_out_of_account() -> None:
    assert parse_asked(json.dumps({**json.loads(render_asked(ASKED)), "mood": "good"})) == ASKED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "record: version is 2; this switcher reads 1"),
        ({"gpu": None}, "record: gpu: is null; it is a text"),
        ({"step": "dance"}, "record: step: is 'dance'; one of check, cordon, make_room, drain, stop, start, ready"),
        ({"step": 3}, "record: step: is 3; it is a text"),
        ({"waited_s": "long"}, "record: waited_s: is a text; it is a number of seconds"),
        ({"waited_s": True}, "record: waited_s: is true or false; it is a number of seconds"),
        ({"exchanges": -1}, "record: exchanges: is -1; it is a count from 0"),
        ({"beats": []}, "record: beats: is a list; it is an object"),
        ({"beats": {"node-1": 7}}, "record: beats: is 7; it is a text"),
        ({"snapshots": "vm-1"}, "record: snapshots: is a text; it is a list"),
        ({"spent": {}}, "record: spent: is {}; it is a list"),
        ({"spent": [3]}, "record: spent: entry 0 is 3; it is an object"),
        ({"spent": [{"step": "stop", "goal": "day"}]}, "record: spent: entry 0: seconds is missing"),
        ({"goal": "noon"}, "record: goal is 'noon'; it is the origin 'day' or the target 'night'"),
        ({"result": "done"}, "record: result is done and ended_at_s None; they come together"),
    ],
)
def test_a_record_that_cannot_be_says_where(change: dict[str, object], message: str) -> None:
    with pytest.raises(SwitchError, match=f"^{message}"):
        parse(json.dumps({**json.loads(render(SWITCH)), **change}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "request: no JSON: "),
        ("[]", "request: a list; it is a JSON object"),
        ('{"version":1,"id":"1"}', "request: layout is missing"),
        ('{"version":1,"id":"1","layout":"","cause":"hand","at_s":1}', "request: layout is empty"),
        ('{"version":1,"id":"1","layout":"day","cause":"hand","at_s":NaN}', "request: at_s: is nan; it is a number"),
        (f'{{"version":1,"id":"1","layout":"day","cause":"hand","at_s":{"9" * 400}}}', "request: at_s: is 9"),
        ("[" * 100_000, "request: no JSON: "),
    ],
)
def test_a_request_that_cannot_be_says_where(text: str, message: str) -> None:
    with pytest.raises(SwitchError, match=f"^{message}"):
        parse_asked(text)


def test_the_history_of_the_present_direction_begins_where_it_turned_round() -> None:
    assert SWITCH.present == SWITCH.spent[2:]
    assert (SWITCH.earlier_s(Step.STOP), SWITCH.earlier_s(Step.CHECK), SWITCH.other) == (4.0, 0, "night")


@pytest.mark.parametrize(("exchanges", "result", "stuck"), [(1, None, False), (2, None, True), (2, Result.DONE, False)])
def test_it_is_stuck_once_both_directions_have_failed(exchanges: int, result: Result | None, stuck: bool) -> None:
    document = {**json.loads(render(SWITCH)), "exchanges": exchanges, "result": result}
    assert parse(json.dumps({**document, "ended_at_s": result and 1.0})).stuck is stuck
