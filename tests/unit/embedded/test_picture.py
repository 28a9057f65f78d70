"""One picture of a demo, with everything in it that happened, also when little did."""

import struct
from pathlib import Path

import pytest

from autoscaler.embedded import picture
from autoscaler.embedded.timeline import Scene, Timeline
from tests.unit.embedded.story import OBJECTIVE_MS, STEPS, state, timeline


def draw(directory: Path, told: Timeline) -> bytes:
    path = directory / "demo.png"
    picture.draw(path, told, model="minilm", objective_ms=OBJECTIVE_MS, steps=STEPS)
    return path.read_bytes()


def size(image: bytes) -> tuple[int, int]:
    """Width and height in pixels, from a PNG's first chunk."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", image[16:24])
    return width, height


def test_a_demo_is_drawn_as_a_png(tmp_path: Path) -> None:
    image = draw(tmp_path, timeline())
    assert size(image) == (1100, 825)
    assert 20_000 < len(image) < 400_000


def test_what_happened_shows(tmp_path: Path) -> None:
    assert draw(tmp_path, timeline()) != draw(tmp_path, timeline(overload_ms=400.0))


def test_a_demo_in_which_nothing_happened_is_drawn_too(tmp_path: Path) -> None:
    assert size(draw(tmp_path, Timeline())) == (1100, 825)


@pytest.mark.parametrize("running", [None, 0, 7])
def test_counts_that_are_unknown_or_odd_are_drawn(tmp_path: Path, running: int | None) -> None:
    told = Timeline()
    told.add_scene(Scene(1.0, state(running)))
    assert size(draw(tmp_path, told)) == (1100, 825)
