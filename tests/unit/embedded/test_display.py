"""The demo on a terminal of 100 columns; tests/goldens/autoscaler/display.txt is what people see.

`VGPU_REWRITE_GOLDENS=1 pytest tests/unit/embedded` rewrites it; review the difference.
"""

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console, RenderableType

from autoscaler.embedded import display
from autoscaler.embedded.outcome import compare
from autoscaler.embedded.timeline import Timeline
from tests.unit.autoscaler.ticks import golden
from tests.unit.embedded.story import STEPS, state, timeline

LATE: dict[str, Any] = {"p95_ms": 812.4, "in_flight": 12.34, "utilization_ratio": 0.876, "reason": "step_limit"}


def written(draw: Callable[[Console], None]) -> str:
    paper = io.StringIO()
    draw(Console(file=paper, width=100, color_system=None, legacy_windows=False))
    return paper.getvalue()


def shown(part: RenderableType) -> str:
    return written(lambda console: console.print(part))


def concluded(told: Timeline) -> str:
    return written(lambda console: display.conclude(console, compare(told, model="minilm", steps=STEPS)))


def test_what_people_see_is_the_golden_one() -> None:
    told = timeline()
    late = state(3, nodes=("node-1", "node-3"), **LATE)
    parts = [
        shown(display.models_table(late)),
        shown(display.nodes_table(late)),
        shown(display.live(told, 30.0, 80.0)),
        concluded(told),
        concluded(timeline(recovered_at_s=1000.0)),
    ]
    text = "\n".join(parts)
    assert text == golden("display.txt", text)


def test_what_is_not_known_is_a_dash_and_not_a_zero() -> None:
    line = shown(display.models_table(state(None, p50_ms=None))).splitlines()[1]
    assert line.split() == ["minilm", "–", "–", "–", "–", "300", "ms", "–", "–", "–"]


def test_before_the_first_answer_it_says_what_it_waits_for() -> None:
    assert "waiting for the autoscaler's first answer" in shown(display.live(Timeline(), 0.0, 80.0))


def test_three_problems_are_shown_and_not_thirty() -> None:
    told = Timeline()
    seen = timeline().scenes[0]
    seen.state["problems"] = [f"problem {index}" for index in range(30)]
    told.add_scene(seen)
    text = shown(display.live(told, 1.0, 80.0))
    assert "! problem 2" in text
    assert "problem 3" not in text


def test_a_sentence_is_never_taken_for_markup() -> None:
    told = timeline()
    told.scenes[25].state["models"][0]["decision"] = "minilm: from 1, [bold]so[/] 3"
    assert "why: minilm: from 1, [bold]so[/] 3" in concluded(told)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0 ms"), (41.4, "41 ms"), (9999.4, "9999 ms"), (10_000.0, "10.0 s"), (31_540.0, "31.5 s")],
)
def test_milliseconds_become_seconds_where_they_are_many(value: float | None, text: str) -> None:
    assert display.ms(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.0, "0%"), (0.876, "88%"), (1.0, "100%")])
def test_a_ratio_becomes_a_percentage(value: float | None, text: str) -> None:
    assert display.ratio(value) == text
