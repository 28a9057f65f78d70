"""Training pods: what of their command the embedded kubelet runs. Pure.

A pod is one by its command, `python -m models.training`. Its options are taken from a list, and its checkpoint lies in
the one volume there is: `/checkpoints`, a folder of the run directory.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoscaler.embedded.slots import Unfit

Json = dict[str, Any]

COMMAND = ["python", "-m", "models.training"]
VOLUME = "/checkpoints"
_NUMBER = re.compile(r"[0-9]{1,9}")
_CHECKPOINT = re.compile(rf"{VOLUME}/(?P<name>[a-z0-9][-a-z0-9._]{{0,62}})")
OPTIONS = {"--steps": _NUMBER, "--seed": _NUMBER, "--checkpoint-every": _NUMBER, "--checkpoint": _CHECKPOINT}


def is_training(pod: Json) -> bool:
    """Whether the pod is one container that trains."""
    return len(pod["spec"]["containers"]) == 1 and _words(pod)[: len(COMMAND)] == COMMAND


def may_finish(pod: Json) -> bool:
    """Whether the pod is over once its process ends with status 0."""
    return bool(pod["spec"].get("restartPolicy", "Always") == "OnFailure")


def arguments(pod: Json, volume: Path) -> Sequence[str]:
    """The options of a training pod, the checkpoint in the folder that plays the volume. Raises `Unfit`."""
    if pod["spec"].get("initContainers") or pod["spec"].get("restartPolicy", "Always") == "Never":
        raise Unfit("the embedded kubelet runs training without init containers, restartPolicy Always or OnFailure")
    words = [part for word in _words(pod)[len(COMMAND) :] for part in word.split("=", 1)]
    if len(words) % 2:
        raise Unfit(f"{words[-1]} has no value; write OPTION VALUE or OPTION=VALUE")
    made: list[str] = []
    for option, value in zip(words[::2], words[1::2], strict=True):
        match = OPTIONS[option].fullmatch(value) if option in OPTIONS else None
        if match is None:
            raise Unfit(
                f"the embedded kubelet runs {' '.join(COMMAND)} with --steps, --seed and --checkpoint-every N "
                f"and --checkpoint {VOLUME}/NAME only; this pod says {option} {value}"
            )
        made += [option, str(volume / match["name"]) if option == "--checkpoint" else value]
    return made


def _words(pod: Json) -> list[str]:
    container = pod["spec"]["containers"][0]
    return [str(word) for word in [*(container.get("command") or []), *(container.get("args") or [])]]
