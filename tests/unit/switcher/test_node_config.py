"""Cards recut by label, over the embedded API server, with an agent that does what NVIDIA's do and where they fail."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fakes.clock import VirtualClock
from tests.fakes.kubernetes import Kubernetes, kubernetes
from tests.fakes.node_agent import PLUGIN, NodeAgent
from vgpu.adapters.kube import NODES
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState
from vgpu.switcher.providers import node_config
from vgpu.switcher.providers.node_config import MIG_MANAGER, SETTLE_S, VGPU_DEVICE_MANAGER, Agent, NodeConfig
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.providers.settings import Mig, VgpuDeviceManager

NODE = "node-1"
DAY, NIGHT = "all-1g.5gb", "all-7g.40gb"
CHANGING_TO_NIGHT = MachineSeen(state=MachineState.CHANGING, config=NIGHT)
NIGHT_RUNS = MachineSeen(state=MachineState.RUNNING, config=NIGHT)
IN_PLACE = "a node's agent recuts its card in place: the node runs on"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    with kubernetes(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@dataclass
class World:
    """A node cut as by day, its agent, and our provider."""

    cluster: Kubernetes
    agent: NodeAgent
    clock: VirtualClock
    provider: NodeConfig

    @property
    def seen(self) -> MachineSeen:
        return self.provider.look([NODE])[NODE]

    @property
    def labels(self) -> dict[str, str]:
        found: dict[str, str] = self.cluster.client.read(NODES, NODE)["metadata"]["labels"]
        return found

    def restart(self) -> None:
        """Our process ends and another begins."""
        self.provider = NodeConfig(self.agent.labels, self.cluster.client, clock=self.clock.now_s)


@pytest.fixture(params=[MIG_MANAGER, VGPU_DEVICE_MANAGER], ids=lambda agent: agent.name)
def world(request: pytest.FixtureRequest, cluster: Kubernetes) -> Iterator[World]:
    labels: Agent = request.param
    cluster.add_node(NODE)
    cluster.client.label_node(NODE, {labels.config: DAY, labels.state: "success", PLUGIN: "true"})
    agent = NodeAgent(cluster.client, NODE, labels, applied=DAY)
    agent.start()
    agent.hears(DAY)
    agent.take()
    clock = VirtualClock()
    yield World(cluster, agent, clock, NodeConfig(labels, cluster.client, clock=clock.now_s))
    agent.stop()
    cluster.client.delete(NODES, NODE)


def test_each_kind_has_its_own_labels(cluster: Kubernetes) -> None:
    opened = [node_config.open(settings, cluster.client) for settings in (Mig(), VgpuDeviceManager())]
    assert [repr(each) for each in opened] == ["NodeConfig('mig-manager')", "NodeConfig('vgpu-device-manager')"]
    assert [(agent.config, agent.state) for agent in (MIG_MANAGER, VGPU_DEVICE_MANAGER)] == [
        ("nvidia.com/mig.config", "nvidia.com/mig.config.state"),
        ("nvidia.com/vgpu.config", "nvidia.com/vgpu.config.state"),
    ]


def test_a_card_is_recut(world: World) -> None:
    assert world.seen == MachineSeen(state=MachineState.RUNNING, config=DAY)
    world.provider.set_config(NODE, NIGHT)
    assert world.seen == CHANGING_TO_NIGHT
    world.agent.hears(NIGHT)
    world.agent.take()
    assert world.labels[world.agent.labels.state] == "pending"
    assert world.seen == CHANGING_TO_NIGHT
    world.agent.end()
    assert world.seen == NIGHT_RUNS


def test_the_success_of_the_configuration_before_is_not_believed(world: World) -> None:
    """Nobody has taken the new one up: the agent may be away for hours."""
    world.provider.set_config(NODE, NIGHT)
    assert world.labels.get(world.agent.labels.state) is None
    world.restart()
    assert world.seen == CHANGING_TO_NIGHT


def test_a_card_that_is_cut_so_already_is_a_success_without_work(world: World) -> None:
    world.agent.applied = NIGHT  # somebody did it by hand
    world.provider.set_config(NODE, NIGHT)
    world.agent.hears(NIGHT)
    world.agent.take()
    assert world.agent.at_work is None
    assert world.seen == NIGHT_RUNS


def test_the_same_again_disturbs_nothing(world: World) -> None:
    world.provider.set_config(NODE, NIGHT)
    world.agent.hears(NIGHT)
    for _ in range(2):
        before = world.cluster.client.read(NODES, NODE)["metadata"]["resourceVersion"]
        world.provider.set_config(NODE, NIGHT)
        assert world.cluster.client.read(NODES, NODE)["metadata"]["resourceVersion"] == before
        if not world.agent.is_woken():
            break
        world.agent.take()
        world.agent.end()


def test_a_failure_is_a_fault_of_its_configuration(world: World) -> None:
    world.provider.set_config(NODE, NIGHT)
    world.agent.hears(NIGHT)
    world.agent.take()
    world.agent.end(fails=True)
    why = f"{world.agent.labels.name} reports {NIGHT} as failed; its log says why"
    assert world.seen == MachineSeen(state=MachineState.RUNNING, config=NIGHT, fault=why)


def test_the_way_back_after_a_failure(world: World) -> None:
    """The card is still cut as before, so the agent has nothing to do, and the failure is not taken for the way's."""
    world.provider.set_config(NODE, NIGHT)
    world.agent.hears(NIGHT)
    world.agent.take()
    world.agent.end(fails=True)
    world.provider.set_config(NODE, DAY)
    assert world.seen == MachineSeen(state=MachineState.CHANGING, config=DAY)
    world.agent.hears(DAY)
    world.agent.take()
    assert world.seen == MachineSeen(state=MachineState.RUNNING, config=DAY)


