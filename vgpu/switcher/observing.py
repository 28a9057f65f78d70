"""What is seen of one GPU's machines, nodes and pods, for one pass: what cannot be read is Missing, with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vgpu.adapters.kube_errors import Unavailable
from vgpu.core.layout import Difference, Guest, SwitchPlan, difference, plan
from vgpu.core.profile import ProfileError
from vgpu.core.switching.actions import Action
from vgpu.core.switching.record import Step, Switch
from vgpu.core.switching.seen import Capabilities, Fault, MachineSeen, Missing, NodeSeen, PodSeen, Seen
from vgpu.switcher.cluster import Cluster
from vgpu.switcher.config import Config
from vgpu.switcher.connections import Connections
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.room import Fleet, View, Wanted, parse_fleet, unseated

_UNASKED = Missing(why="not asked for at this step")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What became of the actions of the pass before; both are empty after a restart."""

    faults: tuple[Fault, ...] = ()
    done: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Observer:
    """Reads the world for one pass of one GPU."""

    cluster: Cluster
    view: View
    connections: Connections
    _able: dict[str, Mapping[str, Capabilities]] = field(default_factory=dict)

    def look(
        self,
        config: Config,
        switch: Switch,
        change: Difference,
        before: Aftermath,
        besides: frozenset[str] = frozenset(),
    ) -> Seen:
        """Everything that a pass may depend on; room for the check alone, capabilities as they were at the check.

        Machines are read before nodes: the heartbeat of a node whose machine is seen stopped is its last one then.
        """
        guests = (*change.leaving, *change.coming)
        machines = self._machines(config, switch.gpu, guests)
        nodes = self._nodes(guests)
        checking = switch.step is Step.CHECK
        return Seen(
            nodes=nodes,
            pods=self._pods(guests, nodes),
            machines=machines,
            capabilities=self._able_of(config, switch.gpu, guests, afresh=checking),
            room=self.room(change, besides) if checking else _UNASKED,
            faults=before.faults,
            done=before.done,
        )

    def capabilities(self, config: Config, gpu: str, guests: Sequence[Guest]) -> Mapping[str, Capabilities] | Missing:
        """What the provider can do with each machine now."""
        name = config.provider_of[gpu]
        try:
            with self.connections.using(name, config.providers[name], "capabilities") as provider:
                return {guest.vm: provider.capabilities(guest.vm) for guest in guests}
        except ProviderError as fault:
            return Missing(why=f"provider {name}: {fault}")

    def room(self, change: Difference, besides: frozenset[str] = frozenset()) -> Mapping[str, int] | Missing:
        """By model, the replicas that find no seat while neither those who leave nor those who come are there.

        Nor are the nodes of other switches, `besides`.
        """
        wanted = self.view.wanted()
        if isinstance(wanted, Missing):
            return replace(wanted, why=f"nobody could say whether the remaining capacity suffices: {wanted.why}")
        if not wanted:
            return {}
        fleet = self.fleet(wanted)
        if isinstance(fleet, Missing):
            return fleet
        touched = besides | {guest.node for guest in (*change.leaving, *change.coming)}
        return unseated(wanted, fleet.capacity(without=touched))

    def plan(self, config: Config, gpu: str, origin: str, target: str) -> SwitchPlan | Missing:
        """The steps of a switch and what the whole fleet offers at each, as the fleet is now."""
        fleet = self.fleet(())
        if isinstance(fleet, Missing):
            return fleet
        before, after = config.layouts[origin], config.layouts[target]
        own = {guest.node for guest in (*before.of(gpu), *after.of(gpu))}
        return plan(gpu, before, after, fleet.offered(without=own))

    def fleet(self, wanted: Sequence[Wanted]) -> Fleet | Missing:
        """All slots of the cluster."""
        try:
            nodes, pods = self.cluster.everything()
            return parse_fleet(nodes, pods, wanted)
        except Unavailable as fault:
            return Missing(why=str(fault))
        except ProfileError as fault:
            return Missing(why=f"the autoscaler names a slot type that nobody knows: {fault}")

    def _able_of(
        self, config: Config, gpu: str, guests: Sequence[Guest], *, afresh: bool
    ) -> Mapping[str, Capabilities] | Missing:
        known = self._able.get(gpu, {})
        if not afresh and known.keys() >= {guest.vm for guest in guests}:
            return known
        found = self.capabilities(config, gpu, guests)
        if not isinstance(found, Missing):
            self._able[gpu] = found
        return found

    def _machines(self, config: Config, gpu: str, guests: Sequence[Guest]) -> Mapping[str, MachineSeen] | Missing:
        name = config.provider_of[gpu]
        try:
            with self.connections.using(name, config.providers[name], "look") as provider:
                return provider.look(sorted({guest.vm for guest in guests}))
        except ProviderError as fault:
            return Missing(why=f"provider {name}: {fault}")

    def _nodes(self, guests: Sequence[Guest]) -> Mapping[str, NodeSeen] | Missing:
        try:
            return self.cluster.nodes(guest.node for guest in guests)
        except Unavailable as fault:
            return Missing(why=str(fault))

    def _pods(self, guests: Sequence[Guest], nodes: Mapping[str, NodeSeen] | Missing) -> tuple[PodSeen, ...] | Missing:
        if isinstance(nodes, Missing):
            return nodes  # the same API: asking again would cost its timeout once more
        try:
            return self.cluster.pods(guest.node for guest in guests)
        except Unavailable as fault:
            return Missing(why=str(fault))


def change_between(config: Config, gpu: str, origin: str, target: str) -> Difference | None:
    """How a GPU's guests differ between two layouts; None where the file does not have one of them for it."""
    before, after = config.guests(origin, gpu), config.guests(target, gpu)
    return None if before is None or after is None else difference(before, after)
