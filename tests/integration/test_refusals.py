"""What is refused at start, with all problems at once; and what is left when a system dies half-way up."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration import system as systems
from tests.integration.system import BIN

pytestmark = pytest.mark.timeout(120)


def refused(*arguments: str, cwd: Path) -> str:
    answer = subprocess.run(
        [str(BIN / "vgpu-serve"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.stderr


def test_every_taken_port_is_named_with_its_option(tmp_path: Path) -> None:
    with socket.socket() as one, socket.socket() as other:
        for taken in (one, other):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
        http, api = one.getsockname()[1], other.getsockname()[1]
        said = refused("up", "--http-port", str(http), "--api-port", str(api), cwd=tmp_path)
    assert f"port {http} is in use; choose another with --http-port" in said
    assert f"port {api} is in use; choose another with --api-port" in said


def test_every_problem_of_a_models_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(
        "models:\n"
        "  one: {source: text_embedder, slot: v100-8q-16GB, objective_p95_ms: 200}\n"
        "  two: {source: text_embedder, slot: v100-8q-8GB, objective_p95_ms: 200, autoscaling: {max_replica: 2}}\n"
    )
    said = refused("up", "--models", str(file), cwd=tmp_path)
    assert "models.two.autoscaling.max_replica: unknown key" in said


def test_a_contradictory_slot_type_names_both_parts(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("models:\n  one: {source: text_embedder, slot: v100-8q-16GB, objective_p95_ms: 200}\n")
    said = refused("up", "--models", str(file), cwd=tmp_path)
    assert "8 GB" in said
    assert "16 GB" in said


def test_a_missing_model_file_is_named_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(
        "models:\n"
        "  one:\n"
        "    source: text_embedder\n"
        "    parameters: {folder: /nowhere/at/all}\n"
        "    slot: v100-8q-8GB\n"
        "    objective_p95_ms: 200\n"
        "  two: {source: unheard_of, slot: v100-8q-8GB, objective_p95_ms: 200}\n"
    )
    system = systems.start(tmp_path / "up", file.read_text())
    assert system.process.wait(60) == 2
    said = system.log.read_text()
    assert "/nowhere/at/all" in said
    assert "unheard_of" in said
    assert "Traceback" not in said


@pytest.mark.ray
@pytest.mark.parametrize("victim", ["outer", "inner"])
def test_a_killed_up_leaves_nothing_running(tmp_path: Path, victim: str) -> None:
    system = systems.start(tmp_path)
    system.wait("Ray's daemons", lambda: any("raylet" in p.name() for p in system.family()), timeout_s=60)
    family = system.family()
    inner = next(process for process in family if process.ppid() == system.process.pid)
    os.kill(system.process.pid if victim == "outer" else inner.pid, signal.SIGKILL)
    system.process.wait(30)
    assert systems.left_over(family, within_s=20) == []
