"""Whole passes over the embedded API server, in virtual time: requests, calendar, announcements, several GPUs."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.waiting import eventually
from tests.unit.switcher.world import (
    DAY,
    FILE,
    IN_DAY,
    IN_NIGHT,
    SMALL,
    WORKERS,
    World,
    config_map,
    world,
)
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import CONFIG_MAPS
from vgpu.core.switching.record import Result, Step
from vgpu.core.switching.seen import MachineState, Missing
from vgpu.switcher.config import ConfigError
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.room import Wanted

TWO_GPUS = FILE.replace(
    "layouts:\n",
    "  gpu-b: {board: v100, provider: lab}\nlayouts:\n  late: {gpu-b: [{node: node-9, profile: v100-4q}]}\n",
).replace("  night: {", "  early: {gpu-b: [{node: node-8, profile: v100-4q}]}\n  night: {")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_there_and_back(here: World) -> None:
    for name, node in WORKERS:
        here.add_worker(name, node)
    here.add_pod("training", "node-3")
    switcher = here.switcher()
    switcher.step()
    assert (here.record().layout, here.nodes()) == ("day", IN_DAY)
    here.ask("night")
    here.run(switcher)
    assert (here.record().layout, here.ended().result, here.nodes()) == ("night", Result.DONE, IN_NIGHT)
    assert here.hypervisor.asked == ["suspend node-1", "suspend node-2", "suspend node-3", "resume node-5"]
    here.ask("day", number=2)
    here.run(switcher)
    assert (here.record().layout, here.ended().result, here.nodes()) == ("day", Result.DONE, IN_DAY)
    assert [each.id for each in here.record().history] == ["hand-1", "hand-2"]
    assert here.record().request is None


def test_the_first_layout_is_the_one_whose_nodes_are_ready(here: World) -> None:
    here.dead.add("node-1")
    here.kubelets()
    switcher = here.switcher()
    switcher.step()
    assert here.record().layout == ""
    assert "no layout has all its nodes ready" in switcher.standing.problems["gpu-a"]
    here.dead.clear()
    here.now_s += 60
    here.kubelets()
    switcher.step()
    switcher.step()
    assert (here.record().layout, switcher.standing.problems) == ("day", {})


def test_a_request_for_a_gpu_of_which_nobody_knows_the_layout_is_refused_unless_it_says_so(here: World) -> None:
    here.dead.update(DAY)
    here.kubelets()
    switcher = here.switcher()
    switcher.step()
    assert not here.record().layout, "there is a record all the same: whoever may only change it can say the layout"
    assert here.record().version is not None
    here.ask("night")
    here.run(switcher, 3)
    assert here.ended().result is Result.REFUSED
    assert "say it with `vgpu-serve switch night --gpu gpu-a --from LAYOUT`" in here.ended().why
    here.ask("night", number=2, origin="day")
    here.run(switcher)
    assert (here.ended().result, here.record().layout) == (Result.DONE, "night")


def test_a_layout_that_is_not_there_is_refused_with_those_that_are(here: World) -> None:
    switcher = here.switcher()
    switcher.step()
    here.ask("noon")
    here.run(switcher, 3)
    assert (here.ended().result, here.ended().why) == (
        Result.REFUSED,
        "the file has no layout 'noon' for GPU gpu-a; it has day, night",
    )
    assert (here.record().layout, here.nodes()) == ("day", IN_DAY)


def test_a_layout_that_a_gpu_is_in_needs_no_switch(here: World) -> None:
    switcher = here.switcher()
    switcher.step()
    here.ask("day")
    here.run(switcher, 3)
    assert (here.ended().result, here.ended().spent, here.hypervisor.asked) == (Result.DONE, (), [])


def test_without_room_nothing_is_touched(here: World) -> None:
    """Two slots remain elsewhere; three replicas are wanted."""
    here.serving.state = (Wanted(model="search", seated=3, unplaced=1, slot_types=(SMALL,)),)
    switcher = here.switcher()
    switcher.step()
    here.ask("night")
    here.run(switcher)
    assert here.ended().result is Result.REFUSED
    assert "replicas would find no slot while the GPU is switched: 1 (search 1)" in here.ended().why
    assert (here.nodes(), here.hypervisor.asked) == (IN_DAY, [])


def test_an_autoscaler_that_does_not_answer_is_no_room(here: World) -> None:
    here.serving.state = Missing(why="connection refused")
    switcher = here.switcher()
    switcher.step()
    here.ask("night")
    here.run(switcher)
    assert here.ended().result is Result.REFUSED
    assert "nobody could say whether the remaining capacity suffices: connection refused" in here.ended().why


def test_a_slot_that_somebody_elses_pod_holds_is_no_room(here: World) -> None:
    here.add_pod("stranger", "node-8")
    switcher = here.switcher()
    switcher.step()
    here.ask("night")
    here.run(switcher)
    assert "(search 1)" in here.ended().why


# Several GPUs, several switchers.


def test_one_gpu_after_the_other(tmp_path: Path) -> None:
    with world(tmp_path, file=TWO_GPUS) as here:
        here.serving.state = ()
        here.hypervisor.machines["node-9"].state = MachineState.SUSPENDED
        here.kubelets()
        switcher = here.switcher()
        switcher.step()
        assert (here.record("gpu-a").layout, here.record("gpu-b").layout) == ("day", "early")
        here.ask("night")
        here.now_s += 1
        here.ask("late", gpu="gpu-b")
        together = 0
        for _ in range(60):
            switcher.step()
            here.pass_by()
            under_way = [here.record(gpu).under_way is not None for gpu in ("gpu-a", "gpu-b")]
            together = max(together, sum(under_way))
        assert together == 1
        assert [here.record(gpu).layout for gpu in ("gpu-a", "gpu-b")] == ["night", "late"]


def test_a_provider_that_hangs_keeps_no_other_gpu_back(tmp_path: Path) -> None:
    """With real threads: the first GPU's provider does not answer, and the second is switched."""
    file = (
        TWO_GPUS.replace("policy: {", "policy: {parallel: 2, ").replace(
            "gpu-b: {board: v100, provider: lab}", "gpu-b: {board: v100, provider: other}"
        )
        + "  other: {kind: libvirt, uri: elsewhere}\n"
    )
    with world(tmp_path, file=file) as here, ThreadPoolExecutor() as pool:
        here.serving.state = ()
        here.hypervisor.machines["node-9"].state = MachineState.SUSPENDED
        here.kubelets()
        answered = threading.Event()
        switcher = here.switcher(pool=pool, slow={"lab": answered})
        switcher.step()
        here.ask("night")
        here.ask("late", gpu="gpu-b")

        def is_switched(layout: str) -> bool:
            switcher.step()
            here.pass_by()
            return layout == "late"

        eventually(lambda: (is_switched(""), here.record("gpu-b").layout)[1], lambda layout: layout == "late")
        assert (here.step_now(), here.record("gpu-a").layout) == (Step.CHECK, "day")
        answered.set()
        eventually(lambda: (is_switched(""), here.record("gpu-a").layout)[1], lambda layout: layout == "night")


