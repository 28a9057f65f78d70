"""`vgpu-serve simulate`: data on standard output and nothing else there, the rest on standard error, clear refusals."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler import cli
from tests.unit.autoscaler.test_cli import run

SHORT = ("simulate", "--shape", "step", "--span-s", "120", "--cards", "2", "--scale", "0.1", "--jobs", "1")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, on a terminal of 160 columns without colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")


def test_one_policy_is_run_and_its_totals_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*SHORT, "--seeds", "2", monkeypatch=monkeypatch) == 0
    heading, *rows, fleet, runs = capsys.readouterr().out.splitlines()
    assert heading.split()[:4] == ["POLICY", "SEED", "ATTAINED", "VIOLATED"]
    assert [row.split()[:2] for row in rows] == [["ours", "1"], ["ours", "2"], ["ours", "mean"]]
    assert fleet == (
        "› step at scale 0.1 on 6 slots of 2 cards (best-effort, 2 foreign tenants): modelled, not measured"
    )
    assert runs == "› 2 runs over 2 seeds; counted from 12 s to 120 s"


@pytest.mark.parametrize("how", [("--json",), ("--json", "-"), ("-o", "json"), ("--json", "--seeds", "1")])
def test_json_on_standard_output_is_all_there_is(
    how: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*SHORT, "--seeds", "1", *how, monkeypatch=monkeypatch) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document["trace"] == "step"
    (row,) = document["rows"]
    assert (row["policy"], row["is_default"], row["seed"]) == ("ours", True, 1)
    assert 0 <= row["attainment_ratio"] <= 1
    assert row["slot_hours"] > 0


def test_a_comparison_is_a_table_a_file_and_a_picture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("--json", "all.json", "--picture", "all.png")
    compared = ("--compare", "--policy", "static", "--seeds", "1", *files)
    assert run(*SHORT, *compared, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].endswith("AT OURS  OURS / IT  95 %")
    assert [line.split()[0] for line in lines[1:3]] == ["ours", "static"]
    assert lines[3].startswith("› static: best of 12: static")
    document = json.loads(Path("all.json").read_text())
    assert [row["policy"] for row in document["rows"]] == ["ours"] + ["static"] * 12
    assert set(document["tuned"]) == {"ours", "static"}
    assert Path("all.png").read_bytes().startswith(b"\x89PNG")
    assert said.err == "picture: all.png\n"


def test_a_trace_is_read_and_its_repairs_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{second},3" for second in range(200) if second != 50]
    Path("load.csv").write_text("\n".join(["second,requests", *rows]) + "\n")
    arguments = ("--trace", "load.csv", "--to", "2m", "--scale", "0.5", "--seeds", "1", "--jobs", "1", "-o", "yaml")
    assert run("simulate", *arguments, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    document = yaml.safe_load(said.out)
    assert document["trace"] == "load"
    assert document["span"]["span_s"] == 120.0
    assert len(document["repairs"]) == 1
    assert f"repaired: {document['repairs'][0]}" in said.err


def described(*options: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    arguments = ("--shape", "ramp", "--span-s", "120", "--scale", "0.05", "--seeds", "1", "--jobs", "1", "--json")
    assert run("simulate", *options, *arguments, monkeypatch=monkeypatch) == 0
    world: dict[str, Any] = json.loads(capsys.readouterr().out)["world"]
    return world


def test_options_describe_the_fleet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--cards", "2", "--slots", "8", "--scheduler", "equal-share", "--cold-start", "20")
    model = ("--objective-ms", "500", "--service-ms", "100", "--engine-ratio", "0.5")
    assert described(*options, *model, capsys=capsys, monkeypatch=monkeypatch) == {
        "cards": 2,
        "slots_per_card": 8,
        "slots_of_ours": 14,
        "slot_label": "v100d-4q-4GB",
        "scheduler": "equal-share",
        "foreign_tenants": 2,
        "models": [
            {"name": "embedder", "objective_p95_ms": 500, "solo_ms": 100.0, "engine_ratio": 0.5, "cold_start_s": 20.0}
        ],
    }


def test_a_file_describes_the_fleet_and_options_change_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("world.yaml").write_text("cards: 3\nforeign: []\n")
    world = described("--world", "world.yaml", "--slots", "2", capsys=capsys, monkeypatch=monkeypatch)
    assert (world["cards"], world["slots_per_card"], world["foreign_tenants"]) == (3, 2, 0)
    alone = described("--world", "world.yaml", "--no-interference", capsys=capsys, monkeypatch=monkeypatch)
    assert (alone["cards"], alone["slots_per_card"], alone["slots_of_ours"]) == (12, 1, 12)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give one load: --trace FILE, or --shape with one of step, "),
        (("--trace", "a.csv", "--shape", "step"), "give one load: "),
        (("--trace", "none.csv"), "none.csv"),
        (("--shape", "wave"), "no shape 'wave'; choose one of step, "),
        (("--shape", "step", "--span-s", "100"), "step: 100 s are too short to tell; give at least 120 s"),
        (("--shape", "step", "--from", "50m", "--to", "40m"), "trace step: cannot cut from 3000 s to 2400 s; "),
        (("--shape", "step", "--scale", "much"), "--scale much: neither a number nor auto"),
        (("--shape", "step", "--scale", "0"), "trace step: scale is 0; choose one above 0"),
        (("--shape", "step", "--policy", "best"), "no policy 'best'; choose from ours, ray_serve, "),
        (("--shape", "step", "--world", "none.yaml"), "none.yaml: No such file or directory; "),
        (("--shape", "step", "--service-ms", "900"), "model embedder: no slot answers within 300 ms, "),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    arguments: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run("simulate", *arguments, "--jobs", "1", "--seeds", "1", monkeypatch=monkeypatch) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert said in told.err


def test_a_fleet_of_several_slot_types_is_for_ours_and_a_given_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"cards": 1, "slots_per_card": 4, "slot_label": "t4-4q-4GB", "engine_ratio": 1.5}
    world = tmp_path / "types.yaml"
    world.write_text(yaml.safe_dump({"cards": 1, "foreign": [], "further": [small]}))
    given = ("simulate", "--world", str(world), "--shape", "step", "--span-s", "120", "--jobs", "1", "--seeds", "1")
    assert run(*given, "--scale", "0.1", monkeypatch=monkeypatch) == 0
    assert "8 slots of 2 cards" in capsys.readouterr().out
    for more in ((), ("--scale", "0.1", "--policy", "static"), ("--scale", "0.1", "--compare")):
        assert run(*given, *more, monkeypatch=monkeypatch) == 2
        assert "a fleet of several slot types takes the policy ours alone" in capsys.readouterr().err


def test_a_result_that_cannot_be_written_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*SHORT, "--seeds", "1", "--picture", "no/where.png", monkeypatch=monkeypatch) == 2
    assert "error: the result could not be written: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--json"], ["--json", "-"]),
        (["--json", "--compare"], ["--json", "-", "--compare"]),
        (["--json", "-o", "table"], ["--json", "-", "-o", "table"]),
        (["--json", "-"], ["--json", "-"]),
        (["--json", "all.json", "--compare"], ["--json", "all.json", "--compare"]),
        (["--compare"], ["--compare"]),
        ([], []),
    ],
)
def test_json_without_a_file_is_standard_output(given: list[str], named: list[str]) -> None:
    assert cli.with_dash(given, "--json") == named


def test_the_list_of_commands_imports_no_arithmetic() -> None:
    code = "import sys, autoscaler.cli\nsys.exit(','.join({'numba', 'numpy', 'matplotlib'} & set(sys.modules)) or 0)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
