"""Replicas leave a live system under load: the chosen ones, and no request is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
TIMES = 3


def test_each_time_the_chosen_replica_leaves_and_every_request_is_answered(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.bench.drain", "--times", str(TIMES)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    figures = json.loads(answer.stdout)
    assert figures["requests"] > 10 * TIMES
    kept = ("times", "failed_requests", "victims_right", "victims_wrong", "failed_actions")
    assert {name: figures[name] for name in kept} == {
        "times": TIMES,
        "failed_requests": 0,
        "victims_right": TIMES,
        "victims_wrong": [],
        "failed_actions": [],
    }