def test_who_does_not_lead_reads_and_does_nothing(here: World) -> None:
    here.leads = False
    here.ask("night")
    switcher = here.switcher()
    switcher.step()
    assert (here.record().switch, switcher.standing.leads) == (None, False)
    request = switcher.standing.records["gpu-a"].request
    assert request is not None
    assert request.layout == "night"


def test_two_switchers_that_both_believe_they_lead_make_one_switch(here: World) -> None:
    one, other = here.switcher(), here.switcher()
    one.step()
    here.ask("night")
    for _ in range(30):
        one.step()
        other.step()
        here.pass_by()
    assert (here.record().layout, len(here.record().history), here.nodes()) == ("night", 1, IN_NIGHT)
    assert here.hypervisor.asked.count("resume node-5") == 1


def test_a_dry_run_changes_nothing(here: World) -> None:
    here.ask("night")
    before = config_map(here.client)
    switcher = here.switcher(dry_run=True)
    switcher.step()
    switcher.step()
    assert (config_map(here.client), here.nodes()) == (before, IN_DAY)
    assert "would take up" in switcher.standing.problems["gpu-a"]


def test_a_record_that_nobody_can_read_keeps_its_gpu_as_it_is(here: World) -> None:
    here.ask("night")
    there = config_map(here.client)
    here.client.replace(CONFIG_MAPS, there | {"data": {"record": "{", "layout": "day"}}, "default")
    switcher = here.switcher()
    switcher.step()
    here.pass_by()
    switcher.step()
    assert config_map(here.client)["data"] == {"record": "{", "layout": "day"}
    assert "mend or delete ConfigMap vgpu-switch-gpu-a" in switcher.standing.problems["gpu-a"]


