"""`python -m serving.check MODELS.yaml`: everything that can be refused before anything is started.

Loads each model once, on the CPU: a missing or damaged model file is found here, and what is built once per machine
(an embedder's graph) is built before several replicas want it at the same time.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models import catalog
from models.model import Model, ModelFileError
from serving import config


def load(path: Path, *, then: Callable[[Model[Any, Any]], None] = lambda _: None) -> config.ServingConfig:
    """Read a models file, make each of its models and do `then` with it. Raises `ConfigError` with every problem."""
    loaded = config.load(path)
    problems = []
    for model in loaded.models:
        try:
            then(catalog.create(model.kind, **model.parameters))
        except (ValueError, TypeError, ModelFileError) as error:
            problems.append(f"{path}: models.{model.name}: {error}")
    if problems:
        raise config.ConfigError("\n".join(problems))
    return loaded


def main(arguments: list[str] | None = None) -> int:
    """0 when the file can be served, 2 with one line for each problem."""
    parser = argparse.ArgumentParser(prog="python -m serving.check", description=__doc__)
    parser.add_argument("models", type=Path, help="the models file")
    try:
        load(parser.parse_args(arguments).models, then=lambda model: model.load())
    except config.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
