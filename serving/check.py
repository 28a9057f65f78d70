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


def load(
    path: Path, *, then: Callable[[Model[Any, Any]], None] = lambda _: None, cost_ratio: float | None = None
) -> config.ServingConfig:
    """Read a models file, make each of its models and do `then` with it. Raises `ConfigError` with every problem.

    With a `cost_ratio`, how many times longer the GPU takes than the reference engine, objectives are checked too;
    `then` has to load the models for that.
    """
    loaded = config.load(path)
    problems = []
    for model in loaded.models:
        try:
            then(made := catalog.create(model.kind, **model.parameters))
            if cost_ratio is not None:
                problems += _out_of_reach(path, model, made, cost_ratio)
        except (ValueError, TypeError, ModelFileError) as error:
            problems.append(f"{path}: models.{model.name}: {error}")
    if problems:
        raise config.ConfigError("\n".join(problems))
    return loaded


def _out_of_reach(path: Path, model: config.ModelConfig, made: Model[Any, Any], cost_ratio: float) -> list[str]:
    """Refuse an objective that one lone request of the model's own example misses on an idle slot."""
    (item, *_) = made.items_from_tensors(made.example())
    solo_ms = made.engine_cost_ns([item]) * cost_ratio / 1e6
    if solo_ms < model.objective_p95_ms:
        return []
    return [
        f"{path}: models.{model.name}.objective_p95_ms: {model.objective_p95_ms:g} ms cannot be kept, for a lone "
        f"request takes {solo_ms:.1f} ms on an idle slot (measured cost of {model.kind}); "
        f"give {1.5 * solo_ms:.0f} ms or more, or a faster slot type"
    ]


def main(arguments: list[str] | None = None) -> int:
    """0 when the file can be served, 2 with one line for each problem."""
    parser = argparse.ArgumentParser(prog="python -m serving.check", description=__doc__)
    parser.add_argument("models", type=Path, help="the models file")
    parser.add_argument(
        "--cost-ratio", type=float, default=1.0, help="how many times longer the GPU takes than the reference engine"
    )
    options = parser.parse_args(arguments)
    try:
        load(options.models, then=lambda model: model.load(), cost_ratio=options.cost_ratio)
    except config.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
