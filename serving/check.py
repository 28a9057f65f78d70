"""`python -m serving.check MODELS.yaml`: everything that can be refused before anything is started.

Loads each model once, on the CPU: a missing or damaged model file is found here, and what is built once per machine
(an embedder's graph) is built before several replicas want it at the same time.
"""

import sys
from pathlib import Path

from models import catalog
from models.model import ModelFileError
from serving import config


def problems(path: Path) -> tuple[str, ...]:
    """What is wrong with a models file and with the models it names; nothing when it can be served."""
    try:
        loaded = config.load(path)
    except config.ConfigError as error:
        return tuple(str(error).splitlines())
    found = []
    for model in loaded.models:
        try:
            catalog.create(model.kind, **model.parameters).load()
        except (ValueError, TypeError, ModelFileError) as error:
            found.append(f"{path}: models.{model.name}: {error}")
    return tuple(found)


def main(arguments: list[str]) -> int:
    """0 when the file can be served, 2 with one line for each problem."""
    found = problems(Path(arguments[0]))
    sys.stderr.write("".join(f"{problem}\n" for problem in found))
    return 2 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
