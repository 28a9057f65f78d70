"""The switcher as a process: what keeps it from starting, what it answers, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.fakes.waiting import eventually
from tests.unit.switcher.world import FILE, NAMESPACE, World, config_map, world
from vgpu.adapters import kube
from vgpu.switcher.__main__ import main
from vgpu.switcher.leading import NAME


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(here: World, *more: str) -> list[str]:
    given = ["--config", str(here.file), "--kubeconfig", str(here.file.with_name("kubeconfig")), "--interval-s", "0.1"]
    return [sys.executable, "-m", "vgpu.switcher", *given, *more]


@contextmanager
def running(here: World, *more: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    port = free_port()
    process = subprocess.Popen(
        command(here, "--listen", f"127.0.0.1:{port}", *more), stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        eventually(lambda: answer(port, "/readyz"), lambda status: status == 200)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def answer(port: int, path: str) -> int:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def test_it_leads_learns_the_layout_and_lets_go_at_the_end(here: World) -> None:
    with running(here) as (process, url):
        eventually(lambda: here.record().layout, lambda layout: layout == "day")
        assert "vgpu_serve_switcher_leader 1.0" in httpx.get(f"{url}/metrics", trust_env=False).text
        assert httpx.get(f"{url}/v1/switches", trust_env=False).json()["gpus"][0]["layout"] == "day"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0, said
    assert "no --autoscaler-url: nothing is served here" in said
    assert here.client.read_lease(NAMESPACE, NAME)["spec"]["holderIdentity"] == ""


def test_a_provider_that_is_away_ends_in_a_refusal_with_its_reason(here: World) -> None:
    here.file.write_text(FILE.replace("check: 8", "check: 0.5"))
    with running(here) as (_, url):
        eventually(lambda: here.record().layout, lambda layout: layout == "day")
        here.now_s = time.time()
        here.ask("night")
        eventually(here.rests, lambda rests: rests)
        assert "provider lab" in here.ended().why
        shown = 'vgpu_serve_switch_refused{gpu="gpu-a"} 1.0'
        eventually(lambda: httpx.get(f"{url}/metrics", trust_env=False).text, lambda text: shown in text)


def test_a_dry_run_writes_nothing(here: World) -> None:
    series = "vgpu_serve_switcher_last_pass_timestamp_seconds "
    with running(here, "--dry-run") as (process, url):
        passes: set[str] = set()

        def told() -> int:
            lines = httpx.get(f"{url}/metrics", trust_env=False).text.splitlines()
            passes.update(line for line in lines if line.startswith(series))
            return len(passes)

        eventually(told, lambda count: count > 2)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert "dry run: nothing is changed" in said
    with pytest.raises(kube.NotFound):
        config_map(here.client)
    with pytest.raises(kube.NotFound):
        here.client.read_lease(NAMESPACE, NAME)


def refused(here: World, *more: str) -> str:
    ended = subprocess.run(command(here, *more), capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    return ended.stderr


def test_everything_wrong_with_the_file_is_said_at_the_start(here: World) -> None:
    here.file.write_text(FILE.replace("provider: lab", "provider: other").replace("UTC", "here"))
    said = refused(here).splitlines()
    assert [line.rpartition(f"{here.file}: ")[2].partition(":")[0] for line in said] == [
        "gpus.gpu-a.provider",
        "time_zone",
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--listen", "nowhere"], "'nowhere' is not HOST:PORT"),
        (["--interval-s", "0"], "'0' is no interval; write seconds above 0, at most 60"),
        (["--kubeconfig", "/nowhere"], "/nowhere"),
    ],
)
def test_a_bad_flag_is_one_line(here: World, more: list[str], said: str) -> None:
    assert said in refused(here, *more)


def test_a_port_that_is_taken_is_one_line(here: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(here, "--listen", f"127.0.0.1:{port}")
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in said


def test_a_file_is_checked_without_anything_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "switcher.yaml"
    file.write_text(FILE)
    assert main(["--check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: GPUs gpu-a; layouts day, night; 0 entries\n"
    file.write_text("gpus: {}\nlayouts: {}\nproviders: {}\n")
    assert main(["--check", str(file)]) == 1
    problems = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in problems] == ["gpus", "layouts"]


def test_nothing_is_run_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert capsys.readouterr().err == "python -m vgpu.switcher: no --config; name the switcher's file\n"
