"""`vgpu-serve replay`: the ticks that come out differently, as a table or as data."""

import json
from pathlib import Path

import pytest
import yaml

from autoscaler.adapters.journal import Journal
from tests.unit.autoscaler.test_cli import run
from tests.unit.autoscaler.whole import BUSY, CALM, quick_spec, whole

SPEC = quick_spec()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Half a minute of overload and half a minute of calm, on a terminal without colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    told = whole(load=BUSY, spec=SPEC)
    told.run(30)
    told.metrics.load = CALM
    told.run(30)
    path = tmp_path / "journal.jsonl"
    written = Journal(path)
    for tick in told.recorder.ticks:
        written.record(tick)
    written.close()
    return path


def test_the_same_settings_say_that_nothing_differs(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("replay", str(journal), monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert said.out == "› 60 decisions in 60 ticks: 0 counts differ, 0 keep their count for another reason\n"


def test_differences_are_told_with_both_sentences(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("replay", str(journal), "--set", "models.minilm.max_replicas=1", monkeypatch=monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["TIME", "TICK", "MODEL", "BEFORE", "AFTER", "REASON", "SENTENCE"]
    assert any("bounds made it 1 (1 to 1)" in line for line in lines)
    assert lines[-1].startswith("› 60 decisions in 60 ticks: ")


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_all_of_it_is_data(
    form: str, read: object, journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("replay", str(journal), "--set", "models.minilm.max_replicas=1", "-o", form)
    assert run(*arguments, monkeypatch=monkeypatch) == 0
    assert callable(read)
    document = read(capsys.readouterr().out)
    assert document["changes"] == {"models.minilm.max_replicas": "1"}
    assert (document["ticks"], document["decisions"], document["unexplained"]) == (60, 60, 0)
    first = document["differences"][0]
    assert first["model"] == "minilm"
    assert first["count_before"] > first["count_after"] == 1
    assert document["counts_changed"] == sum(
        entry["count_before"] != entry["count_after"] for entry in document["differences"]
    )


def test_a_models_file_may_say_how_to_decide(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("models.yaml").write_text("models: {minilm: {slot: v100-8q-8GB, objective_p95_ms: 200}}")
    assert run("replay", str(journal), "--models", "models.yaml", "-o", "json", monkeypatch=monkeypatch) == 0
    document = json.loads(capsys.readouterr().out)
    assert {entry["count_after"] for entry in document["differences"]} == {1}


def test_a_bad_line_is_refused_with_its_place(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.write_text("nonsense\n" + journal.read_text())
    assert run("replay", str(journal), monkeypatch=monkeypatch) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {journal}:1: not JSON: ")


def test_every_bad_change_is_refused(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ("--set", "policy.window=20", "--set", "guardrails.settle_up_s=soon")
    assert run("replay", str(journal), *changes, monkeypatch=monkeypatch) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": unknown")[0].partition(": 'soon'")[0] for line in lines] == [
        "error: --set policy.window=20",
        "error: --set guardrails.settle_up_s=soon",
    ]
