"""`python -m autoscaler.embedded.apiserver`: starts soon, says where, says what is wrong in a line, stops when told."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vgpu.adapters import kube

_COMMAND = [sys.executable, "-m", "autoscaler.embedded.apiserver"]


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    command = [*_COMMAND, "--listen", "127.0.0.1:0", "--kubeconfig", str(tmp_path / "kubeconfig")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("apiserver (emulated) on http://127.0.0.1:")
        cluster = kube.connect(tmp_path / "kubeconfig", timeout_s=5.0)
        assert cluster.list(kube.NODES) == ()
        process.send_signal(signal.SIGTERM)
        told_s = time.monotonic()
        assert process.wait(10) == 0
        assert time.monotonic() - told_s < 5
        cluster.close()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--listen", "0.0.0.0:0"],
            "apiserver: host: 0.0.0.0 is not a loopback address; this stand-in is for one machine only",
        ),
        (["--listen", "6443"], "apiserver: --listen: 6443 is not HOST:PORT"),
        (
            ["--listen", "127.0.0.1:0", "--token-file", "/none"],
            "apiserver: [Errno 2] No such file or directory: '/none'",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], line: str) -> None:
    done = subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr.splitlines()) == (1, [line])
