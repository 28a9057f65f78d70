"""The arbiter as a real process and the client that talks to it; about 0.2 s a process."""

import asyncio
import itertools
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.emulator.build import config_text
from vgpu.emulator.client import (
    DeviceLost,
    EngineClient,
    EngineRefused,
    EngineRun,
    EngineUnavailable,
    read_status,
    set_device_lost,
)
from vgpu.emulator.engine import NS_PER_MS
from vgpu.emulator.framebuffer import FramebufferExhausted
from vgpu.emulator.messages import LONGEST_LINE

StartArbiter = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartArbiter]:
    """Starts arbiters and returns once they listen or have ended; stops what is left."""
    processes = []

    def start_arbiter(text: str | None = None, **changes: Any) -> subprocess.Popen[str]:
        config = tmp_path / "gpu.json"
        config.write_text(config_text(tmp_path, **changes) if text is None else text)
        command = [sys.executable, "-m", "vgpu.emulator", "--config", str(config)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stderr is not None
        process.first_line = process.stderr.readline()  # type: ignore[attr-defined]  # kept for the refusals
        return process

    yield start_arbiter
    for process in processes:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status and everything on stderr."""
    assert process.stderr is not None
    rest = process.stderr.read()
    return process.wait(10), process.first_line + rest  # type: ignore[attr-defined]  # as above


def test_a_job_takes_the_time_that_the_engine_takes(start: StartArbiter, tmp_path: Path) -> None:
    start(policy="best-effort")
    with EngineClient(tmp_path / "gpu.sock", "a") as client:
        before_ns = time.monotonic_ns()
        run = client.run_blocking(5 * NS_PER_MS)
        after_ns = time.monotonic_ns()
        assert client.framebuffer_mib == 8192
    assert run == EngineRun(
        demand_ns=5 * NS_PER_MS, submitted_ns=run.submitted_ns, finished_ns=run.submitted_ns + 5 * NS_PER_MS
    )
    assert before_ns <= run.submitted_ns < run.finished_ns <= after_ns


def test_one_client_serves_many_concurrent_runs_of_an_event_loop(start: StartArbiter, tmp_path: Path) -> None:
    start(policy="best-effort")

    async def run_many() -> list[EngineRun]:
        cancelled = asyncio.create_task(client.run(300 * NS_PER_MS))  # long, so that the others come meanwhile
        await asyncio.sleep(0)
        cancelled.cancel()
        return await asyncio.gather(*(client.run(NS_PER_MS) for _ in range(20)))

    with EngineClient(tmp_path / "gpu.sock", "a") as client:
        runs = asyncio.run(run_many())
        busy_ns = read_status(tmp_path / "gpu.sock")["slots"]["a"]["busy_ns"]
    gaps_ns = {later.finished_ns - earlier.finished_ns for earlier, later in itertools.pairwise(runs)}
    assert gaps_ns == {NS_PER_MS}
    assert busy_ns == 320 * NS_PER_MS


def test_out_of_framebuffer_is_raised_with_its_numbers(start: StartArbiter, tmp_path: Path) -> None:
    start()
    with EngineClient(tmp_path / "gpu.sock", "a") as client:
        client.allocate(8000)
        with pytest.raises(FramebufferExhausted, match="asked for 200 MiB, 8000 of 8192 MiB are in use"):
            client.allocate(200)
        client.free(8000)
        client.allocate(8192)


def test_a_closed_connection_frees_the_slot(start: StartArbiter, tmp_path: Path) -> None:
    start()
    with EngineClient(tmp_path / "gpu.sock", "a") as client:
        client.allocate(8192)
        with pytest.raises(EngineRefused, match=f"slot 'a' is held by process {os.getpid()}") as refusal:
            EngineClient(tmp_path / "gpu.sock", "a")
        assert refusal.value.refusal == "slot-taken"
    with EngineClient(tmp_path / "gpu.sock", "a") as client:
        client.allocate(8192)
    with pytest.raises(EngineRefused, match="slot 'z' is not on this GPU; it has a, b"):
        EngineClient(tmp_path / "gpu.sock", "z")


def test_an_arbiter_that_is_killed_fails_waiting_and_later_calls(start: StartArbiter, tmp_path: Path) -> None:
    arbiter = start()
    client = EngineClient(tmp_path / "gpu.sock", "a")

    async def wait_for_ever() -> None:
        waiting = asyncio.create_task(client.run(3600 * 1000 * NS_PER_MS))
        await asyncio.sleep(0)  # the request is sent by then
        arbiter.kill()
        await waiting

    assert client.connected
    with pytest.raises(EngineUnavailable, match="the arbiter"):
        asyncio.run(wait_for_ever())
    assert not client.connected
    with pytest.raises(EngineUnavailable):
        client.allocate(1)
    client.close()


def test_without_an_arbiter_the_engine_is_unavailable(tmp_path: Path) -> None:
    for ask in (lambda: EngineClient(tmp_path / "gpu.sock", "a"), lambda: read_status(tmp_path / "gpu.sock")):
        with pytest.raises(EngineUnavailable, match="no arbiter answers at"):
            ask()


def test_a_lost_device_is_injected_and_ended_from_outside(start: StartArbiter, tmp_path: Path) -> None:
    start()
    with EngineClient(tmp_path / "gpu.sock", "a") as client:
        set_device_lost(tmp_path / "gpu.sock", True)
        with pytest.raises(DeviceLost):
            client.run_blocking(1)
        with pytest.raises(DeviceLost):
            EngineClient(tmp_path / "gpu.sock", "b")
        set_device_lost(tmp_path / "gpu.sock", False)
        with pytest.raises(DeviceLost):
            client.allocate(1)
    with EngineClient(tmp_path / "gpu.sock", "a") as client:
        client.run_blocking(1)


def test_a_message_without_end_closes_its_connection_only(start: StartArbiter, tmp_path: Path) -> None:
    start()
    with socket.socket(socket.AF_UNIX) as rude, rude.makefile("rb") as replies:
        rude.connect(str(tmp_path / "gpu.sock"))
        rude.sendall(b"x" * (LONGEST_LINE + 1))
        assert json.loads(replies.readline())["message"] == "a message has at most 4096 bytes; closing"
        assert replies.readline() == b""
    assert read_status(tmp_path / "gpu.sock")["lost"] is False


def test_a_client_that_reads_no_replies_is_dropped(start: StartArbiter, tmp_path: Path) -> None:
    start()
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(tmp_path / "gpu.sock"))
        deaf.settimeout(10)
        question = b'{"id":1,"op":"status"}\n' * 100_000
        with pytest.raises(ConnectionError):
            deaf.sendall(question)
    assert read_status(tmp_path / "gpu.sock")["lost"] is False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_and_removes_its_socket(
    start: StartArbiter, tmp_path: Path, number: signal.Signals
) -> None:
    arbiter = start()
    with EngineClient(tmp_path / "gpu.sock", "a"):
        arbiter.send_signal(number)
        status, output = ended(arbiter)
    assert (status, output.count("\n")) == (0, 1)
    assert not (tmp_path / "gpu.sock").exists()


def test_the_socket_of_a_killed_arbiter_is_taken_over(start: StartArbiter, tmp_path: Path) -> None:
    arbiter = start()
    arbiter.kill()
    arbiter.wait()
    assert (tmp_path / "gpu.sock").exists()
    start()
    assert read_status(tmp_path / "gpu.sock")["gpu_uuid"] == "GPU-card"


def test_a_second_arbiter_on_a_live_socket_is_refused_and_disturbs_nothing(start: StartArbiter, tmp_path: Path) -> None:
    start()
    before = (tmp_path / "a.nvml").stat().st_ino
    status, output = ended(start())
    assert status == 2
    assert "gpu.sock is served by another arbiter; stop it or choose another path" in output
    assert (tmp_path / "a.nvml").stat().st_ino == before
    assert read_status(tmp_path / "gpu.sock")["lost"] is False


def test_a_file_in_the_place_of_the_socket_is_not_removed(start: StartArbiter, tmp_path: Path) -> None:
    (tmp_path / "gpu.sock").write_text("precious")
    status, output = ended(start())
    assert (status, (tmp_path / "gpu.sock").read_text()) == (2, "precious")
    assert "is a file of another kind; choose another path" in output


def test_a_bad_config_is_refused_with_all_its_problems(start: StartArbiter, tmp_path: Path) -> None:
    status, output = ended(start(policy="unfair", most_per_gpu=0))
    assert status == 2
    assert output.splitlines() == [
        f"{tmp_path}/gpu.json: most_per_gpu is 0; give a whole number from 1 to 32",
        f'{tmp_path}/gpu.json: policy is "unfair"; give best-effort or equal-share or fixed-share',
    ]
    assert not (tmp_path / "gpu.sock").exists()


@pytest.mark.parametrize("error", [FramebufferExhausted(1, 2, 3), EngineRefused("slot-taken", "held by process 1")])
def test_errors_survive_the_way_between_processes(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.args) == (type(error), str(error), error.args)
