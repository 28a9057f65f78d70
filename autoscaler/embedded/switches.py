"""The switcher's file, as the embedded installation hands it on: completed, copied, and followed when it changes.

A user writes `{kind: emulated}` for the provider; where the hypervisor stand-in listens is known only here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscaler.embedded.fleet import Fleet
from autoscaler.refusal import Refused
from vgpu import yaml_document
from vgpu.switcher import config
from vgpu.switcher.providers.settings import KINDS, Emulated
from vgpu.yaml_document import NotYaml

EMULATED = next(kind for kind, settings in KINDS.items() if settings is Emulated)


class SwitchesError(Refused):
    """The switcher's file does not suit the emulated hardware; the message lists every problem."""


@dataclass(slots=True, kw_only=True)
class SwitchesFile:
    """The user's file and the completed copy that the switcher reads."""

    original: Path
    copy: Path
    url: str
    token_file: Path
    _seen: str | None = field(default=None, init=False)

    def write(self) -> None:
        """Write the copy. Raises `OSError` where the original cannot be read."""
        self._seen = self.original.read_text(encoding="utf-8")
        draft = self.copy.with_name(f".{self.copy.name}.draft")
        draft.write_text(complete(self._seen, url=self.url, token_file=self.token_file), encoding="utf-8")
        draft.replace(self.copy)

    def follow(self) -> bool:
        """Write the copy anew where the original has changed; one that cannot be read is looked at again later."""
        try:
            if self.original.read_text(encoding="utf-8") == self._seen:
                return False
            self.write()
        except (OSError, UnicodeDecodeError):
            return False
        return True


def complete(text: str, *, url: str, token_file: Path) -> str:
    """Add to each emulated provider where it is, unless it says so itself.

    What is no such document stays as it is written: what is wrong with it is the switcher's to say.
    """
    try:
        document = yaml_document.load(text)
    except NotYaml:
        return text
    emulated = list(_emulated(document))
    for provider in emulated:
        provider.setdefault("url", url)
        provider.setdefault("token_file", str(token_file))
    return yaml_document.dump(document) if emulated else text


def check(path: Path, fleet: Fleet) -> None:
    """Read the file as the switcher does, and compare its layouts with the emulated cards.

    Raises `SwitchesError` with all that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SwitchesError(f"{path}: {error}; give a readable switcher's file") from error
    # Where the stand-in listens is known later; any address will do to check the rest.
    content = complete(text, url="http://127.0.0.1", token_file=path).encode()
    try:
        said = config.read(path, content, interval_s=1.0)
    except config.ConfigError as error:
        raise SwitchesError(str(error)) from error
    if problems := list(dict.fromkeys(_unfit(said, fleet))):
        raise SwitchesError("\n".join(f"{path}: {problem}" for problem in problems))


def _unfit(said: config.Config, fleet: Fleet) -> Iterator[str]:
    """What the layouts of emulated cards name that is not in the fleet."""
    cuts = {node: card for card in fleet.cards for node in card.nodes}
    for gpu, provider in said.provider_of.items():
        if not isinstance(said.providers[provider], Emulated):
            continue
        named = ", ".join(node for cut in fleet.cuts(gpu) for node in cut.nodes)
        for layout in said.layouts_of(gpu):
            for guest in said.guests(layout, gpu) or ():
                where, card = f"layouts.{layout}.{gpu}", cuts.get(guest.node)
                if card is None or card.gpu != gpu:
                    yield f"{where}: the fleet has no node {guest.node} on gpu {gpu}; it has {named or 'no such gpu'}"
                elif guest.profile != card.shape:
                    yield f"{where}: {guest.node} is {card.profile} in the fleet; write that, or change the fleet"
                elif guest.vm != guest.node:
                    yield f"{where}: an emulated machine has its node's name; leave out machine: {guest.vm}"


def _emulated(document: object) -> Iterator[dict[str, Any]]:
    for provider in _mapping(_mapping(document).get("providers")).values():
        if isinstance(provider, dict) and provider.get("kind") == EMULATED:
            yield provider


def _mapping(given: object) -> dict[Any, Any]:
    return given if isinstance(given, dict) else {}
