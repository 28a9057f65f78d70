"""`vgpu-serve switch` against a switcher that is at work: what it prints, what it waits for, and how it exits."""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from autoscaler import cli
from tests.fakes.waiting import eventually
from tests.unit.switcher.world import FILE, IN_DAY, IN_NIGHT, SMALL, World, world
from vgpu.adapters.kube_verbs import CONFIG_MAPS
from vgpu.core.switching.record import Asked, Cause
from vgpu.core.switching.seen import MachineState
from vgpu.switcher import web
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.room import Wanted


@dataclass
class System:
    """A cluster with a switcher that makes passes in a thread, and what `up` says of both."""

    here: World
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    paused: threading.Event

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of `vgpu-serve switch`."""
        self.monkeypatch.setattr(sys, "argv", ["vgpu-serve", "switch", *arguments])
        self.capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def document(self, *arguments: str) -> Any:
        code, out, err = self.run(*arguments, "-o", "json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def system(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("autoscaler.cli.switch.POLL_S", 0.02)
    stopped, paused = threading.Event(), threading.Event()
    with world(tmp_path) as here:
        switcher = here.switcher()
        switcher.step()
        switcher.step()
        asked = web.desk(lambda: switcher.standing, lambda: here.now_s, here.observer(), "default")

        def work() -> None:
            while not stopped.wait(0.005):
                if not paused.is_set():
                    switcher.step()
                    here.pass_by()

        thread = threading.Thread(target=work)
        with here.served(web.serve(("127.0.0.1", 0), CollectorRegistry(), asked)) as url:
            up = {"pid": 1, "url": url, "switcher_url": url, "kubeconfig": str(tmp_path / "kubeconfig")}
            (tmp_path / ".run").mkdir()
            (tmp_path / ".run" / "up.json").write_text(json.dumps(up))
            thread.start()
            try:
                yield System(here, capsys, monkeypatch, paused)
            finally:
                stopped.set()
                thread.join()


def test_how_everything_stands(system: System) -> None:
    code, out, _ = system.run()
    assert (code, [line.split() for line in out.splitlines()]) == (
        0,
        [["GPU", "LAYOUT", "SWITCH", "NEXT", "LAST", "PROBLEM"], ["gpu-a", "day"]],
    )
    assert system.document()["gpus"][0]["layout"] == "day"


def test_a_switch_is_waited_for_and_told(system: System) -> None:
    code, out, err = system.run("night")
    assert code == 0, err
    assert out.splitlines()[1].split()[:4] == ["gpu-a", "day", "night", "done"]
    assert "gpu-a: asked" in err or "gpu-a: cordon" in err or "gpu-a: stop" in err
    assert err.splitlines()[-1].endswith("gpu-a: done")
    assert system.here.nodes() == IN_NIGHT
    (found,) = system.document("day")["switches"]
    assert (found["gpu"], found["to"], found["result"], found["cause"]) == ("gpu-a", "day", "done", "hand")
    assert system.here.nodes() == IN_DAY


def test_a_layout_that_is_there_already(system: System) -> None:
    assert system.run("day") == (0, "› every GPU is in day already\n", "")
    assert system.document("day", "--gpu", "gpu-a") == {"switches": []}
    assert system.here.record().history == ()


def test_a_refusal_is_an_exit_of_1_with_the_reason(system: System) -> None:
    system.here.serving.state = (Wanted(model="search", seated=3, unplaced=0, slot_types=(SMALL,)),)
    code, out, _ = system.run("night", "-o", "yaml")
    (found,) = yaml.safe_load(out)["switches"]
    assert (code, found["result"]) == (1, "refused")
    assert found["why"].startswith("replicas would find no slot")
    assert system.here.nodes() == IN_DAY


def test_a_rollback_is_an_exit_of_1_and_says_where_it_turned_round(system: System) -> None:
    denied = ProviderError("suspend node-1", "permission denied", permanent=True)
    system.here.hypervisor.broken = lambda operation: denied if operation == "suspend" else None
    code, out, _ = system.run("night", "--gpu", "gpu-a", "-o", "json")
    (found,) = json.loads(out)["switches"]
    assert (code, found["result"]) == (1, "rolled_back")
    assert found["why"] == "stop towards night: suspend node-1: permission denied"


def test_a_dry_run_prints_the_plan_and_changes_nothing(system: System) -> None:
    code, out, _ = system.run("night", "--dry-run")
    lines = out.splitlines()
    assert (code, lines[0].rstrip()) == (0, "gpu-a: day to night, at least 500 units of the fleet on the way")
    assert [line.split()[0] for line in lines[2:]] == [
        "check",
        "cordon",
        "make_room",
        "drain",
        "stop",
        "start",
        "ready",
        "uncordon",
    ]
    system.here.serving.state = (Wanted(model="search", seated=3, unplaced=0, slot_types=(SMALL,)),)
    code, out, _ = system.run("night", "--dry-run")
    assert code == 1
    assert "› gpu-a: would refuse: replicas would find no slot" in out
    assert system.here.record().switch is None


def test_not_waiting_leaves_the_request(system: System) -> None:
    system.paused.set()
    assert system.run("night", "--no-wait") == (0, "", "")
    request = system.here.record().request
    assert request is not None
    assert (request.layout, request.cause, request.id.startswith("hand-night-")) == ("night", Cause.HAND, True)


def test_a_user_without_a_name_may_ask_too(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose number is in no list of users."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    system.paused.set()
    assert system.run("night", "--no-wait") == (0, "", "")
    request = system.here.record().request
    assert request is not None
    assert request.by.startswith("uid ")


def test_where_nobody_could_tell_the_layout_it_is_said_by_hand(system: System) -> None:
    system.paused.set()
    system.here.client.delete(CONFIG_MAPS, "vgpu-switch-gpu-a", "default")
    system.here.dead.add("node-1")
    system.here.kubelets()
    system.paused.clear()
    code, out, _ = system.run("night", "--gpu", "gpu-a", "--from", "day", "-o", "json")
    assert (code, json.loads(out)["switches"][0]["from"]) == (0, "day")
    assert system.here.hypervisor.machines["node-1"].state is MachineState.SUSPENDED


def test_a_layout_that_is_known_cannot_be_said_otherwise(system: System) -> None:
    """Else the machines of the real one would be left running beside those that come."""
    system.here.file.write_text(FILE.replace("  night: {", "  noon: {gpu-a: []}\n  night: {"))
    eventually(lambda: "noon" in system.document()["layouts"], bool)
    code, _, err = system.run("night", "--from", "noon")
    assert (code, err) == (2, "error: gpu-a is in day, which is known; leave --from noon out for it\n")
    assert (system.here.record().layout, system.here.record().request) == ("day", None)


def test_going_back_while_the_way_there_is_under_way(system: System) -> None:
    system.here.hypervisor.stands_still = True
    assert system.run("night", "--no-wait")[0] == 0
    eventually(lambda: system.here.record().under_way is not None, bool)
    assert system.run("day", "--no-wait")[1] == ""
    assert system.here.record().request is not None
    system.here.hypervisor.stands_still = False
    eventually(lambda: [each.target for each in system.here.record().history], lambda went: went == ["night", "day"])


def test_a_request_that_another_overtook_is_said(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits for its turn, somebody else asks for something newer."""
    system.paused.set()
    newer = Asked(id="hand-newer", layout="night", cause=Cause.HAND, at_s=system.here.now_s)

    def sleep(_: float) -> None:
        system.here.records.ask("gpu-a", newer)

    monkeypatch.setattr("autoscaler.cli.switch.time.sleep", sleep)
    code, _, err = system.run("night")
    assert code == 1
    assert "gpu-a: the request was overtaken by hand-newer" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("noon",), 1, "error: layout 'noon' is not there; the file has day, night\n"),
        (("night", "--gpu", "gpu-x"), 1, "error: GPU 'gpu-x' is not there; the file has gpu-a\n"),
        (("night", "--kubeconfig", "not-there"), 2, "give one with --kubeconfig"),
        (("--switcher-url", "http://127.0.0.1:9"), 1, "http://127.0.0.1:9/v1/switches: ConnectError"),
    ],
)
def test_what_is_asked_wrongly(system: System, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, out, err = system.run(*arguments)
    assert (ended, out) == (code, "")
    assert said in err


def test_where_nothing_is_switched(system: System) -> None:
    Path(".run/up.json").write_text(json.dumps({"url": "x"}))
    assert system.run() == (
        2,
        "",
        "error: what is up in .run has no switcher; start it with --switches, or name --switcher-url\n",
    )
