"""The command line: what is refused and how, what goes where, and how long it takes to say so."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler import cli
from autoscaler.adapters.telemetry import Telemetry
from autoscaler.cli import running
from autoscaler.cli.demo import STEPS
from autoscaler.embedded import installation
from autoscaler.load.schedule import parse_steps
from tests.fakes import web as webs
from tests.fakes.web import Answer, Web, as_json
from tests.unit.autoscaler.ticks import golden, tick


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, on a terminal of 100 columns without colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status of `vgpu-serve ARGUMENTS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["vgpu-serve", *arguments])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Web]:
    """What a running `up` looks like from outside: its addresses, and an autoscaler that answers there."""
    telemetry = Telemetry()
    telemetry.record(tick())

    def answer(asked: webs.Asked) -> Answer:
        status, content_type, body = telemetry.answer(asked.path)
        return Answer(body, status, content_type)

    paths = ("/v1/state", "/v1/models/minilm", "/v1/models/unheard-of")
    with webs.serve({**dict.fromkeys(paths, answer), "/v2/models/minilm/infer": as_json({})}) as web:
        directory = tmp_path / ".run"
        directory.mkdir()
        (directory / "up.json").write_text(json.dumps({"pid": 1, "url": web.url, "autoscaler_url": web.url}))
        yield web


def test_every_command_is_listed_with_the_first_line_it_says_of_itself() -> None:
    for name, text in cli.COMMANDS.items():
        function = name.replace("-", "_")
        command = getattr(import_module(f"autoscaler.cli.{function}"), function)
        assert str(command.__doc__).splitlines()[0] == text


def test_the_list_of_commands_imports_none_of_them() -> None:
    """What `--help` costs is what everybody waits for: with all commands it would be two seconds."""
    heavy = ("matplotlib", "kubernetes", "httpx", "pydantic", "prometheus_client", "psutil", "uvicorn")
    code = (
        "import sys, contextlib\n"
        "from autoscaler import cli\n"
        "sys.argv = ['vgpu-serve', '--help']\n"
        "with contextlib.suppress(SystemExit): cli.main()\n"
        f"sys.exit(','.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for name in cli.COMMANDS:
        assert name in ended.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(name, "--help", monkeypatch=monkeypatch) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert cli.COMMANDS[name] in said
    assert f"vgpu-serve {name}" in said


def test_python_dash_m_is_the_same_command_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "autoscaler.cli", "status"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: nothing is up in .run; start it with `vgpu-serve up`, or name a --url\n"


def test_a_command_that_does_not_exist_is_used_wrongly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("statsu", monkeypatch=monkeypatch) == 2
    assert "Did you mean 'status'?" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("arguments", [("status",), ("explain", "minilm"), ("load", "1:1s")])
def test_without_a_running_system_the_remedy_is_said(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*arguments, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: nothing is up in .run; start it with `vgpu-serve up`, or name a --url\n"


@pytest.mark.parametrize("content", ["", "{}", '{"pid": 7}', "not json", "[]"])
def test_a_system_that_is_still_starting_is_not_up(
    content: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run" / "up.json").write_text(content)
    assert run("status", monkeypatch=monkeypatch) == 2
    assert "nothing is up in .run" in capsys.readouterr().err


def test_a_system_that_is_gone_without_a_word_is_said_to_be(
    system: Web, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("status", "--url", "http://127.0.0.1:1", monkeypatch=monkeypatch) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: http://127.0.0.1:1/v1/state: ConnectError")
    assert "is this the autoscaler's --url?" in said
    assert system.asked == []


@pytest.mark.parametrize("url", ["127.0.0.1:9106", "http://[", "ftp://127.0.0.1"])
def test_what_is_no_url_is_said_without_a_traceback(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("status", "--url", url, monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().err.startswith(f"error: {url}/v1/state: ")


@pytest.mark.usefixtures("system")
def test_status_is_two_tables_and_the_decisions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("status", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == golden("status.txt", said.out)


@pytest.mark.usefixtures("system")
def test_explain_is_the_sentence_and_its_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("explain", "minilm", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert said.out == golden("explain.txt", said.out)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("arguments", [("status",), ("explain", "minilm")])
@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_data_is_printed_whole_as_json_or_yaml(
    arguments: tuple[str, ...], form: str, read: Any, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert run(*arguments, "-o", form, monkeypatch=monkeypatch) == 0
    document = read(capsys.readouterr().out)
    assert document["tick"] == 7
    assert document["problems"] == ["Node n3: not ready", "Ray Serve: the dashboard is away"]


@pytest.mark.usefixtures("system")
def test_a_form_that_does_not_exist_is_used_wrongly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("status", "-o", "xml", monkeypatch=monkeypatch) == 2
    assert "table" in capsys.readouterr().err


@pytest.mark.usefixtures("system")
def test_an_unknown_model_is_answered_with_those_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("explain", "unheard-of", monkeypatch=monkeypatch) == 1
    assert "there are /v1/models/minilm, /v1/models/filetype" in capsys.readouterr().err


def test_a_load_is_told_step_by_step(
    system: Web, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("load", "40:0.2s,80:0.2s", "-o", "json", monkeypatch=monkeypatch) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(step["rate_per_s"], step["duration_s"], step["failed"]) for step in document["steps"]] == [
        (40.0, 0.2, 0), (80.0, 0.2, 0),
    ]  # fmt: skip
    assert sum(step["requests"] for step in document["steps"]) == sum(
        asked.path.endswith("/infer") for asked in system.asked
    )


@pytest.mark.usefixtures("system")
def test_a_load_with_failures_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("load", "40:0.2s", "--model", "unheard-of", monkeypatch=monkeypatch) == 1
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["RATE/S", "DURATION", "REQUESTS", "FAILED", "P50", "P95", "P99"]
    requests, failed, *latencies = row.split()[3:]
    assert requests == failed != "0"
    assert latencies == ["–", "–", "–"]


@pytest.mark.parametrize("command", [("load",), ("demo", "--steps")])
def test_every_bad_step_is_named(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*command, "5:60s,40,0:2s", monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: step '40': not RATE:DURATION such as 40:120s or 5:2m",
        "error: step '0:2s': rate is 0/s; above 0, at most 2000",
    ]


def test_a_demo_needs_a_calm_step_before_the_overload(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("demo", "--steps", "5:60s", monkeypatch=monkeypatch) == 2
    assert "at least two steps" in capsys.readouterr().err
    assert len(parse_steps(STEPS)) >= 2


@pytest.mark.parametrize("command", ["up", "demo"])
def test_everything_that_is_wrong_is_refused_at_once(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models, cards = tmp_path / "models.yaml", tmp_path / "fleet.yaml"
    models.write_text("models: {one: {source: text_embedder, slot: v100-8q-16GB, objective_p95_ms: 200}, two: 5}")
    cards.write_text("cards: []")
    ports = ("--http-port", "0") if command == "up" else ()
    assert run(command, "--models", str(models), "--fleet", str(cards), *ports, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    expected = [
        f"error: {cards}: the file: no cards; describe at least one",
        f"error: {models}: models.one.slot: 'v100-8q-16GB' contradicts itself: '8q' means 8 GB and '16GB' says 16 GB; "
        "write v100-8q-8GB or v100-16q-16GB",
        f"error: {models}: models.two: expected a mapping",
    ]
    if ports:
        expected.insert(0, "error: port 0 is not between 1 and 65535; choose another with --http-port")
    assert lines == expected
    assert not (tmp_path / ".run").exists()


@pytest.mark.parametrize("command", ["up", "demo", "run"])
def test_a_models_file_that_is_not_there_is_used_wrongly(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = ("--ray-url", "http://127.0.0.1:1") if command == "run" else ()
    assert run(command, "--models", "none.yaml", *extra, monkeypatch=monkeypatch) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_the_autoscaler_itself_refuses_a_bad_models_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("models.yaml").write_text("models: {}\npolicy: {window: 3}")
    assert run("run", "--models", "models.yaml", "--ray-url", "http://127.0.0.1:1", monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: models.yaml: models: empty; name at least one model",
        "error: models.yaml: policy.window: unknown key; remove it or correct its spelling",
    ]


@pytest.mark.parametrize("listen", ["9106", "127.0.0.1:", ":9106", "127.0.0.1:http", "127.0.0.1:99999"])
def test_an_address_to_listen_on_that_is_none_is_used_wrongly(
    listen: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("models.yaml").write_text("models: {m: {slot: v100-8q-8GB, objective_p95_ms: 200}}")
    arguments = ("--models", "models.yaml", "--ray-url", "http://127.0.0.1:1", "--listen", listen)
    assert run("run", *arguments, monkeypatch=monkeypatch) == 2
    assert "is not HOST:PORT" in capsys.readouterr().err


def test_the_autoscaler_says_what_keeps_it_from_starting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("models.yaml").write_text("models: {m: {slot: v100-8q-8GB, objective_p95_ms: 200}}")
    arguments = ("--models", "models.yaml", "--ray-url", "http://127.0.0.1:1", "--listen", "127.0.0.1:0")
    elsewhere = ("--kubeconfig", str(tmp_path / "none"), "--journal", str(tmp_path / "no" / "journal"))
    assert run("run", *arguments, *elsewhere, monkeypatch=monkeypatch) == 2
    journal, kubeconfig = capsys.readouterr().err.splitlines()
    assert journal.startswith("error: journal ")
    assert kubeconfig.startswith(f"error: kubeconfig {tmp_path / 'none'}: ")


def test_the_name_of_the_state_file_is_the_installations_own() -> None:
    assert running.STATE_FILE == installation.STATE_FILE
