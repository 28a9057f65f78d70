"""A process says whose it is in its environment."""

import os
import subprocess
import sys
from pathlib import Path

from vgpu.core import names
from vgpu.exporter.attribution import Tenant, by_environment


def test_a_process_that_was_given_a_slot_belongs_to_it() -> None:
    given = {names.ENV_SLOT_ID: "node-1/chat-a", names.ENV_SLOT_PROFILE: "fraction-500"}
    # It says something first: between exec and its first instruction a process has no environment yet.
    command = [sys.executable, "-c", "print('up', flush=True); input()"]
    child = subprocess.Popen(
        command, env={**os.environ, **given}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        assert by_environment(child.pid) == Tenant(slot_id="node-1/chat-a", profile="fraction-500")
    finally:
        child.communicate("\n")


def test_one_without_a_slot_and_one_that_is_gone_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "environ").write_bytes(b"HOME=/root\0VGPU_SLOT_ID=\0odd\0\xff=\xfe\0")
    assert by_environment(7, proc=tmp_path) is None
    assert by_environment(8, proc=tmp_path) is None
