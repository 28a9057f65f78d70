"""Every step times every fault, over the embedded API server: afterwards the GPU is in one of its two layouts."""

import os
import sys
from pathlib import Path

import pytest

from tests.unit.switcher.faults import NO_ACTIONS, Fault, Outcome, suffer
from tests.unit.switcher.world import DAY, IN_DAY, IN_NIGHT, WORKERS, World, world
from vgpu.adapters import kube
from vgpu.core import names
from vgpu.core.switching.record import Step

GOLDEN = Path(__file__).parents[2] / "goldens" / "switcher" / "faults.txt"


@pytest.mark.parametrize("fault", Fault)
def test_whatever_goes_wrong_the_gpu_ends_in_one_layout(fault: Fault, tmp_path: Path) -> None:
    """One column of the table: the fault at each step in turn."""
    column = {}
    steps = [step for step in Step if (fault, step) not in NO_ACTIONS]
    for step in steps[:1] if fault is Fault.NOTHING else steps:
        directory = tmp_path / step
        directory.mkdir()
        with world(directory) as here:
            column[step] = suffer(fault, step, here)
            _check(here, column[step])
    table = render(fault, column)
    sys.stdout.write(f"\n{table}")
    assert table == golden(fault, table)


def golden(fault: Fault, table: str) -> str:
    """What the golden table says of a fault; written anew where that is asked for."""
    tables = GOLDEN.read_text().split("\n\n")
    if os.environ.get("VGPU_REWRITE_GOLDENS"):
        others = [each.strip("\n") for each in tables if each.strip() and not each.startswith(f"{fault:<28}")]
        GOLDEN.write_text("\n\n".join(sorted([*others, table.strip("\n")])) + "\n")
        return table
    return next(f"{each.strip(chr(10))}\n" for each in tables if each.startswith(f"{fault:<28}"))


def _check(here: World, outcome: Outcome) -> None:
    """Nothing is half-way: machines, nodes and marks are those of one layout, and every worker has a place."""
    is_day = outcome.layout == "day"
    assert here.nodes() == (IN_DAY if is_day else IN_NIGHT)
    assert {name for name in DAY if here.hypervisor.is_running(name)} == (set(DAY) if is_day else set())
    assert here.hypervisor.is_running("node-5") is not is_day
    workers = here.client.list(kube.PODS, "default", labels=names.LABEL_POOL)
    assert len([pod for pod in workers if "deletionTimestamp" not in pod["metadata"]]) == len(WORKERS)


def render(fault: Fault, column: dict[Step, Outcome]) -> str:
    """The rows of one fault."""
    rows = [
        f"{fault:<28} {step:<10} {outcome.result:<12} in {outcome.layout:<6} turned {outcome.exchanges}  "
        f"switchers {outcome.switchers}"
        for step, outcome in column.items()
    ]
    return "\n".join(rows) + "\n"
