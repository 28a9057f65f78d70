"""Whatever goes wrong, in whatever order: a switch ends in one of its two layouts once the world is healthy again.

The world (tests/fakes/switching.py) itself asserts at every second that the machines of both layouts never hold the GPU
at once, that no machine is stopped under a pod, and that as many workers serve as are needed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.fakes.switch_worlds import node_in_place, own_machines, recut_machines, runner
from tests.fakes.switcher import Runner
from tests.fakes.switching import RefusedError, Trouble, World
from vgpu.core.layout import offered, plan
from vgpu.core.switching.actions import Action, Batch, Settings, Snapshot, StartMachine, StopMachine, Way
from vgpu.core.switching.record import Result, Step, Switch
from vgpu.core.switching.seen import Seen

QUICK = {Step.CHECK: 20.0, Step.CORDON: 10.0, Step.MAKE_ROOM: 20.0, Step.DRAIN: 20.0, Step.STOP: 20.0}
QUICK |= {Step.START: 20.0, Step.READY: 30.0}
WORLDS = (own_machines, recut_machines, node_in_place)
MACHINES = tuple(f"vm-{number}" for number in range(1, 7))
NODES = tuple(f"node-{number}" for number in range(1, 7))


@dataclass(frozen=True)
class Spell:
    """So many passes with something wrong."""

    passes: int
    kinds: frozenset[str]
    names: frozenset[str]

    def trouble(self) -> Trouble:
        def hits(action: Action) -> bool:
            return getattr(action, "machine", getattr(action, "node", "")) in self.names

        def refuse(action: Action) -> RefusedError | None:
            if self.kinds & {"refuse", "forbid"} and hits(action):
                return RefusedError("no", permanent="forbid" in self.kinds)
            return None

        return Trouble(
            refuse=refuse,
            # A snapshot that its provider says it took is believed: nothing of it is seen afterwards.
            ignore=lambda action: "ignore" in self.kinds and hits(action) and not isinstance(action, Snapshot),
            api_away="api" in self.kinds,
            provider_away="provider" in self.kinds,
            autoscaler_away="autoscaler" in self.kinds,
            dead_nodes=self.names & set(NODES) if "dead" in self.kinds else frozenset(),
            wrong_profiles=dict.fromkeys(self.names, "v100-2q-2GB") if "profile" in self.kinds else {},
            endless_pods="endless" in self.kinds,
            failing_configs=frozenset({"all-3g.40gb"}) if "config" in self.kinds else frozenset(),
            stalled_configs=frozenset({"all-1g.10gb", "all-3g.40gb"}) if "stall" in self.kinds else frozenset(),
        )


KINDS = ("refuse", "forbid", "ignore", "api", "provider", "autoscaler", "dead", "profile", "endless", "config", "stall")
KILLS = ("before", "after", "uncordon", "forget")
SPELLS = st.lists(
    st.builds(
        Spell,
        st.integers(1, 40),
        st.frozensets(st.sampled_from(KINDS + KILLS), min_size=1, max_size=3),
        st.frozensets(st.sampled_from((*NODES, *MACHINES)), min_size=2, max_size=8),
    ),
    min_size=1,
    max_size=10,
)


def play(one: Runner, spell: Spell) -> None:
    """Live through a spell; a kill comes with its first pass, and so does a stranger who touches nodes."""
    one.world.trouble = spell.trouble()
    kills = [kind for kind in ("before", "after") if kind in spell.kinds]
    one.meddle = lambda _switch: kills.pop() if kills else ""
    is_over = one.switch.result is not None
    for name in sorted(spell.names & set(one.world.nodes)) if not is_over else ():
        node = one.world.nodes[name]
        if "uncordon" in spell.kinds:
            node.schedulable, node.leaving, node.asleep = True, "", ""
        if "forget" in spell.kinds:
            one.world.forget(name)
    for _ in range(spell.passes):
        if one.switch.result is None:
            one.once()
            one.world.wait(one.settings.interval_s)


@given(
    st.sampled_from(WORLDS),
    SPELLS,
    st.sampled_from(Way),
    st.sampled_from((Batch.EVICT, Batch.WAIT)),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_after_any_faults_a_switch_ends_in_one_of_its_layouts(
    make: Callable[[], World], spells: list[Spell], way: Way, batch: Batch, snapshot: bool
) -> None:
    world = make()
    if batch is Batch.WAIT:
        world.jobs = {}
        world.pods = {key: pod for key, pod in world.pods.items() if pod.is_worker}
    one = runner(world, Settings(way=way, batch=batch, snapshot=snapshot and world.able.snapshot, timeouts_s=QUICK))
    for spell in spells:
        play(one, spell)
    world.trouble, one.meddle = Trouble(), lambda _switch: ""
    switch = one.run()
    event(f"{switch.result} after {switch.exchanges} exchanges")
    assert switch.result is not None, switch
    world.wait(30.0)  # a kubelet that fell silent at the very end is heard of again
    if not any("uncordon" in spell.kinds for spell in spells) or switch.result is not Result.REFUSED:
        assert world.layout_now() == ("night" if switch.result is Result.DONE else "day"), switch
    asked = [action.machine for _, action in one.asked if isinstance(action, StopMachine)]
    if one.settings.snapshot and switch.exchanges == 0:
        assert all(world.machines[name].snapshots == (f"vgpu-switch-{switch.id}",) for name in asked)


class Twice(Runner):
    """Decides everything twice: the second time it must find nothing new to ask for."""

    def decide(self, switch: Switch, look: Seen) -> tuple[Switch, tuple[Action, ...]]:
        first, actions = super().decide(switch, look)
        if first.exchanges > switch.exchanges:
            return first, actions  # it has turned round, and looks the other way from now on
        second, again = super().decide(first, replace(look, faults=()))
        assert {type(action) for action in again} <= {type(action) for action in actions}
        assert replace(second, attempts=0, next_try_at_s=None) == replace(first, attempts=0, next_try_at_s=None)
        return first, actions


@given(st.sampled_from(WORLDS), SPELLS)
@settings(max_examples=60, deadline=None)
def test_the_same_look_twice_asks_for_nothing_more(make: Callable[[], World], spells: list[Spell]) -> None:
    started = runner(make(), Settings(timeouts_s=QUICK))
    one = Twice(started.world, started.settings, started.record)
    for spell in spells:
        play(one, spell)


@given(st.sampled_from(WORLDS), st.booleans())
def test_the_fleet_never_offers_less_than_the_plan_says(make: Callable[[], World], back: bool) -> None:
    world = make()
    beside = {world.nodes["other-1"].profile: 4}
    one = runner(world)
    origin, target = world.day, world.night
    if back:
        one.run()
        one, origin, target = runner(world, origin="night", target="day"), world.night, world.day
    planned = plan("gpu-a", origin, target, beside)

    def capacity() -> dict[str, int]:
        found: dict[str, int] = {}
        for node in world.nodes.values():
            if node.ready and node.schedulable and not node.leaving:
                found[node.profile] = found.get(node.profile, 0) + node.slots
        return found

    lows = []
    while one.switch.result is None:
        one.once()
        lows.append(capacity())
        assert all(lows[-1].get(label, 0) >= count for label, count in planned.lowest.items())
        world.wait(2.0)
    least = {label: min(low.get(label, 0) for low in lows) for label in planned.lowest}
    assert least == planned.lowest
    assert capacity() == {label: n for label, n in planned.steps[-1].capacity.items() if n}
    ours = offered(target.of("gpu-a"))
    assert planned.steps[-1].capacity == {label: beside.get(label, 0) + ours.get(label, 0) for label in planned.lowest}


def test_a_machine_that_comes_is_not_asked_for_before_those_that_leave_are_stopped() -> None:
    one = runner(own_machines())
    one.run()
    asked = [(at_s, type(action)) for at_s, action in one.asked if isinstance(action, StartMachine | StopMachine)]
    last_stop = max(at_s for at_s, kind in asked if kind is StopMachine)
    assert all(at_s > last_stop for at_s, kind in asked if kind is StartMachine)
