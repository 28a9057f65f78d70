"""Whose process is on a shared card: the slot that the process was given, as its own environment says it.

A card shared by units shows NVML one device and many processes. The slot of each was handed to its container as
environment, and the kernel keeps that for every process of it (proc(5), `/proc/PID/environ`). Reading other users'
needs root, and seeing them the host's process ids: a DaemonSet with `hostPID: true`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vgpu.core import names

MOST_BYTES = 1 << 20
"""More than the kernel lets an environment be on most machines; what lies beyond is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A slot on a card, and its type."""

    slot_id: str
    profile: str


Attribution = Callable[[int], Tenant | None]
"""The tenant of a process; None where it says nothing or is gone."""


def by_environment(pid: int, *, proc: Path = Path("/proc")) -> Tenant | None:
    """Read the slot out of a process' environment."""
    try:
        with (proc / str(pid) / "environ").open("rb") as file:
            entries = file.read(MOST_BYTES).split(b"\0")
    except OSError:  # it has ended, or is another user's
        return None
    given = dict(entry.decode(errors="replace").partition("=")[::2] for entry in entries)
    slot_id = given.get(names.ENV_SLOT_ID)
    return Tenant(slot_id=slot_id, profile=given.get(names.ENV_SLOT_PROFILE, "")) if slot_id else None
