"""What the switcher asks of whatever runs the machines, and how that says no.

A *machine* is a virtual machine by its name, or, for a provider that recuts a card in place, the node by its name.
Every operation asks for something and may return before it is so: until then `look` says CHANGING. Asking again for
what is so already, or is on its way, does nothing. So a caller that was stopped between asking and hearing the answer
simply asks again.

What a provider can do it says in `Capabilities`, each time anew from the machine, its host and its server. An
operation of which they say no raises a permanent `ProviderError` with the reason that `why_not` gives.

A provider is used by one thread at a time. No call takes longer than the provider's own time limit: an answer that is
not there by then is a `ProviderError` that is not permanent. No error's text, and no provider's repr, holds a secret.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from vgpu.core.profile import Profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState

__all__ = ["Capabilities", "MachineSeen", "MachineState", "Provider", "ProviderError"]


class ProviderError(Exception):
    """An operation did not happen: `what` was tried, `why` not.

    `permanent` is whether asking again without anyone mending something could ever help: True for a machine that is
    not there, a missing permission, a state that does not allow it; False for a server that is away or busy.
    """

    def __init__(self, what: str, why: str, *, permanent: bool) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
        self.permanent = permanent


class Provider(Protocol):
    """Every method raises `ProviderError` and nothing else. All but `look` do so, permanently, where there is no such
    machine."""

    def capabilities(self, machine: str) -> Capabilities:
        """What can be done with this machine where it is now; `why_not` has a reason for each thing that cannot."""
        ...

    def look(self, machines: Sequence[str]) -> Mapping[str, MachineSeen]:
        """What each of these is doing, asked of the server in one go. One that is not there is not in the answer."""
        ...

    def suspend(self, machine: str) -> None:
        """Keep the machine's memory, and that of its vGPU, and stop it. Only a running one; else a permanent error."""
        ...

    def resume(self, machine: str) -> None:
        """Let a suspended machine go on where it stopped, and one that runs with a fault because it stands still. One
        that is off is a permanent error: power it on."""
        ...

    def power_off(self, machine: str) -> None:
        """Shut the guest down where it can be asked, else or after a bound cut its power. A suspended one loses its
        memory."""
        ...

    def power_on(self, machine: str) -> None:
        """Start a machine that is off. A suspended one is a permanent error: resume it, or power it off first."""
        ...

    def set_profile(self, machine: str, profile: Profile) -> None:
        """Give a machine that is off this vGPU profile instead of what it has; a permanent error unless it is off."""
        ...

    def set_config(self, machine: str, config: str) -> None:
        """Recut the node's card in place into the configuration of this name; only where `recuts_in_place` is said."""
        ...

    def snapshot(self, machine: str, name: str) -> None:
        """Keep the machine as it is under this name; one of this name is there already: done."""
        ...

    def migrate(self, machine: str, host: str) -> None:
        """Move the machine to the host of this name, running if it runs; it is there already: done."""
        ...

    def close(self) -> None:
        """Give the connection back. Twice does nothing; never raises."""
        ...
