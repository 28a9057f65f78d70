"""`vgpu-serve check`: what the chart's hook runs before anything changes."""

import json
from pathlib import Path

import pytest

from tests.unit.autoscaler.test_cli import run

GOOD = """
tenants: {search: {max_slots: 4}}
models:
  minilm:
    source: text_embedder
    slot: [v100-8q-8GB, t4-4q-4GB]
    objective_p95_ms: 200
    tenant: search
    autoscaling: {min_replicas: 0, max_replicas: 4, priority: 2}
"""
BAD = """
tenants: {search: {max_slots: 1}}
models:
  a: {slot: tape, objective_p95_ms: 200}
  b: {slot: v100-8q-8GB, objective_p95_ms: 200, tenant: search, autoscaling: {max_replicas: 3}}
policy: {windows: 3}
"""
PROBLEMS = (
    "models.a.slot: 'tape' is no vGPU profile; ",
    "tenants.search.max_slots: 1, and the max_replicas of its models are 3 together (b 3); ",
    "policy.windows: unknown key; ",
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    Path("good.yaml").write_text(GOOD)
    Path("bad.yaml").write_text(BAD)


def test_a_file_that_can_be_followed_is_shown_as_it_would_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("check", "good.yaml", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert [line.split() for line in said.out.splitlines()] == [
        ["MODEL", "SOURCE", "TENANT", "POOLS", "P95", "OBJECTIVE", "REPLICAS"],
        ["minilm", "text_embedder", "search", "workers-v100-8q-8gb,", "workers-t4-4q-4gb", "200", "ms", "0", "to", "4"],
    ]
    assert said.err == ""


def test_every_problem_of_a_file_is_an_error_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("check", "bad.yaml", monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == len(PROBLEMS)
    for line, problem in zip(lines, PROBLEMS, strict=True):
        assert line.startswith(f"error: bad.yaml: {problem}")


def test_both_are_data(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("check", "good.yaml", "-o", "json", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": "good.yaml",
        "problems": [],
        "models": [
            {
                "name": "minilm",
                "source": "text_embedder",
                "tenant": "search",
                "pools": ["workers-v100-8q-8gb", "workers-t4-4q-4gb"],
                "objective_p95_ms": 200,
                "min_replicas": 0,
                "max_replicas": 4,
                "priority": 2,
            }
        ],
    }
    assert run("check", "bad.yaml", "-o", "json", monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["models"], said.err) == ([], "")
    pairs = zip(document["problems"], PROBLEMS, strict=True)
    assert all(line.startswith(f"bad.yaml: {problem}") for line, problem in pairs)


@pytest.mark.parametrize("content", ["", "[]", "models: [", "models: {}"])
def test_what_is_no_models_file_has_a_problem(
    content: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("none.yaml").write_text(content)
    assert run("check", "none.yaml", monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().err.startswith("error: none.yaml: ")


@pytest.mark.parametrize("arguments", [(), ("missing.yaml",), (".",), ("good.yaml", "-o", "xml")])
def test_it_can_be_used_wrongly(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("check", *arguments, monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().out == ""
