"""Three GPUs that are switched between day and night: machines of their own, machines cut anew, a node cut in place.

Beside them stand nodes of another card, which no switch touches and which take what must move.
"""

from tests.fakes.switcher import Runner
from tests.fakes.switching import IN_PLACE, RUNNING, SUSPENDED, Machine, Node, Pod, World
from vgpu.core.layout import Guest, Layout, PhysicalGpu
from vgpu.core.profile import parse_profile
from vgpu.core.switching.actions import Settings
from vgpu.core.switching.record import Asked, Cause
from vgpu.core.switching.state_machine import begin
from vgpu.core.switching.text import render

QUARTER, HALF, WHOLE = (parse_profile(text) for text in ("v100-4q-4GB", "v100-8q-8GB", "v100-16q-16GB"))
SEVENTH, THIRD = parse_profile("a100dx-1-10c-10GB"), parse_profile("a100dx-3-40c-40GB")
V100 = PhysicalGpu(name="gpu-a", board="v100")


def guest(number: int, profile: str, machine: str = "") -> Guest:
    return Guest(node=f"node-{number}", profile=parse_profile(profile), machine=machine or f"vm-{number}")


def own_machines() -> World:
    """By day four quarters, by night two halves, each a machine of its own; workers and jobs on both."""
    day = Layout(name="day", guests={"gpu-a": tuple(guest(number, "v100-4q-4GB") for number in range(1, 5))})
    night = Layout(name="night", guests={"gpu-a": tuple(guest(number, "v100-8q-8GB") for number in (5, 6))})
    machines, nodes = _awake(day)
    for sleeper in night.of("gpu-a"):
        machines[sleeper.vm] = Machine(SUSPENDED, sleeper.profile.label)
        nodes[sleeper.node] = Node(
            sleeper.vm, 1, ready=False, schedulable=False, asleep="day", profile=sleeper.profile.label
        )
    world = World(V100, day, night, machines, nodes, workers_needed=4, jobs={QUARTER.label: 1, HALF.label: 2})
    for number, node in enumerate(("node-1", "node-2", "node-3", "other-1")):
        world.pods[f"serving/chat-{number}"] = Pod(QUARTER.label, True, node)
    world.pods["jobs/train-0"] = Pod(QUARTER.label, False, "node-4")
    world.counted = 4
    return world


def recut_machines() -> World:
    """By day two quarters, by night the first of the two machines has the whole GPU and the second sleeps."""
    day = Layout(name="day", guests={"gpu-a": (guest(1, "v100-4q-4GB"), guest(2, "v100-4q-4GB"))})
    night = Layout(name="night", guests={"gpu-a": (guest(1, "v100-16q-16GB"),)})
    machines, nodes = _awake(day)
    world = World(V100, day, night, machines, nodes, workers_needed=2, jobs={WHOLE.label: 1})
    for number in (1, 2):
        world.pods[f"serving/chat-{number}"] = Pod(QUARTER.label, True, f"node-{number}")
    world.counted = 2
    return world


def node_in_place() -> World:
    """One node cut by MIG: by day seven instances, by night two larger ones."""
    gpu = PhysicalGpu(name="gpu-a", board="a100dx", recuts_in_place=True)
    small = Guest(node="node-1", profile=SEVENTH, slots=7, config="all-1g.10gb")
    large = Guest(node="node-1", profile=THIRD, slots=2, config="all-3g.40gb")
    day, night = Layout(name="day", guests={"gpu-a": (small,)}), Layout(name="night", guests={"gpu-a": (large,)})
    machines, nodes = _awake(day)
    world = World(gpu, day, night, machines, nodes, workers_needed=2, jobs={THIRD.label: 1}, able=IN_PLACE)
    for number in range(2):
        world.pods[f"serving/chat-{number}"] = Pod(SEVENTH.label, True, "node-1")
    world.counted = 2
    return world


def _awake(day: Layout) -> tuple[dict[str, Machine], dict[str, Node]]:
    machines, nodes = {}, {}
    for one in day.of("gpu-a"):
        machines[one.vm] = Machine(RUNNING, one.profile.label, config=one.config)
        nodes[one.node] = _running_node(one.vm, one.slots, one.profile.label)
    label = day.of("gpu-a")[0].profile.label
    for number in range(1, 5):
        machines[f"other-{number}"] = Machine(RUNNING, label)
        nodes[f"other-{number}"] = _running_node(f"other-{number}", 1, label)
    return machines, nodes


def _running_node(machine: str, slots: int, profile: str) -> Node:
    return Node(machine, slots, ready=True, schedulable=True, profile=profile, heard_s=999.0)


def runner(world: World, settings: Settings | None = None, origin: str = "day", target: str = "night") -> Runner:
    """A switcher that has just taken up a request."""
    asked = Asked(id="20261123-1", layout=target, cause=Cause.HAND, at_s=world.now_s)
    return Runner(world, settings or Settings(), render(begin(asked, world.gpu.name, origin, target, world.now_s)))
