"""A small training that is real: a recurrent network learns to continue a text, character by character, in numpy.

    python -m models.training --checkpoint FILE --steps N [--seed S] [--checkpoint-every N]

It prints a JSON line now and then, keeps a checkpoint, and goes on from the one it finds; SIGTERM makes it write one
and end. A run is decided by its seed: interrupted or not, it comes to the same numbers. Exit status 0 at the end, 143
after SIGTERM, 2 for a checkpoint that cannot be used.

An Elman network (J. L. Elman, "Finding Structure in Time", 1990) by backpropagation through time, with Adam (D. P.
Kingma and J. Ba, 2015, algorithm 1).
"""

import argparse
import json
import os
import signal
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Numbers = dict[str, Array]

TEXT = Path(__file__).with_name("training_text.txt")
HIDDEN, ROWS, LENGTH = 64, 16, 32
LEARNING_RATE, DECAY_1, DECAY_2, EPSILON, LARGEST_NORM = 3e-3, 0.9, 0.999, 1e-8, 5.0
SAY_EVERY = 10

STEP_NS = 15_000_000
"""Engine time of one step on the reference engine, as `Model.engine_cost_ns` counts it; set, not measured."""
FRAMEBUFFER_MIB = 6144
"""What it is said to need of a card: more than a small slot has, as trainings do."""

DONE, UNUSABLE, STOPPED = 0, 2, 128 + signal.SIGTERM


class CheckpointUnusable(ValueError):
    """A checkpoint of another run, or none at all; the message has the remedy."""


@dataclass(slots=True)
class Training:
    """A run: its numbers, Adam's averages of their gradients, and how many steps it has made."""

    text: str
    seed: int
    step: int
    numbers: Numbers
    first: Numbers
    second: Numbers

    @classmethod
    def begin(cls, text: str, *, seed: int) -> "Training":
        """A new run."""
        rng, letters = np.random.default_rng(seed), len(alphabet(text))
        shapes = {"into": (letters, HIDDEN), "again": (HIDDEN, HIDDEN), "out": (HIDDEN, letters)}
        numbers = {name: (rng.standard_normal(shape) * 0.1).astype(np.float32) for name, shape in shapes.items()}
        numbers |= {"hidden_bias": np.zeros(HIDDEN, np.float32), "out_bias": np.zeros(letters, np.float32)}
        zeros = {name: np.zeros_like(array) for name, array in numbers.items()}
        return cls(text, seed, 0, numbers, zeros, {name: array.copy() for name, array in zeros.items()})

    def advance(self) -> float:
        """Make one step; the mean loss in nats a character before it."""
        inputs, targets = batch(self.text, seed=self.seed, step=self.step)
        loss, gradients = loss_and_gradients(self.numbers, inputs, targets)
        self.step += 1
        norm = float(np.sqrt(sum(float(np.sum(gradient * gradient)) for gradient in gradients.values())))
        scale = min(1.0, LARGEST_NORM / max(norm, EPSILON))
        for name, gradient in gradients.items():
            clipped = gradient * np.float32(scale)
            self.first[name] = DECAY_1 * self.first[name] + (1 - DECAY_1) * clipped
            self.second[name] = DECAY_2 * self.second[name] + (1 - DECAY_2) * clipped * clipped
            mean, square = self.first[name] / (1 - DECAY_1**self.step), self.second[name] / (1 - DECAY_2**self.step)
            self.numbers[name] = self.numbers[name] - LEARNING_RATE * mean / (np.sqrt(square) + EPSILON)
        return loss

    def save(self, path: Path) -> None:
        """Write a checkpoint; whenever this is cut off, the file there is whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        about: dict[str, Any] = {"step": self.step, "seed": self.seed, "text": digest(self.text)}
        kept = {f"{part}.{name}": array for part in PARTS for name, array in getattr(self, part).items()}
        draft = path.with_name(f".{path.name}.draft")
        with draft.open("wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), **kept)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


PARTS = ("numbers", "first", "second")


def resume(path: Path, text: str, *, seed: int) -> Training:
    """Go on from a checkpoint, or begin where there is none. Raises `CheckpointUnusable`."""
    training = Training.begin(text, seed=seed)
    if not path.exists():
        return training
    try:
        with np.load(path, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            for part in PARTS:
                setattr(training, part, {name: kept[f"{part}.{name}"] for name in training.numbers})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointUnusable(f"{path} is no checkpoint: {error}; remove it to begin anew") from error
    if (about["seed"], about["text"]) != (seed, digest(text)):
        raise CheckpointUnusable(
            f"{path} is of a run with seed {about['seed']} on text {about['text']}, and this one has seed {seed} "
            f"and text {digest(text)}; name another file"
        )
    training.step = int(about["step"])
    return training


def alphabet(text: str) -> str:
    """Every character of a text once, in order."""
    return "".join(sorted(set(text)))


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def batch(text: str, *, seed: int, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The characters of one step and those that follow each, as (ROWS, LENGTH) places in the alphabet."""
    letters = alphabet(text)
    # Drawn anew from seed and step, so that a checkpoint need not hold the state of a generator.
    starts = np.random.default_rng((seed, step)).integers(0, len(text) - LENGTH, size=ROWS)
    rows = [[letters.index(letter) for letter in text[start : start + LENGTH + 1]] for start in starts]
    whole = np.array(rows, dtype=np.int64)
    return whole[:, :-1], whole[:, 1:]


