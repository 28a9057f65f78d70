"""What people, lost leases and changed files do to a switch: nothing is left half-way, and nothing is done twice."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.waiting import eventually
from tests.unit.switcher.world import BEGAN_S, FILE, IN_DAY, IN_NIGHT, NAMESPACE, SMALL, World, config_map, world
from vgpu.adapters.kube_verbs import CONFIG_MAPS, MERGE, Request
from vgpu.core.switching.record import Result, Step
from vgpu.switcher import running
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.records import Record, Records
from vgpu.switcher.room import Wanted

AT_TEN = '\nschedule:\n  - {layout: night, at: "08:10"}\n  - {layout: day, at: "07:00"}\n'


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def patch(here: World, **data: str) -> None:
    """Somebody with kubectl."""
    path = CONFIG_MAPS.path(NAMESPACE, "vgpu-switch-gpu-a")
    here.client.send(Request("PATCH", path, {"data": data}, content_type=MERGE))


# Leases.


def test_a_lease_that_is_lost_between_remembering_and_acting(here: World) -> None:
    class Losing(Records):
        def write(self, record: Record) -> Record:
            written = super().write(record)
            if written.under_way is not None and written.under_way.step is Step.STOP:
                here.leads = False
            return written

    switcher = here.switcher(records=Losing(here.wire, NAMESPACE))
    switcher.step()
    here.ask("night")
    here.run(switcher, 20, until=lambda: not here.leads)
    assert (here.step_now(), here.hypervisor.asked) == (Step.STOP, [])
    here.leads = True
    here.run(here.switcher())
    assert (here.ended().result, here.nodes()) == (Result.DONE, IN_NIGHT)


# Announcements.


def test_an_announcement_keeps_all_pods_away_and_leaves_a_cordon_of_others_alone(tmp_path: Path) -> None:
    """Node-3 is cordoned by somebody; the switch is announced, refused, and the announcement taken back."""
    with world(tmp_path, file=FILE + AT_TEN) as here:
        here.client.cordon("node-3")
        here.serving.state = (Wanted(model="search", seated=3, unplaced=0, slot_types=(SMALL,)),)
        switcher = here.switcher()
        switcher.step()
        here.now_s = BEGAN_S + 310
        switcher.step()
        assert here.nodes(("node-1", "node-3")) == {"node-1": "ready cordoned leaving", "node-3": "ready cordoned"}
        here.now_s = BEGAN_S + 601
        here.run(switcher, 10, until=lambda: False)
        assert (here.ended().result, here.nodes()) == (Result.REFUSED, IN_DAY | {"node-3": "ready cordoned"})


def test_what_somebody_cordoned_stays_so_when_a_switch_comes_back(here: World) -> None:
    here.client.cordon("node-3")
    switcher = here.switcher()
    switcher.step()
    here.ask("night")
    denied = ProviderError("suspend node-1", "permission denied", permanent=True)
    here.hypervisor.broken = lambda operation: denied if operation == "suspend" else None
    here.run(switcher)
    assert (here.ended().result, here.nodes()) == (Result.ROLLED_BACK, IN_DAY | {"node-3": "ready cordoned"})


def test_only_what_is_next_is_announced(tmp_path: Path) -> None:
    """Two GPUs, one after the other: the second's slots are the seats of those who leave the first."""
    file = FILE.replace("layouts:\n", "  gpu-b: {board: v100, provider: lab}\nlayouts:\n").replace(
        "day: {", "day: {gpu-b: [{node: node-8, profile: v100-4q}, {node: node-9, profile: v100-4q}], "
    )
    file = file.replace("night: {", "night: {gpu-b: [], ")
    with world(tmp_path, file=file + AT_TEN) as here:
        switcher = here.switcher()
        switcher.step()
        here.now_s = BEGAN_S + 310
        switcher.step()
        assert here.nodes(("node-1", "node-8")) == {"node-1": "ready cordoned leaving", "node-8": "ready"}
        here.now_s = BEGAN_S + 601
        here.run(switcher, 60, until=lambda: here.record("gpu-b").switch is not None and here.rests())
        here.run(switcher, 10, until=lambda: False)
        assert (here.ended("gpu-a").result, here.ended("gpu-b").result) == (Result.DONE, Result.REFUSED)
        assert here.nodes(("node-8", "node-9")) == {"node-8": "ready", "node-9": "ready"}


