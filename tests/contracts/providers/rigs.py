"""What the contract suite needs of each provider to put it through its paces.

A provider joins by a module `rig_<kind>.py` beside this one with `GOES_AWAY`, and a context manager `rig(folder)` that
gives a `Rig` and clears up behind it. `folder` is empty and the test's own.
"""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType

from vgpu.core.profile import Profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState
from vgpu.switcher.providers.port import Provider

CAPABILITIES = tuple(field.name for field in fields(Capabilities) if field.name != "why_not")
WAIT_S = 30.0


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Rig:
    """One provider with a machine that runs.

    `can` names the capabilities that the machine has, and `cannot` another machine for each capability that one lacks.
    `profiles` are two that the machine may be given, `configs` two that its card may be recut into, `host` where it may
    be moved; empty where the provider knows no such thing. `secret` is a text that nobody may ever see. `away` takes
    the provider's server away and `back` returns it.
    """

    provider: Provider
    machine: str
    can: frozenset[str]
    cannot: dict[str, str]
    secret: str = ""
    profiles: tuple[Profile, ...] = ()
    configs: tuple[str, ...] = ()
    host: str = ""
    away: Callable[[], None] = _nothing
    back: Callable[[], None] = _nothing

    def seen(self, until: MachineState) -> MachineSeen:
        """The machine once it is in this state; waits while it is changing, and fails on any other."""
        until_s = time.monotonic() + WAIT_S
        seen = self.provider.look([self.machine])[self.machine]
        while seen.state is MachineState.CHANGING and time.monotonic() < until_s:
            time.sleep(0.05)
            seen = self.provider.look([self.machine])[self.machine]
        assert seen.state is until, seen
        return seen


def kinds(*, that_go_away: bool = False) -> list[str]:
    """The kinds of provider with a rig; or only those whose server can be taken away."""
    found = sorted(path.stem.removeprefix("rig_") for path in Path(__file__).parent.glob("rig_*.py"))
    return [kind for kind in found if not that_go_away or module(kind).GOES_AWAY]


def module(kind: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.rig_{kind}")
