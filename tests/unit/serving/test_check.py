"""What is refused before anything starts: the models file, and the models it names."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models import catalog, synthetic
from models.model import ModelFileMissing
from serving import __main__ as deployment
from serving import check
from tests.unit.models import networks

Main = Callable[[list[str] | None], int]
GOOD = "models: {echo: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 200}}\n"
BAD = """\
models:
  one: {source: oracle, slot: v100-8q-8GB, objective_p95_ms: 200}
  two: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 200, parameters: {colour: red}}
  three: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 200, parameters: {base_us: -1}}
  four: {source: text_embedder, slot: v100-8q-8GB, objective_p95_ms: 200, parameters: {largest_batch: many}}
  five: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 200}
"""


def models_file(folder: Path, text: str) -> Path:
    file = folder / "models.yaml"
    file.write_text(text)
    return file


def test_a_file_that_can_be_served_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(models_file(tmp_path, GOOD))]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("main", [check.main, deployment.main], ids=["check", "deploy"])
def test_every_model_that_cannot_be_made_is_named_with_the_file(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = models_file(tmp_path, BAD)
    more = [] if main is check.main else ["--ray-address", "127.0.0.1:1"]
    assert main([str(file), *more]) == 2
    *problems, last = capsys.readouterr().err.splitlines()
    assert problems == [
        f"{file}: models.one: source is 'oracle'; built in are file_type, synthetic, text_embedder, and "
        f"python:package.module:ClassName and onnx:PATH_OR_URL name models of yours",
        f"{file}: models.two: synthetic has no parameter colour; it takes base_us, per_item_us, framebuffer_mib",
        f"{file}: models.three: base_us is -1; a cost is a number, 0 or more",
    ]
    assert last.startswith(f"{file}: models.four: ")


class Absent(synthetic.Synthetic):
    """A model whose weights are not installed."""

    def load(self) -> None:
        raise ModelFileMissing("weights missing in /nowhere", remedy="install them with: pip install weights")


def test_a_missing_model_file_is_named_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "FACTORIES", {"absent": Absent})
    file = models_file(tmp_path, GOOD.replace("synthetic", "absent"))
    assert check.main([str(file)]) == 2
    expected = "weights missing in /nowhere; install them with: pip install weights"
    assert capsys.readouterr().err == f"{file}: models.echo: {expected}\n"


def test_a_config_that_cannot_be_used_is_refused_before_its_models_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main([str(models_file(tmp_path, BAD + "colour: red\n"))]) == 2
    assert (
        capsys.readouterr().err == f"{tmp_path}/models.yaml: colour: unknown key; remove it or correct its spelling\n"
    )


@pytest.mark.parametrize("main", [check.main, deployment.main], ids=["check", "deploy"])
def test_without_a_file_its_usage_is_told(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "the following arguments are required" in capsys.readouterr().err


def test_it_runs_as_a_program_and_imports_no_ray(tmp_path: Path) -> None:
    code = (
        "import sys; from serving.check import main; status = main(); assert 'ray' not in sys.modules; sys.exit(status)"
    )
    command = [sys.executable, "-c", code, str(models_file(tmp_path, "models: [1]"))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (2, f"{tmp_path}/models.yaml: models: expected a mapping\n")


def test_an_objective_that_a_lone_request_misses_is_refused_with_the_measured_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "models: {echo: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 200, "
        "parameters: {base_us: 30000, per_item_us: 0}}}\n"
    )
    file = models_file(tmp_path, text)
    assert check.main([str(file), "--cost-ratio", "5"]) == 0
    assert check.main([str(file), "--cost-ratio", "7"]) == 2
    assert capsys.readouterr().err == (
        f"{file}: models.echo.objective_p95_ms: 200 ms cannot be kept, for a lone request takes 210.0 ms on an idle "
        f"slot (cost of synthetic); give 315 ms or more, or a faster slot type\n"
    )


def test_only_the_models_named_are_loaded_and_the_others_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "FACTORIES", {"absent": Absent, "synthetic": synthetic.Synthetic})
    lost = "lost: {source: absent, slot: v100-8q-8GB, objective_p95_ms: 1}"
    file = models_file(tmp_path, GOOD.replace("}}", "}, " + lost + "}"))
    assert check.main([str(file), "--only"]) == 0
    assert check.main([str(file), "--only", "echo"]) == 0
    assert check.main([str(file), "--only", "lost"]) == 2
    assert capsys.readouterr().err.startswith(f"{file}: models.lost: weights missing")
    file.write_text(file.read_text().replace("absent", "unheard_of"))
    assert check.main([str(file), "--only"]) == 2


SHARED = "slot: v100-8q-8GB, objective_p95_ms: 200"
DIGEST = "0" * 64


def test_models_of_every_source_are_loaded_and_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prices.py").write_text(
        "from models.synthetic import Synthetic\n"
        "class Right(Synthetic): ...\n"
        "class Wrong(Synthetic):\n"
        "    def predict(self, batch): raise RuntimeError('no licence')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    network = networks.doubling(tmp_path / "m.onnx")
    text = f"""
models:
  right: {{source: "python:prices:Right", {SHARED}}}
  wrong: {{source: "python:prices:Wrong", {SHARED}}}
  absent: {{source: "python:prices:Absent", {SHARED}}}
  network: {{source: "onnx:{network}", {SHARED}}}
  changed: {{source: "onnx:{network}", {SHARED}, parameters: {{sha256: "{DIGEST}"}}}}
  lost: {{source: "onnx:{tmp_path}/n.onnx", {SHARED}}}
  unsigned: {{source: "onnx:https://user:word@host/m.onnx?sig=1", {SHARED}}}
"""
    file = models_file(tmp_path, text)
    assert check.main([str(file)]) == 2
    wrong, absent, changed, lost, unsigned = capsys.readouterr().err.splitlines()
    assert wrong == f"{file}: models.wrong: predict(): RuntimeError: no licence (prices.py:4)"
    assert absent.startswith(f"{file}: models.absent: python:prices:Absent: prices has no Absent; its classes are ")
    assert changed.startswith(f"{file}: models.changed: {network} has the SHA-256 ")
    assert lost.startswith(f"{file}: models.lost: {tmp_path}/n.onnx is no file here; ")
    said = "parameters.sha256 is missing; a file behind a URL needs it (sha256sum says it)"
    assert unsigned == f"{file}: models.unsigned: {said}"


def test_offline_a_file_that_is_not_here_is_checked_by_its_words_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here.onnx").write_bytes(b"no network")
    text = f"""
models:
  remote: {{source: "onnx:https://127.0.0.1:1/m.onnx", {SHARED}, parameters: {{sha256: "{DIGEST}"}}}}
  mounted: {{source: "onnx:/of/workers/m.onnx", {SHARED}}}
  unsigned: {{source: "onnx:https://127.0.0.1:1/m.onnx", {SHARED}}}
  here: {{source: "onnx:{tmp_path}/here.onnx", {SHARED}}}
"""
    file = models_file(tmp_path, text)
    assert check.main([str(file), "--offline"]) == 2
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == ["models.unsigned", "models.here"]
    assert check.main([str(file)]) == 2
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "models.remote", "models.mounted", "models.unsigned", "models.here",
    ]  # fmt: skip
