"""Code that is not ours: whatever it raises becomes one sentence that says where, and what to correct."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from models.model import InvalidInput, ModelFileError

Given = TypeVar("Given")
LONGEST_REASON = 300


class ModelDefect(Exception):
    """A model cannot be made, loaded or asked; the message is one line."""


def told(step: str, work: Callable[[], Given]) -> Given:
    """What `work` gives. Raises `ModelDefect` for whatever else it raises, but for our own words about model files."""
    try:
        return work()
    except (ModelFileError, ModelDefect):
        raise
    except (Exception, SystemExit) as error:
        raise ModelDefect(f"{step}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Kind, first words and place of an error, in one line."""
    words = " ".join(str(error).split())
    if len(words) > LONGEST_REASON:
        words = words[:LONGEST_REASON] + "…"
    if isinstance(error, ModelDefect | InvalidInput):
        return words
    frames = traceback.extract_tb(error.__traceback__)
    place = ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({Path(error.filename).name}:{error.lineno})"
    elif len(frames) > 1 and not frames[-1].filename.startswith("<"):  # the first is `told` itself
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
    return f"{type(error).__name__}: {words}{place}" if words else f"{type(error).__name__}{place}"
