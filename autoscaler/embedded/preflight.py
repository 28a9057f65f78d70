"""Everything that is refused before anything is started, all of it at once."""

import subprocess
import sys
from pathlib import Path

from autoscaler import config
from autoscaler.refusal import Refused

TIMEOUT_S = 120


def check(models: Path, *, cost_ratio: float) -> None:
    """Read the models file as each process reads it, and load each model once. Raises `Refused`.

    `cost_ratio` is how many times slower than the reference engine the fleet's GPUs are. The data plane's part runs in
    a process of its own: it loads models, which this one has no use for.
    """
    found: list[str] = []
    try:
        config.load(models)
    except config.ConfigError as error:
        found += str(error).splitlines()
    command = [sys.executable, "-m", "serving.check", str(models), "--cost-ratio", str(cost_ratio)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        found.append(f"{models}: its models did not load within {TIMEOUT_S} s")
    else:
        if answer.returncode != 0:
            found += answer.stderr.splitlines()
    if found:
        raise Refused("\n".join(dict.fromkeys(found)))