def loss_and_gradients(
    numbers: Numbers, inputs: NDArray[np.int64], targets: NDArray[np.int64]
) -> tuple[float, Numbers]:
    """Mean cross entropy of the next character in nats, and its gradients; states begin at zero."""
    rows, length = inputs.shape
    states = np.zeros((length + 1, rows, HIDDEN), numbers["again"].dtype)
    for at in range(length):
        driven = numbers["into"][inputs[:, at]] + states[at] @ numbers["again"] + numbers["hidden_bias"]
        states[at + 1] = np.tanh(driven)
    # (length, rows, letters)
    scores = states[1:] @ numbers["out"] + numbers["out_bias"]
    scores -= scores.max(axis=-1, keepdims=True)
    chances = np.exp(scores)
    chances /= chances.sum(axis=-1, keepdims=True)
    true = (np.arange(length)[:, None], np.arange(rows)[None, :], targets.T)
    loss = float(-np.log(chances[true] + 1e-12).mean())
    error = chances
    error[true] -= 1
    error /= rows * length
    return loss, _backwards(numbers, inputs, states, error)


def _backwards(numbers: Numbers, inputs: NDArray[np.int64], states: Array, error: Array) -> Numbers:
    """Gradients from the error of the scores, (length, rows, letters), back through time."""
    gradients = {name: np.zeros_like(array) for name, array in numbers.items()}
    gradients["out"] = np.einsum("trh,trl->hl", states[1:], error)
    gradients["out_bias"] = error.sum(axis=(0, 1))
    later = np.zeros_like(states[0])
    for at in reversed(range(inputs.shape[1])):
        driven = (error[at] @ numbers["out"].T + later) * (1 - states[at + 1] ** 2)
        np.add.at(gradients["into"], inputs[:, at], driven)
        gradients["again"] += states[at].T @ driven
        gradients["hidden_bias"] += driven.sum(axis=0)
        later = driven @ numbers["again"].T
    return gradients


@dataclass(frozen=True, kw_only=True)
class Options:
    """How long, from which seed, and where the checkpoint lies."""

    checkpoint: Path
    steps: int
    seed: int = 1
    checkpoint_every: int = 100


def train(options: Options, text: str, *, spend: Callable[[int], None], is_stopped: Callable[[], bool]) -> int:
    """Train to the end or until stopped; the exit status. `spend` is asked for each step's engine time.

    Raises `CheckpointUnusable`.
    """
    training = resume(options.checkpoint, text, seed=options.seed)
    _say(event="begun", step=training.step, steps=options.steps)
    while training.step < options.steps and not is_stopped():
        loss = training.advance()
        spend(STEP_NS)
        if training.step % SAY_EVERY == 0:
            _say(event="step", step=training.step, loss=round(loss, 4))
        if training.step % options.checkpoint_every == 0:
            training.save(options.checkpoint)
    training.save(options.checkpoint)
    has_ended = training.step >= options.steps
    _say(event="done" if has_ended else "stopped", step=training.step, checkpoint=str(options.checkpoint))
    return DONE if has_ended else STOPPED


def main(arguments: Sequence[str] | None = None, *, spend: Callable[[int], None] = lambda _: None) -> int:
    """Run the command line; without `spend` a step takes what its computing takes."""
    parser = argparse.ArgumentParser(prog="python -m models.training", description="Trains a small language model.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="written now and then, and gone on from")
    parser.add_argument("--steps", type=_count, required=True, help="how many in all, those of earlier runs included")
    parser.add_argument("--seed", type=_count, default=Options.seed)
    parser.add_argument("--checkpoint-every", type=_count, default=Options.checkpoint_every, help="steps")
    options = Options(**vars(parser.parse_args(arguments)))
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stops.append(number))
    try:
        return train(options, TEXT.read_text(encoding="utf-8"), spend=spend, is_stopped=lambda: bool(stops))
    except CheckpointUnusable as problem:
        sys.stderr.write(f"{problem}\n")
        return UNUSABLE


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count; give 1 or more")
    return int(text)


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
