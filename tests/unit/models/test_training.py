"""The training: it learns, its gradients are right, and an interrupted run comes to the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import training
from models.training import CheckpointUnusable, Options, Training

TEXT = training.TEXT.read_text(encoding="utf-8")


def losses(run: Training, count: int) -> list[float]:
    return [run.advance() for _ in range(count)]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_loss_falls_far_below_that_of_guessing() -> None:
    found = losses(Training.begin(TEXT, seed=1), 300)
    guessing = float(np.log(len(training.alphabet(TEXT))))
    assert found[0] == pytest.approx(guessing, rel=0.05)
    assert sum(found[-20:]) / 20 < 0.5 * guessing


def test_a_run_is_decided_by_its_seed() -> None:
    first, again, other = (losses(Training.begin(TEXT, seed=seed), 3) for seed in (1, 1, 2))
    assert first == again != other


def test_an_interrupted_run_comes_to_the_same_losses_and_numbers(tmp_path: Path) -> None:
    whole = Training.begin(TEXT, seed=3)
    expected = losses(whole, 40)
    parts, checkpoint = [], tmp_path / "run.npz"
    for count in (1, 16, 23):
        run = training.resume(checkpoint, TEXT, seed=3)
        parts += losses(run, count)
        run.save(checkpoint)
    assert parts == expected
    last = training.resume(checkpoint, TEXT, seed=3)
    assert last.step == whole.step == 40
    for part in training.PARTS:
        for name, array in getattr(whole, part).items():
            np.testing.assert_array_equal(getattr(last, part)[name], array)


def test_the_gradients_are_those_of_finite_differences() -> None:
    run = Training.begin("abcabcbacbabcaabccba" * 4, seed=5)
    numbers = {name: array.astype(np.float64) for name, array in run.numbers.items()}
    inputs, targets = training.batch(run.text, seed=5, step=0)
    _, gradients = training.loss_and_gradients(numbers, inputs, targets)  # type: ignore[arg-type]  # finer than it runs
    rng, by = np.random.default_rng(0), 1e-5
    for name, array in numbers.items():
        for _ in range(3):
            at = tuple(int(rng.integers(size)) for size in array.shape)
            around = []
            for moved in (by, -by):
                shifted = {**numbers, name: array.copy()}
                shifted[name][at] += moved
                around.append(training.loss_and_gradients(shifted, inputs, targets)[0])  # type: ignore[arg-type]  # likewise
            slope = (around[0] - around[1]) / (2 * by)
            assert gradients[name][at] == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_every_step_asks_for_its_engine_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spent: list[int] = []
    options = Options(checkpoint=tmp_path / "c.npz", steps=12)
    assert training.train(options, TEXT, spend=spent.append, is_stopped=lambda: False) == 0
    assert spent == [training.STEP_NS] * 12
    said = lines(capsys.readouterr().out)
    assert [(line["event"], line["step"]) for line in said] == [("begun", 0), ("step", 10), ("done", 12)]


def test_a_run_that_is_over_does_nothing_more(tmp_path: Path) -> None:
    options = Options(checkpoint=tmp_path / "c.npz", steps=2)
    spent: list[int] = []
    for _ in range(2):
        assert training.train(options, TEXT, spend=spent.append, is_stopped=lambda: False) == 0
    assert len(spent) == 2


def test_it_is_kept_now_and_then_and_when_it_is_stopped(tmp_path: Path) -> None:
    kept: list[int] = []
    checkpoint = tmp_path / "c.npz"

    def look(_: int) -> None:
        kept.append(training.resume(checkpoint, TEXT, seed=1).step)

    options = Options(checkpoint=checkpoint, steps=100, checkpoint_every=3)
    assert training.train(options, TEXT, spend=look, is_stopped=lambda: len(kept) >= 8) == 143
    assert kept == [0, 0, 0, 3, 3, 3, 6, 6]
    assert training.resume(checkpoint, TEXT, seed=1).step == 8


def test_a_checkpoint_is_whole_whenever_its_writing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, run = tmp_path / "c.npz", Training.begin(TEXT, seed=1)
    run.save(checkpoint)
    run.advance()

    def cut_off(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", cut_off)
    with pytest.raises(OSError, match="no space left"):
        run.save(checkpoint)
    assert training.resume(checkpoint, TEXT, seed=1).step == 0


def test_a_checkpoint_of_another_run_or_none_at_all_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.npz"
    Training.begin(TEXT, seed=1).save(checkpoint)
    with pytest.raises(CheckpointUnusable, match=r"of a run with seed 1 .* this one has seed 2 .* name another file"):
        training.resume(checkpoint, TEXT, seed=2)
    with pytest.raises(CheckpointUnusable, match="name another file"):
        training.resume(checkpoint, TEXT + "more", seed=1)
    for content in (b"", b"PK\x03\x04broken", b"something else"):
        checkpoint.write_bytes(content)
        with pytest.raises(CheckpointUnusable, match=r"is no checkpoint: .*; remove it to begin anew"):
            training.resume(checkpoint, TEXT, seed=1)


def test_as_a_process_it_stops_on_sigterm_and_goes_on_from_there(tmp_path: Path) -> None:
    checkpoint = tmp_path / "deep" / "c.npz"
    command = [sys.executable, "-m", "models.training", "--checkpoint", str(checkpoint), "--seed", "4", "--steps"]
    process = subprocess.Popen([*command, "1000000"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    began = [process.stdout.readline(), process.stdout.readline()]  # the handler is there before the first line
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    stopped = lines("".join([*began, rest]))[-1]
    assert (stopped["event"], stopped["checkpoint"]) == ("stopped", str(checkpoint))
    steps = stopped["step"] + 10
    answer = subprocess.run([*command, str(steps)], capture_output=True, text=True, timeout=60, check=True)
    said = lines(answer.stdout)
    assert (said[0], said[-1]["event"]) == ({"event": "begun", "step": stopped["step"], "steps": steps}, "done")
    whole = losses(Training.begin(TEXT, seed=4), steps)
    heard = {line["step"]: line["loss"] for line in said if line["event"] == "step"}
    assert heard
    assert heard == {step: round(whole[step - 1], 4) for step in heard}


def test_a_checkpoint_that_cannot_be_used_ends_the_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = tmp_path / "c.npz"
    checkpoint.write_text("mine")
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert training.main(["--checkpoint", str(checkpoint), "--steps", "1"]) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "remove it to begin anew" in capsys.readouterr().err
    assert checkpoint.read_text() == "mine"


def test_a_count_is_one_or_more(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        training.main(["--checkpoint", "x", "--steps", "0"])
    assert "'0' is not a count; give 1 or more" in capsys.readouterr().err


def test_a_step_is_quick_enough_for_an_emulated_engine() -> None:
    """The real computing must fit into what the emulated engine is asked for, or the machine's core decides."""
    run = Training.begin(TEXT, seed=1)
    losses(run, 3)
    began_s = time.process_time()
    losses(run, 20)
    assert (time.process_time() - began_s) / 20 < training.STEP_NS / 1e9