def test_what_failed_is_tried_again_when_it_is_asked_for_again(world: World) -> None:
    """An agent does not take up a name that it has taken up before: the label must change in between."""
    world.provider.set_config(NODE, NIGHT)
    world.agent.hears(NIGHT)
    world.agent.take()
    world.agent.end(fails=True)
    world.provider.set_config(NODE, NIGHT)
    assert world.seen == CHANGING_TO_NIGHT
    world.agent.hears("", NIGHT)
    world.agent.take()
    world.agent.end()
    assert world.seen == NIGHT_RUNS


@pytest.mark.parametrize("fails", [False, True])
def test_what_an_overtaken_agent_says_of_the_work_before_is_not_believed(world: World, fails: bool) -> None:
    world.provider.set_config(NODE, NIGHT)
    world.agent.hears(NIGHT)
    world.agent.take()
    world.provider.set_config(NODE, DAY)  # back, in the middle of the work
    changing = MachineSeen(state=MachineState.CHANGING, config=DAY)
    assert world.seen == changing
    world.agent.hears(DAY)
    world.agent.end(fails=fails)  # of the night, and the label says day
    assert world.seen == changing
    world.clock.pass_s(SETTLE_S / 2)
    assert world.seen == changing
    world.agent.take_next()
    if not fails:  # else the card is still cut as by day: there is nothing to do
        assert world.agent.at_work == DAY
        assert world.seen == changing
        world.agent.end()
        assert world.seen == MachineSeen(state=MachineState.RUNNING, config=DAY)
    world.clock.pass_s(SETTLE_S)
    assert world.seen == MachineSeen(state=MachineState.RUNNING, config=DAY)


def test_a_name_that_was_overtaken_before_it_was_taken_up(world: World) -> None:
    """The agent may have read it already: what it writes is believed when it has stood."""
    world.provider.set_config(NODE, NIGHT)
    world.provider.set_config(NODE, DAY)
    world.agent.hears(NIGHT, DAY)
    world.agent.take()
    assert world.agent.at_work is None
    assert world.seen == MachineSeen(state=MachineState.CHANGING, config=DAY)
    world.clock.pass_s(SETTLE_S)
    assert world.seen == MachineSeen(state=MachineState.RUNNING, config=DAY)


def test_a_success_that_left_the_device_plugin_stopped_is_a_fault_and_the_way_back_mends_it(world: World) -> None:
    world.provider.set_config(NODE, NIGHT)
    world.agent.hears(NIGHT)
    world.agent.take()
    world.agent.end(leaves_paused=True)
    why = f"{world.agent.labels.name} reports success and left {PLUGIN} paused; set it to true"
    assert world.seen == MachineSeen(state=MachineState.RUNNING, config=NIGHT, fault=why)
    world.provider.set_config(NODE, DAY)
    world.agent.hears(DAY)
    world.agent.take()
    world.agent.end()
    assert world.seen == MachineSeen(state=MachineState.RUNNING, config=DAY)


def test_work_whose_end_nobody_wrote_down_stays_changing_and_the_way_back_is_open(world: World) -> None:
    """A write that met another is not repeated by the agent; mig-manager writes none where pods would not go."""
    world.provider.set_config(NODE, NIGHT)
    world.agent.hears(NIGHT)
    world.agent.take()
    world.agent.end(leaves_paused=True, loses_state=True)
    assert world.seen == CHANGING_TO_NIGHT
    world.provider.set_config(NODE, DAY)
    world.agent.hears(DAY)
    world.agent.take()
    world.agent.end()
    world.clock.pass_s(SETTLE_S)
    assert world.seen.state is MachineState.CHANGING  # seen for the first time
    world.clock.pass_s(SETTLE_S)
    assert world.seen == MachineSeen(state=MachineState.RUNNING, config=DAY)


def test_a_node_that_boots_again_in_the_middle_is_changing_until_its_agent_has_run(world: World) -> None:
    world.provider.set_config(NODE, NIGHT)
    world.agent.hears(NIGHT)
    world.agent.take()
    world.cluster.client.label_node(NODE, {world.agent.labels.state: "rebooting"})
    world.agent.stop()
    assert world.seen == CHANGING_TO_NIGHT
    after = NodeAgent(world.cluster.client, NODE, world.agent.labels)
    after.start()
    after.hears(NIGHT)
    after.take()
    assert world.seen == CHANGING_TO_NIGHT
    after.end()
    after.stop()
    assert world.seen == NIGHT_RUNS


def test_a_node_of_which_nobody_asked_anything_runs(world: World) -> None:
    labels = world.agent.labels
    world.cluster.client.label_node(NODE, {labels.config: None, labels.state: None})
    assert world.seen == MachineSeen(state=MachineState.RUNNING)


def test_only_recutting_can_be_done(world: World) -> None:
    names = ("suspend", "resume", "power_off", "power_on", "snapshot", "live_migrate")
    assert world.provider.capabilities(NODE) == Capabilities(
        recuts_in_place=True, why_not=dict.fromkeys(names, IN_PLACE)
    )


@pytest.mark.parametrize("name", ["", "two words", "-x", "x" * 64, "a/b"])
def test_a_name_that_is_no_label_value_is_refused(world: World, name: str) -> None:
    with pytest.raises(ProviderError, match="a configuration's name must be a label value") as caught:
        world.provider.set_config(NODE, name)
    assert caught.value.permanent
