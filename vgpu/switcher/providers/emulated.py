"""The hypervisor stand-in of the embedded cluster, over HTTP on loopback.

It does what is asked a while after it has said so, and refuses what a host refuses: a guest that its card has no room
for, one of another size than those that run, an action that does not suit a machine's state. An emulated guest has one
profile for good, and there is one host, so nothing is recut, kept as a snapshot or moved.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import httpx

from vgpu.core.profile import Profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState
from vgpu.switcher.providers.port import Provider, ProviderError
from vgpu.switcher.providers.settings import Emulated

TIMEOUT_S = 5.0
WHY_NOT = {
    "snapshot": "the emulated host keeps no snapshots",
    "live_migrate": "there is one emulated host",
    "set_profile": "an emulated guest has one profile for good; name a guest that has this one in the fleet file",
    "recuts_in_place": "the emulated host runs machines; name a guest of the other profile instead",
}


def open(settings: Emulated) -> Provider:
    """A provider of this stand-in; it is first asked something later. Raises `ProviderError` for what is no URL."""
    try:
        return EmulatedProvider(settings.url, settings.token_file)
    except httpx.InvalidURL as error:
        raise ProviderError(f"open {settings.url!r}", f"it is no URL: {error}", permanent=True) from error


class EmulatedProvider:
    """The port over one hypervisor stand-in. The token is read at each call, so that a new one is taken up."""

    def __init__(self, url: str, token_file: Path, *, transport: httpx.BaseTransport | None = None) -> None:
        self._token_file = token_file
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S, transport=transport, trust_env=False)

    def capabilities(self, machine: str) -> Capabilities:
        what = f"look at {machine}"
        self._view(self._machines(what), machine, what)
        return Capabilities(
            suspend=True,
            resume=True,
            power_off=True,
            power_on=True,
            why_not={name: WHY_NOT[name] for name in ("snapshot", "live_migrate", "recuts_in_place")},
        )

    def look(self, machines: Sequence[str]) -> Mapping[str, MachineSeen]:
        found = self._machines(f"look at {', '.join(machines)}")
        return {name: _seen(found[name]) for name in machines if name in found}

    def suspend(self, machine: str) -> None:
        self._ask(machine, "suspend")

    def resume(self, machine: str) -> None:
        self._ask(machine, "resume")

    def power_off(self, machine: str) -> None:
        self._ask(machine, "power-off")

    def power_on(self, machine: str) -> None:
        self._ask(machine, "power-on")

    def set_profile(self, machine: str, profile: Profile) -> None:
        what = f"give {machine} the profile {profile.label}"
        view = self._view(self._machines(what), machine, what)
        if view.get("profile") == profile.label:
            return
        if view.get("state") != MachineState.OFF:
            raise ProviderError(what, f"it is {view.get('state')}; power it off first", permanent=True)
        raise ProviderError(what, WHY_NOT["set_profile"], permanent=True)

    def set_config(self, machine: str, config: str) -> None:
        self._refuse(f"recut {machine} into {config}", machine, "recuts_in_place")

    def snapshot(self, machine: str, name: str) -> None:
        self._refuse(f"keep {machine} as {name}", machine, "snapshot")

    def migrate(self, machine: str, host: str) -> None:
        self._refuse(f"move {machine} to {host}", machine, "live_migrate")

    def close(self) -> None:
        self._client.close()

    def _refuse(self, what: str, machine: str, capability: str) -> NoReturn:
        """Refuse for good what no machine here can do, where there is such a machine and a host that answers."""
        self._view(self._machines(what), machine, what)
        raise ProviderError(what, WHY_NOT[capability], permanent=True)

    def _ask(self, machine: str, action: str) -> None:
        self._send(f"{action} {machine}", "POST", f"/v1/machines/{quote(machine, safe='')}/{action}")

    def _machines(self, what: str) -> dict[str, Any]:
        return self._send(what, "GET", "/v1/machines")

    def _view(self, found: Mapping[str, Any], machine: str, what: str) -> dict[str, Any]:
        if machine not in found:
            raise ProviderError(what, f"there is no machine {machine}", permanent=True)
        return dict(found[machine])

    def _token(self, what: str) -> str:
        try:
            return self._token_file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise ProviderError(what, f"{self._token_file}: {error.strerror}", permanent=True) from error
        except UnicodeDecodeError:
            raise ProviderError(what, f"{self._token_file}: holds no token", permanent=True) from None

    def _send(self, what: str, method: str, path: str) -> dict[str, Any]:
        """One request and its answer, a JSON object."""
        headers = {"Authorization": f"Bearer {self._token(what)}"}
        try:
            answer = self._client.request(method, path, headers=headers)
            said = dict(answer.json())
        except httpx.HTTPError as error:
            why = f"the hypervisor stand-in does not answer: {type(error).__name__}"
            raise ProviderError(what, why, permanent=False) from None  # its text may repeat a header
        except (ValueError, TypeError) as error:
            raise ProviderError(what, "the hypervisor stand-in answered no JSON object", permanent=False) from error
        if answer.is_error:
            is_permanent = bool(said.get("permanent", answer.is_client_error))
            raise ProviderError(what, str(said.get("error", f"status {answer.status_code}")), permanent=is_permanent)
        return said


def _seen(view: Mapping[str, Any]) -> MachineSeen:
    known = [state for state in MachineState if state == view.get("state")]
    return MachineSeen(state=known[0] if known else MachineState.UNKNOWN, profile=str(view.get("profile", "")))