def test_of_two_checks_at_once_the_later_yields(tmp_path: Path) -> None:
    """Both may go at once, and two seats remain only while one of them stays; the first has to wait in its check."""
    file = FILE.replace("policy: {", "policy: {parallel: 2, ").replace(
        "layouts:\n",
        "  gpu-b: {board: v100, provider: lab}\nlayouts:\n  early: {gpu-b: [{node: node-8, profile: v100-4q},"
        " {node: node-9, profile: v100-4q}]}\n  late: {gpu-b: []}\n",
    )
    with world(tmp_path, file=file) as here:
        switcher = here.switcher()
        switcher.step()
        machine = here.hypervisor.machines["node-5"]
        machine.becomes, machine.at_s = machine.state, here.now_s + 5
        here.ask("night", origin="day")
        here.now_s += 1
        here.ask("late", gpu="gpu-b", origin="early")
        here.run(switcher, 60, until=lambda: here.record().switch is not None and here.rests())
        here.run(switcher, 10, until=lambda: False)
        assert (here.ended("gpu-a").result, here.ended("gpu-b").result) == (Result.DONE, Result.REFUSED)


# ConfigMaps.


def test_a_request_that_nobody_can_read_holds_up_no_switch(here: World) -> None:
    here.run_to(Step.STOP)
    patch(here, request="{night, please")
    switcher = here.run(here.switcher(), until=lambda: here.ended_now() is not None)
    assert here.nodes() == IN_NIGHT
    switcher.step()
    assert "request: no JSON" in switcher.standing.problems["gpu-a"]
    assert config_map(here.client)["data"]["request"] == "{night, please"


def test_a_record_that_is_a_copy_of_anothers_is_not_followed(here: World) -> None:
    here.run_to(Step.STOP)
    record = config_map(here.client)["data"]["record"]
    patch(here, record=record.replace('"gpu":"gpu-a"', '"gpu":"gpu-b"'))
    switcher = here.switcher()
    switcher.step()
    assert "record: gpu is 'gpu-b'; this ConfigMap is that of gpu-a" in switcher.standing.problems["gpu-a"]


def test_a_switch_that_was_forgotten_before_anything_stopped_gives_its_nodes_back(here: World) -> None:
    here.add_pod("training", "node-3")
    here.bound["training"] = 100
    here.run_to(Step.DRAIN)
    here.client.delete(CONFIG_MAPS, "vgpu-switch-gpu-a", NAMESPACE)
    here.run(here.switcher(), 4, until=lambda: False)
    assert (here.record().layout, here.nodes()) == ("day", IN_DAY)


# Files.


def test_a_file_that_changed_while_nobody_looked_holds_its_switch_until_it_is_as_it_was(here: World) -> None:
    """Without node-3 the day would come back without it, and node-3 would sleep for ever."""
    here.run_to(Step.STOP)
    here.file.write_text(FILE.replace(", {node: node-3, profile: v100-4q}", ""))
    asked = list(here.hypervisor.asked)
    switcher = here.switcher()
    here.run(switcher, 5, until=lambda: False)
    assert (here.step_now(), here.hypervisor.asked) == (Step.STOP, asked)
    assert "put both layouts back" in switcher.standing.problems["gpu-a"]
    here.file.write_text(FILE)
    here.run(switcher)
    assert (here.ended().result, here.nodes()) == (Result.DONE, IN_NIGHT)


def test_a_provider_cannot_change_under_a_switch(here: World) -> None:
    switcher = here.switcher()
    switcher.step()
    here.ask("night")
    switcher.step()
    other = "  other: {kind: libvirt, uri: elsewhere}\n"
    here.file.write_text(FILE.replace("provider: lab", "provider: other") + other)
    switcher.step()
    switcher.step()
    assert "GPU gpu-a is on its way from day to night" in switcher.standing.file_problems[0]


def test_a_gpu_that_the_file_lost_with_its_switch_under_way_is_told_of(here: World) -> None:
    here.run_to(Step.STOP)
    here.file.write_text(FILE.replace("gpu-a", "gpu-z"))
    switcher = here.switcher()
    switcher.step()
    (said,) = switcher.standing.file_problems
    assert said.startswith("gpus: gpu-a is missing, and its switch to night is under way; put it back")
    assert list(switcher.standing.records) == ["gpu-z"]
    here.file.write_text(FILE)
    here.run(switcher)
    assert (here.ended().result, here.nodes()) == (Result.DONE, IN_NIGHT)


# Providers.


def test_a_provider_that_never_comes_back_is_told_of(here: World) -> None:
    answered = threading.Event()
    with ThreadPoolExecutor() as pool:
        switcher = here.switcher(pool=pool, slow={"lab": answered})
        switcher.step()
        here.ask("night")
        switcher.step()
        here.now_s += running.HANGS_S + 1
        switcher.step()
        assert switcher.standing.problems["gpu-a"].startswith("provider lab has not come back for 300 s")
        answered.set()

        def ended() -> bool:
            switcher.step()
            here.pass_by()
            return here.ended_now() is not None

        eventually(ended, bool)
        assert "gpu-a" not in switcher.standing.problems
