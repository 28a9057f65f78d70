"""Measures what batches of a model cost on this machine and writes measured/<kind>.yaml.

    python -m models.measure text_embedder

Time is the CPU time of the calling thread, which other jobs on the machine disturb far less than the wall clock; the
model runs on that thread alone. Each round visits all batch shapes in a new order, so that a slow minute of the
machine touches all of them, and the median over rounds counts. Framebuffer is what the batch adds to resident memory.
"""

import argparse
import datetime
import math
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
import yaml

from models.cost import Cost, cost_file
from models.file_type import EXAMPLES, FileType
from models.model import Datatype, InputTensor, Model
from models.text_embedder import TextEmbedder, TokenIds

ITEMS = (1, 2, 4, 8, 16, 32)
TOKENS = (8, 16, 32, 64, 128, 256)
ROUNDS = 9
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A batch of `items`, each of `tokens` tokens (0 where the model knows no tokens)."""

    items: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A loaded model, how to make a real batch of a shape for it, and which shapes to try."""

    model: Model[Any, Any]
    weights_file: Path
    batch_of: Callable[[Shape], Sequence[Any]]
    shapes: tuple[Shape, ...]


def fit_cost(medians_us: Mapping[Shape, float], *, weights_mib: int, activation_mib_per_item: int) -> Cost:
    """Least squares on relative error, so that small batches count as much as large ones; no term below 0.

    A term that comes out negative is dropped and the others are fitted again.
    """
    names = ["base_us", "per_item_us", "per_token_us", "per_token_pair_us"]
    measured = np.array(list(medians_us.values()))
    terms = np.array([[1, s.items, s.items * s.tokens, s.items * s.tokens**2] for s in medians_us], dtype=float)
    kept = [column for column in range(len(names)) if terms[:, column].any()]
    while True:
        solution, *_ = np.linalg.lstsq(terms[:, kept] / measured[:, None], np.ones(len(measured)), rcond=None)
        if solution.min() >= 0:
            break
        del kept[int(solution.argmin())]
    fitted = dict.fromkeys(names, 0.0) | {names[column]: float(x) for column, x in zip(kept, solution, strict=True)}
    return Cost(**fitted, weights_mib=weights_mib, activation_mib_per_item=activation_mib_per_item)


def error_ratios(cost: Cost, medians_us: Mapping[Shape, float]) -> list[float]:
    """How far the fitted cost is from each measured one, as a part of the measured one."""
    return [
        abs(cost.engine_ns(items=shape.items, tokens=shape.tokens) / 1000 - median) / median
        for shape, median in medians_us.items()
    ]


def measure_times(subject: Subject, rounds: int) -> dict[Shape, float]:
    """Median thread-CPU time of each shape, in microseconds."""
    order = random.Random(0)
    seen: dict[Shape, list[float]] = {shape: [] for shape in subject.shapes}
    for done in range(rounds):
        for shape in order.sample(subject.shapes, len(subject.shapes)):
            batch = subject.batch_of(shape)
            start_s = time.thread_time()
            subject.model.predict(batch)
            seen[shape].append(1e6 * (time.thread_time() - start_s))
        sys.stderr.write(f"round {done + 1} of {rounds}\n")
    return {shape: statistics.median(times) for shape, times in seen.items()}


def measure_activation_mib_per_item(subject: Subject) -> int:
    """Growth of this process's peak memory over the largest batch, by item, rounded up."""
    largest = subject.shapes[-1]
    batch = subject.batch_of(largest)
    Path("/proc/self/clear_refs").write_text("5")  # peak := current, see proc(5)
    before_kib = _status_kib("VmRSS")
    subject.model.predict(batch)
    return max(1, math.ceil((_status_kib("VmHWM") - before_kib) / 1024 / largest.items))


def text_embedder() -> Subject:
    model = TextEmbedder()
    model.load()
    text = " ".join(
        "The new movie is awesome, and the cat sits outside while a man is playing guitar." for _ in range(20)
    )
    tensor = InputTensor(datatype=Datatype.BYTES, shape=(1,), data=(text,))
    (longest,) = model.items_from_tensors({"text": tensor})

    def batch_of(shape: Shape) -> list[TokenIds]:
        return [longest[: shape.tokens - 1] + longest[-1:]] * shape.items

    shapes = tuple(Shape(items=items, tokens=tokens) for items in ITEMS for tokens in TOKENS)
    return Subject(model=model, weights_file=model.weights_file, batch_of=batch_of, shapes=shapes)


def file_type() -> Subject:
    model = FileType()
    model.load()
    contents = (*EXAMPLES, Path(__file__).read_bytes())

    def batch_of(shape: Shape) -> list[bytes]:
        return [contents[row % len(contents)] for row in range(shape.items)]

    shapes = tuple(Shape(items=items, tokens=0) for items in ITEMS)
    return Subject(model=model, weights_file=model.weights_file, batch_of=batch_of, shapes=shapes)


SUBJECTS: Mapping[str, Callable[[], Subject]] = MappingProxyType(
    {"text_embedder": text_embedder, "file_type": file_type}
)


def measure(kind: str, rounds: int) -> dict[str, object]:
    """Measure one kind of model and return what its file holds."""
    subject = SUBJECTS[kind]()
    subject.model.warm_up()
    weights_mib = math.ceil(subject.weights_file.stat().st_size / MIB)
    # Before the times: the arena keeps what the first large batch took, and a second one would seem to need nothing.
    activation_mib_per_item = measure_activation_mib_per_item(subject)
    medians_us = measure_times(subject, rounds)
    fitted = fit_cost(medians_us, weights_mib=weights_mib, activation_mib_per_item=activation_mib_per_item)
    cost = Cost(**{name: round(value, 4) for name, value in asdict(fitted).items()})
    errors = error_ratios(cost, medians_us)
    return {
        "cost": asdict(cost),
        "fit": {
            "median_error_ratio": round(statistics.median(errors), 4),
            "worst_error_ratio": round(max(errors), 4),
        },
        "provenance": {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "cpu": _cpu_name(),
            "python": platform.python_version(),
            "onnxruntime": str(onnxruntime.__version__),
            "command": f"python -m models.measure {kind} --rounds {rounds}",
            "method": "median thread-CPU time of predict() by batch shape, relative least squares, no negative terms",
        },
        "measured": [
            {"items": shape.items, "tokens": shape.tokens, "median_us": round(median_us)}
            for shape, median_us in medians_us.items()
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("kind", choices=sorted(SUBJECTS))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="visits to each batch shape (default %(default)s)")
    arguments = parser.parse_args()
    target = cost_file(arguments.kind)
    report = measure(arguments.kind, arguments.rounds)
    target.parent.mkdir(exist_ok=True)
    target.write_text(yaml.safe_dump(report, sort_keys=False, default_flow_style=None, width=120))
    sys.stderr.write(f"wrote {target}\n")


def _status_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
