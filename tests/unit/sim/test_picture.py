"""One picture of a comparison, and of runs that were not compared."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler.sim import picture
from autoscaler.sim.compare import OURS, Sweep
from autoscaler.sim.report import summarise
from tests.unit.sim.sweeps import COMPARED, study, swept, timeline


def draw(directory: Path, sweeps: tuple[Sweep, ...], *, is_tuned: bool) -> bytes:
    path = directory / "compared.png"
    picture.draw(path, study(is_tuned=is_tuned), sweeps, summarise(sweeps) if is_tuned else None)
    return path.read_bytes()


def size(image: bytes) -> tuple[int, int]:
    """Width and height in pixels, from a PNG's first chunk."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", image[16:24])
    return width, height


def test_a_comparison_is_drawn_with_its_fronts(tmp_path: Path) -> None:
    image = draw(tmp_path, COMPARED, is_tuned=True)
    assert size(image) == (1100, 1408)
    assert image != draw(tmp_path, COMPARED[1:], is_tuned=True)


def test_runs_alone_are_drawn_without(tmp_path: Path) -> None:
    assert size(draw(tmp_path, COMPARED[3:4], is_tuned=False)) == (1100, 704)


def test_the_timeline_shows_ours_and_the_best_rival_only(tmp_path: Path) -> None:
    image = draw(tmp_path, COMPARED, is_tuned=True)
    busier = tuple(replace(each, timeline=timeline(replicas=9)) for each in COMPARED)
    for index, is_shown in ((0, False), (1, True), (3, True), (4, False)):
        changed = tuple(busier[i] if i == index else COMPARED[i] for i in range(len(COMPARED)))
        assert (draw(tmp_path, changed, is_tuned=True) != image) == is_shown


@pytest.mark.parametrize("points", [((1.0, 5.0),), ((0.0, 0.0),)])
def test_extremes_are_drawn_too(tmp_path: Path, points: tuple[tuple[float, float], ...]) -> None:
    assert size(draw(tmp_path, (swept(OURS, 0, *points),), is_tuned=True)) == (1100, 1408)
