"""A problem is told once when it comes and once when it is over, however many ticks it lasts."""

import logging
from dataclasses import replace

import pytest

from autoscaler.adapters.problem_log import ProblemLog
from tests.unit.autoscaler.ticks import MODELS_FILE, tick


def told(caplog: pytest.LogCaptureFixture, *problems: tuple[str, ...], failed: str = "", defect: str = "") -> list[str]:
    caplog.set_level(logging.INFO, logger="autoscaler")
    log = ProblemLog()
    for each in problems:
        failures = (failed,) if failed else ()
        file = replace(MODELS_FILE, problems=("models.a: wrong",))
        log.record(tick(problems=each, failed_actions=failures, defect=defect or None, models_file=file))
    return [f"{record.levelname} {record.message}" for record in caplog.records]


def test_an_outage_is_two_lines_however_often_it_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    waits = [(f"Ray Serve: refused; next try in {pause} s",) for pause in ("1.0", "0.2")]
    assert told(caplog, ("Ray Serve: refused",), *waits, (), ()) == [
        "WARNING Ray Serve: refused",
        "INFO over: Ray Serve: refused",
    ]


def test_a_failed_action_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, (), (), failed="lease: lost") == ["WARNING lease: lost"]


def test_what_others_tell_is_not_told_again(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, ("models.a: wrong", "tick failed: KeyError"), defect="tick failed: KeyError") == []
