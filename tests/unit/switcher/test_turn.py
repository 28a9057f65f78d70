"""Which call of a provider an action comes to, and connections that are opened late and shared by one at a time."""

import threading
from pathlib import Path

import pytest

from tests.unit.switcher.machines import Hypervisor, Machine
from tests.unit.switcher.world import LARGE, SMALL
from vgpu.core.profile import parse_profile
from vgpu.core.switching.actions import Snapshot, StartMachine, StopMachine, Way
from vgpu.core.switching.seen import MachineSeen, MachineState
from vgpu.switcher.connections import Connections
from vgpu.switcher.providers import open_provider
from vgpu.switcher.providers.port import Provider, ProviderError
from vgpu.switcher.providers.settings import Libvirt, ProviderSettings
from vgpu.switcher.turn import operate

START = StartMachine(machine="vm", profile=parse_profile(LARGE))
OFF, SUSPENDED, RUNNING = MachineState.OFF, MachineState.SUSPENDED, MachineState.RUNNING
HERE, THERE = Libvirt(uri="here"), Libvirt(uri="there")


def provider(state: MachineState = RUNNING, profile: str = LARGE) -> Hypervisor:
    return Hypervisor({"vm": Machine(profile, state)}, now_s=lambda: 0.0)


@pytest.mark.parametrize(
    ("action", "there", "asked"),
    [
        (Snapshot(machine="vm", name="s"), provider(), ["snapshot vm"]),
        (StopMachine(machine="vm", way=Way.SUSPEND), provider(), ["suspend vm"]),
        (StopMachine(machine="vm", way=Way.POWER_OFF), provider(), ["power_off vm"]),
        (START, provider(SUSPENDED), ["resume vm"]),
        (START, provider(OFF), ["power_on vm"]),
        (START, provider(OFF, SMALL), ["set_profile vm", "power_on vm"]),
        (START, provider(OFF, ""), ["power_on vm"]),
        (START, provider(RUNNING), []),
    ],
)
def test_what_a_provider_is_asked_for(
    action: Snapshot | StopMachine | StartMachine, there: Hypervisor, asked: list[str]
) -> None:
    operate(there, action)
    assert there.asked == asked


def test_a_machine_that_runs_and_stands_still_is_woken() -> None:
    class Paused(Hypervisor):
        def look(self, machines: object) -> dict[str, MachineSeen]:
            return {"vm": MachineSeen(state=RUNNING, profile=LARGE, fault="it is paused")}

    there = Paused({"vm": Machine(LARGE)}, now_s=lambda: 0.0)
    operate(there, START)
    assert there.asked == ["resume vm"]


def test_a_node_that_is_recut_in_place_gets_its_configuration() -> None:
    asked: list[tuple[str, str]] = []

    class ByLabel(Hypervisor):
        def set_config(self, machine: str, config: str) -> None:
            asked.append((machine, config))

    operate(ByLabel({}, now_s=lambda: 0.0), StartMachine(machine="n", profile=parse_profile(LARGE), config="all"))
    assert asked == [("n", "all")]


def test_a_machine_that_is_not_there_cannot_be_started() -> None:
    with pytest.raises(ProviderError, match="start vm: there is no machine of that name"):
        operate(EmptyHost({}, now_s=lambda: 0.0), START)


class EmptyHost(Hypervisor):
    """Says nothing about a machine that it does not have."""

    def look(self, machines: object) -> dict[str, object]:  # type: ignore[override]  # nothing is in it
        return {}


class Opening:
    """Counts what is opened and closed."""

    def __init__(self) -> None:
        self.opened: list[ProviderSettings] = []
        self.closed = 0
        self.fault: Exception | None = None

    def __call__(self, settings: ProviderSettings) -> Provider:
        if self.fault is not None:
            raise self.fault
        self.opened.append(settings)
        made = provider()
        made.close = self._close  # type: ignore[method-assign]  # to be told of it
        return made

    def _close(self) -> None:
        self.closed += 1


def look(connections: Connections, settings: ProviderSettings = HERE) -> None:
    with connections.using("lab", settings, "look") as found:
        found.look(["vm"])


def test_a_provider_is_opened_when_it_is_needed_and_anew_where_the_file_says_another() -> None:
    opening = Opening()
    connections = Connections(opening)
    assert opening.opened == []
    for settings in (HERE, HERE, THERE, THERE):
        look(connections, settings)
    assert (opening.opened, opening.closed) == ([HERE, THERE], 1)
    connections.close()
    connections.close()
    assert opening.closed == 2


def test_what_nobody_foresaw_is_a_fault_of_the_provider_and_not_of_the_switcher(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted = list[tuple[str, str]]()
    connections = Connections(Opening(), count=lambda *words: counted.append(words))
    said = "look by provider lab: unforeseen KeyError; the log says where"
    with pytest.raises(ProviderError, match=said) as found, connections.using("lab", HERE, "look"):
        raise KeyError("state.state")
    assert (found.value.permanent, counted) == (False, [("lab", "look")])
    assert "state.state" in caplog.text


def test_what_cannot_be_opened_is_a_fault_of_the_provider_and_is_counted() -> None:
    opening, counted = Opening(), list[tuple[str, str]]()
    connections = Connections(opening, count=lambda *words: counted.append(words))
    opening.fault = ImportError("No module named 'libvirt'")
    with pytest.raises(ProviderError, match=r"install the extra of pyproject\.toml that this kind needs"):
        look(connections)
    opening.fault = ProviderError("log in", "no such user", permanent=True)
    with pytest.raises(ProviderError, match="no such user"):
        look(connections)
    opening.fault = None
    look(connections)
    assert (counted, opening.opened) == ([("lab", "look")] * 2, [HERE])


def test_one_thread_at_a_time_uses_a_provider() -> None:
    connections, inside, most = Connections(Opening()), [0], [0]

    def work() -> None:
        for _ in range(50):
            with connections.using("lab", HERE, "look"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_provider_that_hangs_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by who wants to use it, nor by who was told of another: the one that hangs closes it in the end."""
    monkeypatch.setattr("vgpu.switcher.connections.WAIT_S", 0.05)
    opening = Opening()
    connections, entered, answered = Connections(opening), threading.Event(), threading.Event()

    def hang() -> None:
        with connections.using("lab", HERE, "suspend"):
            entered.set()
            answered.wait(10)

    thread = threading.Thread(target=hang)
    thread.start()
    assert entered.wait(10)
    with pytest.raises(ProviderError, match=r"use provider lab: another call of it has not come back for 0\.05 s"):
        look(connections)
    look(connections, THERE)
    assert (opening.opened, opening.closed) == ([HERE, THERE], 0)
    answered.set()
    thread.join()
    assert opening.closed == 1


def test_a_kind_whose_module_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The modules themselves have their own tests; here only which is imported."""
    imported = []

    def remember(name: str) -> object:
        imported.append(name)
        raise ImportError(name)

    monkeypatch.setattr("vgpu.switcher.providers.importlib.import_module", remember)
    with pytest.raises(ImportError):
        open_provider(HERE, None)  # type: ignore[arg-type]  # nobody is asked
    assert imported == ["vgpu.switcher.providers.libvirt"]
