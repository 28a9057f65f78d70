"""`vgpu-serve pack`: data on standard output and nothing else there, the rest on standard error, clear refusals."""

import json
from pathlib import Path

import pytest
import yaml

from tests.unit.autoscaler.test_cli import run
from tests.unit.study import miniature
from vgpu.core.fractions.policies import DEFAULT_POLICY, POLICIES


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with the two lists, on a terminal of 160 columns without colours."""
    miniature.write_nodes(tmp_path / "nodes.csv")
    miniature.write_pods(tmp_path / "pods.csv.gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")


SHORT = ("pack", "--nodes", "nodes.csv", "--pods", "pods.csv.gz", "--jobs", "1")


def test_by_default_every_policy_runs_under_both_rules_for_ties(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*SHORT, "--seeds", "7", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    heading, *lines = said.out.splitlines()
    assert heading.split() == ["POLICY", "TIES", "PLACED", "PUBLISHED", "DIFF", "GAP", "FRAGMENTED", "RUN"]
    assert all(len(line.rstrip()) <= 80 for line in lines[: 2 * len(POLICIES)])  # and none is cut off at that width
    assert [line.split()[0] for line in lines[: 2 * len(POLICIES)]] == [name for name in POLICIES for _ in range(2)]
    assert lines[2 * len(POLICIES)].startswith("› pods: 120 pods in the list, 24 nodes with 64 GPUs; 1 seed")
    assert said.err == ""


@pytest.mark.parametrize("how", [("--json",), ("-o", "json"), ("--json", "--tie-break", "both")])
def test_json_on_standard_output_is_all_there_is(
    how: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ("--policy", "fgd", "--policy", DEFAULT_POLICY, "--seeds", "42,43")
    assert run(*SHORT, *chosen, *how, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    document = json.loads(said.out, parse_constant=pytest.fail)
    assert list(document) == ["rows"]
    assert [(row["policy"], row["is_default"], row["tie_break"], row["seed"]) for row in document["rows"]] == [
        (policy, policy == DEFAULT_POLICY, tie, seed)
        for policy in ("fgd", DEFAULT_POLICY)
        for tie in ("fixed", "random")
        for seed in (42, 43)
    ]
    for row in document["rows"]:
        assert list(row)[4:] == ["allocated_ratio_at_100", "fragmentation_ratio_at_100", "seconds"]
        assert 0.5 < row["allocated_ratio_at_100"] <= 1
        assert 0 <= row["fragmentation_ratio_at_100"] < 0.5
        assert row["seconds"] >= 0
    assert said.err == ""


def test_yaml_and_a_picture(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("--policy", "best-fit", "--policy", DEFAULT_POLICY, "--seeds", "1,2", "--tie-break", "fixed")
    assert run(*SHORT, *few, "-o", "yaml", "--picture", "all.png", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert [row["policy"] for row in yaml.safe_load(said.out)["rows"]] == ["best-fit"] * 2 + [DEFAULT_POLICY] * 2
    assert said.err == "picture: all.png\n"
    assert Path("all.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("--policy", "best"), "no policy best; there are random, spread, binpack,", id="policy"),
        pytest.param(("--seeds", "42,x"), "--seeds '42,x': give whole numbers from 0 to 4294967295", id="seeds"),
        pytest.param(("--seeds", ""), "--seeds '': give whole numbers", id="no seeds"),
        pytest.param(("--tie-break", "first"), "--tie-break 'first': give fixed, random or both", id="tie-break"),
        pytest.param(("--nodes", "no.csv"), "no.csv: cannot be read", id="a file that is not there"),
        pytest.param(("--pods", "nodes.csv"), "nodes.csv:1: no column name, num_gpu, gpu_milli;", id="the wrong list"),
        pytest.param(
            ("--policy", "spread", "--seeds", "1", "--picture", "no/where.png"),
            "--picture no/where.png: there is no such folder",
            id="picture",
        ),
    ],
)
def test_what_cannot_be_done_is_one_message(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*SHORT, *arguments, monkeypatch=monkeypatch) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {said}")
    assert len(told.splitlines()) == 1
