"""The journal: what is written can be read back, and a disk that fails costs lines, not the autoscaler."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscaler.adapters.journal import Journal
from autoscaler.core.plain import as_json_value
from tests import build
from tests.unit.autoscaler.ticks import MODELS_FILE, failed, tick
from tests.unit.autoscaler.whole import BUSY, whole


def lines(path: Path) -> list[Any]:
    """The ticks of a journal."""
    return [line for line in every_line(path) if "tick" in line]


def every_line(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_tick_is_one_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for number in (1, 2, 3):
        journal.record(tick(number=number))
    journal.close()
    assert [line["tick"]["number"] for line in lines(path)] == [1, 2, 3]


def test_a_line_holds_everything_the_decision_was_made_from(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).record(tick())
    (line,) = lines(path)
    assert set(line) == {"format", "wall", "tick"}
    written = line["tick"]
    assert written["seen"]["slots"] == [{"slot_id": "n1/0", "at_s": 0.0, "busy_ratio": 0.98765}]
    assert [decision["model"] for decision in written["plan"]["decisions"]] == ["minilm", "filetype"]
    assert written["plan"]["actions"][1] == {"model": "minilm", "before": 2, "count": 3}
    assert [slot["holder"] for node in written["inventory"]["nodes"] for slot in node["slots"]] == [
        "serving/w1", "serving/w2", None, None,
    ]  # fmt: skip


def test_a_whole_story_can_be_read_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for each in (*whole(load=BUSY).run(20), failed()):
        journal.record(each)
    assert len(lines(path)) == 21
    assert lines(path)[-1]["tick"]["plan"] is None


def test_a_line_is_there_as_soon_as_it_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.record(tick())
    assert len(lines(path)) == 1
    journal.close()


def test_a_journal_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for number in (1, 2):
        journal = Journal(path)
        journal.record(tick(number=number))
        journal.close()
    assert [line["tick"]["number"] for line in lines(path)] == [1, 2]


def test_a_full_file_is_put_aside_and_one_of_them_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).record(tick())
    size = path.stat().st_size
    path.unlink()
    journal = Journal(path, most_bytes=3 * size)
    for number in range(10):
        journal.record(tick(number=number))
    journal.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["journal.jsonl", "journal.jsonl.1"]
    numbers = [line["tick"]["number"] for name in (".1", "") for line in lines(tmp_path / f"journal.jsonl{name}")]
    assert numbers == [6, 7, 8, 9]
    assert path.stat().st_size <= 3 * size


def test_a_line_longer_than_the_whole_file_may_be_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, most_bytes=10)
    journal.record(tick(number=1))
    journal.record(tick(number=2))
    assert [line["tick"]["number"] for line in lines(path)] == [2]
    assert [line["tick"]["number"] for line in lines(tmp_path / "journal.jsonl.1")] == [1]


def test_a_full_disk_is_logged_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(Path("/dev/full"))
    with caplog.at_level(logging.WARNING):
        journal.record(tick())
        journal.record(tick())
    assert "No space left on device" in caplog.text


def test_a_folder_that_vanishes_at_rotation_is_logged_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "there" / "journal.jsonl"
    path.parent.mkdir()
    journal = Journal(path, most_bytes=10)
    journal.record(tick())
    path.unlink()
    path.parent.rmdir()
    with caplog.at_level(logging.WARNING):
        journal.record(tick())
    assert "No such file or directory" in caplog.text


def test_a_file_that_cannot_be_written_is_an_os_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Journal(tmp_path / "nowhere" / "journal.jsonl")


def test_the_specification_comes_first_and_again_wherever_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    stricter = build.fleet(build.model("minilm", objective_p95_ms=50))
    reworked = replace(MODELS_FILE, reworked=frozenset({"b", "a"}))
    for each in (tick(number=1), tick(number=2), tick(number=3, spec=stricter), tick(number=4, spec=stricter)):
        journal.record(each)
    journal.record(tick(number=5, spec=stricter, models_file=reworked))
    journal.close()
    told = [
        line["tick"]["number"] if "tick" in line else sorted(set(line) - {"format", "wall"})
        for line in every_line(path)
    ]
    assert told == [["spec"], 1, 2, ["spec"], 3, 4, ["reworked", "spec"], 5]
    assert every_line(path)[-2]["reworked"] == ["a", "b"]
    assert every_line(path)[3]["spec"] == as_json_value(stricter)
