"""A models file is refused with everything that is wrong with it, for whichever process."""

from pathlib import Path

import pytest

from autoscaler.embedded import preflight
from autoscaler.refusal import Refused

BAD = """
models:
  one: {source: synthetic, slot: v100-8q-16GB, objective_p95_ms: 200}
  two: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 200, autoscaling: {max_replica: 2}}
  three: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 200, serving: {max_queue: 0}}
"""
GOOD = """
models:
  one: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 200}
"""


def test_problems_of_both_processes_come_together_and_once(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(BAD)
    with pytest.raises(Refused) as refusal:
        preflight.check(file, cost_ratio=1.0)
    lines = str(refusal.value).splitlines()
    assert len(lines) == len(set(lines))
    said = str(refusal.value)
    for part in (
        "models.one.slot",
        "8 GB",
        "16 GB",
        "models.two.autoscaling.max_replica",
        "models.three.serving.max_queue",
    ):
        assert part in said


def test_a_good_file_passes(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(GOOD)
    preflight.check(file, cost_ratio=1.0)
