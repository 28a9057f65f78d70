"""A file that changes while it is followed: in place, by a symlink, to something worse, and back."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.switcher.world import FILE
from vgpu.switcher.config import Config, ConfigError
from vgpu.switcher.followed import Followed

OTHER = FILE.replace("UTC", "Europe/Berlin")


def nothing(config: Config) -> Sequence[str]:
    return ()


def zone(followed: Followed) -> str:
    return followed.read(nothing).calendar.zone.key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "switcher.yaml"
    made.write_text(FILE)
    return made


def test_what_is_written_in_place_counts_once_it_is_read_twice(path: Path) -> None:
    followed = Followed(path, interval_s=2.0)
    path.write_text(OTHER)
    assert [zone(followed) for _ in range(2)] == ["UTC", "Europe/Berlin"]


def test_another_file_behind_the_path_counts_at_once(tmp_path: Path) -> None:
    for name, content in (("one", FILE), ("two", OTHER)):
        (tmp_path / name).write_text(content)
    link = tmp_path / "link"
    link.symlink_to("one")
    followed = Followed(link, interval_s=2.0)
    link.unlink()
    link.symlink_to("two")
    assert zone(followed) == "Europe/Berlin"


def test_a_bad_file_is_said_once_in_the_log_and_followed_never(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    followed = Followed(path, interval_s=2.0)
    path.write_text(FILE.replace("UTC", "Europe/Berli"))
    assert [zone(followed) for _ in range(4)] == ["UTC"] * 4
    said = f"{path}: time_zone: 'Europe/Berli' is no time zone; write one as in the IANA data base, Europe/Berlin"
    assert followed.problems == (said,)
    assert [record.getMessage() for record in caplog.records] == [f"file refused: {said}"]
    path.write_text(FILE)
    assert (zone(followed), followed.problems) == ("UTC", ())


def test_a_file_that_is_gone_is_followed_as_it_was(path: Path) -> None:
    followed = Followed(path, interval_s=2.0)
    path.unlink()
    assert zone(followed) == "UTC"
    assert followed.problems == (f"{path}: No such file or directory; make it readable: what it said last is followed",)
    path.write_text(FILE)
    assert (zone(followed), followed.problems) == ("UTC", ())


def test_what_speaks_against_a_file_for_a_while_keeps_it_waiting(path: Path) -> None:
    followed, against = Followed(path, interval_s=2.0), ["not now"]
    path.write_text(OTHER)
    for _ in range(3):
        followed.read(lambda config: against)
    assert (followed.config.calendar.zone.key, followed.problems) == ("UTC", (f"{path}: not now",))
    against.clear()
    followed.read(lambda config: against)
    assert (followed.config.calendar.zone.key, followed.problems) == ("Europe/Berlin", ())


def test_a_file_that_cannot_be_used_is_not_started_with(path: Path) -> None:
    path.write_text("{}")
    with pytest.raises(ConfigError, match="gpus: missing"):
        Followed(path, interval_s=2.0)
