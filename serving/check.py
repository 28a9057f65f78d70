"""`python -m serving.check MODELS.yaml`: everything that can be refused before anything is started.

Loads each model once, on the CPU, and has it answer its own example: a missing or damaged file, a class that is no
model and a wrong checksum are found here. Needs no GPU, no cluster, and the network only for ONNX files behind a URL.
With `--offline` nothing is downloaded, and an ONNX file that is not on this machine (a volume that only workers mount)
is checked by its words alone.
"""

import argparse
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from models import catalog, source, trial
from models.model import Model, ModelFileError
from models.strangers import ModelDefect
from serving import config


def load(
    path: Path,
    *,
    then: Callable[[Model[Any, Any]], None] = lambda _: None,
    cost_ratio: float | None = None,
    only: Collection[str] | None = None,
    is_offline: bool = False,
) -> config.ServingConfig:
    """Read a models file, make each of its models and do `then` with it. Raises `ConfigError` with every problem.

    With a `cost_ratio`, how many times longer the GPU takes than the reference engine, objectives are checked too;
    `then` has to load the models for that. With `only`, models of other names are made and nothing else. `is_offline`
    leaves ONNX files out that are not on this machine.
    """
    loaded = config.load(path)
    problems = []
    for model in loaded.models:
        try:
            made = catalog.create(model.source, **model.parameters)
            is_left_out = only is not None and model.name not in only
            if is_left_out or (is_offline and _is_elsewhere(model.source)):
                continue
            then(made)
            if cost_ratio is not None:
                problems += _out_of_reach(path, model, made, cost_ratio)
        except (ValueError, TypeError, ModelFileError, ModelDefect) as error:
            problems.append(f"{path}: models.{model.name}: {error}")
    if problems:
        raise config.ConfigError("\n".join(problems))
    return loaded


def _is_elsewhere(text: str) -> bool:
    """An ONNX file that would have to be downloaded, or that is not on this machine."""
    named = source.parse(text)
    return isinstance(named, source.OnnxFile) and (named.is_remote or not Path(named.location).exists())


def _out_of_reach(path: Path, model: config.ModelConfig, made: Model[Any, Any], cost_ratio: float) -> list[str]:
    """Refuse an objective that one lone request of the model's own example misses on an idle slot."""
    (item, *_) = made.items_from_tensors(made.example())
    solo_ms = made.engine_cost_ns([item]) * cost_ratio / 1e6
    if solo_ms < model.objective_p95_ms:
        return []
    return [
        f"{path}: models.{model.name}.objective_p95_ms: {model.objective_p95_ms:g} ms cannot be kept, for a lone "
        f"request takes {solo_ms:.1f} ms on an idle slot (cost of {source.shown(model.source)}); "
        f"give {1.5 * solo_ms:.0f} ms or more, or a faster slot type"
    ]


def main(arguments: list[str] | None = None) -> int:
    """0 when the file can be served, 2 with one line for each problem."""
    parser = argparse.ArgumentParser(prog="python -m serving.check", description=__doc__)
    parser.add_argument("models", type=Path, help="the models file")
    parser.add_argument(
        "--cost-ratio", type=float, default=1.0, help="how many times longer the GPU takes than the reference engine"
    )
    parser.add_argument("--only", nargs="*", metavar="MODEL", help="load these models; all, where not given")
    parser.add_argument("--offline", action="store_true", help="leave out ONNX files that are not on this machine")
    options = parser.parse_args(arguments)
    try:
        load(
            options.models,
            then=trial.load_and_ask,
            cost_ratio=options.cost_ratio,
            only=options.only,
            is_offline=options.offline,
        )
    except config.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
