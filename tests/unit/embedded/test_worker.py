"""One worker's process, in a test's own time: real short processes, and clocks that are numbers."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscaler.embedded.pods import Stage
from autoscaler.embedded.processes import Children, Command
from autoscaler.embedded.worker import Worker
from tests.fakes.waiting import eventually, is_gone

ENDS_AT_ONCE = ["true"]
STAYS = ["sleep", "600"]
# Says when it is ready, so that no test signals a shell that has not set its trap yet.
IGNORES_SIGTERM = ["sh", "-c", "trap '' TERM; echo ready; sleep 600 & wait; wait"]
ENDS_ON_SIGTERM = ["sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; sleep 600 & wait"]


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    made = Children(tmp_path)
    yield made
    made.stop(grace_s=0)


def launch(children: Children, arguments: list[str], **environment: str) -> Worker:
    return Worker.launch(Command(name="w1", arguments=arguments, environment=environment), "127.1.2.3", children)


def ended(worker: Worker) -> None:
    """Wait until the process has ended by itself."""
    worker.child.process.wait(5)


def log(children: Children) -> str:
    return (children.log_directory / "w1.log").read_text()


def test_a_worker_is_starting_until_its_ray_node_has_joined(children: Children) -> None:
    worker = launch(children, STAYS)
    stages = [worker.stage]
    for ray_nodes in (frozenset[str](), frozenset({"node-a"})):
        worker.join(ray_nodes)
        worker.watch(1.0)
        stages.append(worker.stage)
    assert stages == [Stage.STARTING, Stage.STARTING, Stage.READY]


def test_a_process_that_ends_is_started_again_with_growing_pauses(children: Children) -> None:
    worker = launch(children, ENDS_AT_ONCE)
    pauses_s, now_s = [], 0.0
    for restarts in range(9):
        ended(worker)
        worker.watch(now_s)
        died_s = now_s
        while worker.restarts == restarts:
            assert worker.stage is Stage.CRASHED
            now_s += 0.5
            worker.watch(now_s)
        pauses_s.append(now_s - died_s)
    assert pauses_s == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_restarted_process_gets_the_same_command_and_environment(children: Children) -> None:
    worker = launch(children, ["sh", "-c", "echo $VGPU_SLOT_ID"], VGPU_SLOT_ID="n1/0")
    ended(worker)
    worker.watch(0.0)
    ended(worker)
    assert log(children) == "n1/0\nn1/0\n"


def test_the_dead_ray_node_of_an_earlier_process_makes_nobody_ready(children: Children) -> None:
    """Ray lists it as alive for seconds after the process is gone."""
    worker = launch(children, STAYS)
    worker.join(frozenset({"node-a"}))
    worker.child.process.kill()
    ended(worker)
    worker.watch(0.0)
    stages = [worker.stage]
    for ray_nodes in (frozenset({"node-a"}), frozenset({"node-a", "node-b"})):
        worker.join(ray_nodes)
        stages.append(worker.stage)
    assert stages == [Stage.STARTING, Stage.STARTING, Stage.READY]
    assert worker.restarts == 1


def test_what_a_dead_process_left_behind_is_killed_before_the_next_starts(children: Children, tmp_path: Path) -> None:
    """A replica that outlives its Ray node would still hold the slot and the metrics port."""
    worker = launch(children, ["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/left; exit 3"])
    ended(worker)
    left = int((tmp_path / "left").read_text())
    worker.command = Command(name="w1", arguments=STAYS)
    worker.watch(0.0)
    eventually(lambda: is_gone(left))


def test_a_worker_is_asked_to_end_and_waited_for(children: Children) -> None:
    worker = launch(children, ENDS_ON_SIGTERM)
    eventually(lambda: "ready" in log(children))
    eventually(lambda: worker.end(0.0, grace_s=60.0))
    assert worker.child.process.returncode == 0
    assert "bye" in log(children)


def test_a_worker_that_does_not_end_is_killed_when_its_grace_is_over(children: Children) -> None:
    worker = launch(children, IGNORES_SIGTERM)
    eventually(lambda: "ready" in log(children))
    assert not worker.end(100.0, grace_s=30.0)
    assert not worker.end(129.9, grace_s=30.0)
    assert worker.child.process.poll() is None
    # SIGQUIT, which the container process takes as "now", and SIGKILL for one that is no container.
    assert worker.end(130.0, grace_s=30.0)
    assert worker.child.process.returncode in (-signal.SIGQUIT, -signal.SIGKILL)


def test_sigterm_is_sent_once_however_often_the_end_is_asked_for(children: Children) -> None:
    worker = launch(children, ["sh", "-c", "trap 'echo told' TERM; echo ready; while :; do sleep 0.01; done"])
    eventually(lambda: "ready" in log(children))
    for now_s in (0.0, 1.0, 2.0):
        assert not worker.end(now_s, grace_s=60.0)
    eventually(lambda: "told" in log(children))
    assert worker.end(60.0, grace_s=60.0)
    assert log(children).count("told") == 1


def test_without_grace_a_worker_is_gone_at_once_with_all_it_started(children: Children, tmp_path: Path) -> None:
    worker = launch(children, ["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/child; echo ready; wait"])
    eventually(lambda: "ready" in log(children))
    started = int((tmp_path / "child").read_text())
    assert worker.end(0.0, grace_s=0.0)
    eventually(lambda: is_gone(started))


def test_a_worker_that_has_ended_by_itself_is_gone_without_waiting(children: Children) -> None:
    worker = launch(children, ENDS_AT_ONCE)
    ended(worker)
    assert worker.end(0.0, grace_s=600.0)


def test_an_ended_worker_is_nobodys_child_any_more(children: Children) -> None:
    for _ in range(3):
        worker = launch(children, ENDS_AT_ONCE)
        ended(worker)
        worker.watch(0.0)
        ended(worker)
        assert worker.end(0.0, grace_s=0.0)
    children.check()  # raises for a child that has ended