def test_a_file_cannot_change_what_a_switch_under_way_is_about(here: World) -> None:
    switcher = here.switcher()
    switcher.step()
    here.ask("night")
    switcher.step()
    here.file.write_text(FILE.replace("node: node-5", "node: node-6"))
    switcher.step()
    switcher.step()
    assert "GPU gpu-a is on its way from day to night" in switcher.standing.file_problems[0]
    here.run(switcher)
    assert here.ended().result is Result.DONE
    switcher.step()
    switcher.step()
    assert switcher.standing.file_problems == ()
    (guest,) = switcher.standing.config.guests("night", "gpu-a") or ()
    assert guest.node == "node-6"


def test_a_file_that_cannot_be_used_changes_nothing(here: World) -> None:
    switcher = here.switcher()
    here.file.write_text("gpus: {}")
    switcher.step()
    switcher.step()
    assert len(switcher.standing.file_problems) == 2
    assert list(switcher.standing.config.gpus) == ["gpu-a"]
    here.file.write_text(FILE)
    switcher.step()
    switcher.step()
    assert switcher.standing.file_problems == ()
    here.file.write_text("gpus: {}")
    with pytest.raises(ConfigError):
        here.switcher()


# Pods and people.


def test_a_disruption_budget_is_waited_for(tmp_path: Path) -> None:
    with world(tmp_path, with_controllers=True) as here:
        here.add_pod("training", "node-3", labels={"app": "training"})
        ready = {"type": "Ready", "status": "True"}
        here.client.set_pod_status("training", "default", {"phase": "Running", "conditions": [ready]})
        budget = {"minAvailable": 1, "selector": {"matchLabels": {"app": "training"}}}
        manifest = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": budget}
        budgets = kube.Kind("/apis/policy/v1", "poddisruptionbudgets")
        here.client.create(budgets, manifest, "default")
        eventually(
            lambda: here.client.read(budgets, "b", "default")["status"], lambda status: "currentHealthy" in status
        )
        switcher = here.switcher()
        switcher.step()
        here.ask("night")
        here.run(switcher, 12, until=lambda: here.step_now() is Step.DRAIN)
        for _ in range(2):
            switcher.step()
            here.pass_by()
        switch = here.record().under_way
        assert switch is not None
        assert "disruption budget" in switch.fault
        here.client.delete(budgets, "b", "default")
        here.run(switcher)
        assert here.ended().result is Result.DONE


def test_what_happens_is_told_on_the_nodes(here: World) -> None:
    switcher = here.switcher()
    switcher.step()
    here.ask("night")
    here.run(switcher)
    here.labels["node-5"] = "v100-8q-8GB"
    told = [
        (event["involvedObject"]["name"], event["reason"], event["message"], event["type"])
        for event in here.client.list(kube.EVENTS)
    ]
    what = "day to night on GPU gpu-a (hand, hand-1)"
    nodes = ("node-1", "node-2", "node-3", "node-5")
    assert sorted(told) == sorted(
        (node, reason, f"{verb} {what}", "Normal")
        for node in nodes
        for reason, verb in (("SwitchStarted", "switching"), ("SwitchDone", "switched"))
    )


def test_a_rollback_says_why(here: World) -> None:
    switcher = here.switcher()
    switcher.step()
    here.ask("night")
    denied = ProviderError("suspend node-1", "permission denied", permanent=True)
    here.hypervisor.broken = lambda operation: denied if operation == "suspend" else None
    here.run(switcher)
    assert (here.ended().result, here.record().layout, here.nodes()) == (Result.ROLLED_BACK, "day", IN_DAY)
    assert here.ended().why == "stop towards night: suspend node-1: permission denied"
    warned = {event["reason"] for event in here.client.list(kube.EVENTS) if event["type"] == "Warning"}
    assert warned == {"SwitchTurnedRound", "SwitchRolledBack"}


def test_a_file_that_lost_a_layout_while_nobody_looked_holds_its_switch_until_it_is_back(here: World) -> None:
    here.run_to(Step.STOP)
    here.file.write_text(FILE.replace("  night: {", "  noon: {"))
    switcher = here.switcher()
    here.run(switcher, 5, until=lambda: False)
    assert here.step_now() is Step.STOP
    assert "put both layouts back" in switcher.standing.problems["gpu-a"]
    here.file.write_text(FILE)
    here.run(here.switcher())
    assert (here.ended().result, here.nodes()) == (Result.DONE, IN_NIGHT)


def test_an_outage_eats_no_timeout(here: World) -> None:
    """An hour without a switcher, in a step that may take 16 s."""
    here.run_to(Step.STOP)
    here.now_s += 3600
    here.run(here.switcher())
    assert (here.ended().result, here.ended().exchanges) == (Result.DONE, 0)
