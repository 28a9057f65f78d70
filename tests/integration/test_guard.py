"""Whatever ends, nothing is left: real processes, killed in every place."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

GUARDED = """
import subprocess, sys, time
from pathlib import Path
from autoscaler.embedded import guard

def work():
    # One child of its own session, as Ray's daemons are, and a grandchild that has lost its parent.
    child = subprocess.Popen(["sh", "-c", "sleep 300 & exec sleep 300"], start_new_session=True)
    orphan = subprocess.run(["sh", "-c", "setsid sleep 300 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True)
    Path(sys.argv[1]).write_text(f"{child.pid} {orphan.stdout}")
    try:
        time.sleep(300)
    except KeyboardInterrupt:
        Path(sys.argv[1] + ".stopped").write_text("in order")
        return 7
    return 0

sys.exit(guard.run(work))
"""


def until(holds: Callable[[], bool], *, within_s: float = 15.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def started(file: Path) -> tuple["subprocess.Popen[bytes]", list[psutil.Process]]:
    outer = subprocess.Popen([sys.executable, "-c", GUARDED, str(file)])
    until(lambda: file.exists() and len(file.read_text().split()) == 2)
    family = psutil.Process(outer.pid).children(recursive=True)
    assert len(family) >= 4  # the inner one, sh's two sleeps, the orphan
    return outer, family


def all_gone(family: list[psutil.Process]) -> bool:
    return psutil.wait_procs(family, timeout=10)[1] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGQUIT], ids=lambda number: number.name)
def test_nothing_outlives_the_outer_process(tmp_path: Path, number: signal.Signals) -> None:
    outer, family = started(tmp_path / "pids")
    outer.send_signal(number)
    outer.wait(20)
    assert all_gone(family)


def test_nothing_outlives_a_killed_inner_process(tmp_path: Path) -> None:
    outer, family = started(tmp_path / "pids")
    inner = next(process for process in family if process.ppid() == outer.pid)
    inner.kill()
    assert outer.wait(20) == 128 + signal.SIGKILL
    assert all_gone(family)


def test_a_stop_is_carried_out_in_order_and_gives_its_status(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    outer, family = started(file)
    outer.terminate()
    outer.terminate()  # an impatient second one changes nothing
    assert outer.wait(20) == 7
    assert Path(f"{file}.stopped").read_text() == "in order"
    assert all_gone(family)


def test_a_container_ends_with_its_command_and_takes_the_rest_along(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"setsid sleep 300 & echo $! > {file}; kill -9 $$"
    command = [sys.executable, "-m", "autoscaler.embedded.container", "/bin/sh", "-c", script]
    container = subprocess.Popen(command)
    assert container.wait(20) == 128 + signal.SIGKILL
    until(lambda: not psutil.pid_exists(int(file.read_text())))
