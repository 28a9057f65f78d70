"""Children are kept or missed, and stopped with everything they started."""

import sys
from pathlib import Path

import psutil
import pytest

from autoscaler.embedded.processes import Children, Command, ProcessFailed


def shell(name: str, script: str, *, kept: bool = False) -> Command:
    return Command(name=name, arguments=["/bin/sh", "-c", script], kept=kept)


def test_what_is_wrong_with_a_child_is_told_with_its_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start(shell("deployer", "echo one could not be deployed; exec sleep 300"))
    while not child.log.read_text():
        assert child.process.poll() is None
    said = child.problem("not every application came up")
    assert str(said) == f"not every application came up; {child.log} ends:\none could not be deployed"
    children.stop()


def test_a_child_that_the_rest_needs_is_missed(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start(shell("ray", "echo out of memory; exit 1"))
    child.process.wait(10)
    with pytest.raises(ProcessFailed, match=r"(?s)ray ended with status 1.*out of memory"):
        children.check()


def test_a_kept_child_is_started_again(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start(shell("exporter", "echo here; exec sleep 300", kept=True))
    first = child.process.pid
    child.process.kill()
    child.process.wait(10)
    child.started_s -= 10  # long ago: not one that ends as fast as it starts
    children.check()
    assert child.process.pid != first
    assert child.process.poll() is None
    children.stop()


def test_a_kept_child_that_ends_at_once_is_not_started_again_at_once(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start(shell("exporter", "exit 1", kept=True))
    child.process.wait(10)
    first = child.process.pid
    children.check()
    assert child.process.pid == first


def test_a_stop_ends_what_ignores_it_and_what_has_left_the_session(tmp_path: Path) -> None:
    children = Children(tmp_path, {"MARK": "42"})
    stubborn = children.start(
        shell("stubborn", "trap '' TERM; setsid sleep 300 & echo $! $MARK; while :; do sleep 1; done")
    )
    while len(stubborn.log.read_text().split()) < 2:
        assert stubborn.process.poll() is None
    orphan, mark = stubborn.log.read_text().split()
    assert mark == "42"
    children.stop(grace_s=0.1)
    assert stubborn.process.poll() is not None
    assert not psutil.pid_exists(int(orphan)) or psutil.Process(int(orphan)).status() == psutil.STATUS_ZOMBIE


def test_children_get_no_terminal_input(tmp_path: Path) -> None:
    children = Children(tmp_path)
    script = "import sys; print(repr(sys.stdin.read()))"
    children.start(Command(name="reader", arguments=[sys.executable, "-c", script])).process.wait(20)
    assert (tmp_path / "reader.log").read_text() == "''\n"
