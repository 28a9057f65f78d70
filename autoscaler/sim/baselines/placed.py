"""The clairvoyant's counts on the places it knows to be best: without them it would be no bound.

New workers go to the free slots of the cards that will have most left over the next ten minutes, and of the replicas
that leave, those on the fullest cards leave first, by draining their workers. All else is `Plain`.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.decision import Action, DrainWorkers, SetReplicas, SetWorkers, rank
from autoscaler.core.observation import ReplicaState
from autoscaler.sim.baselines.crowding import SEGMENT_S, busyness, foreign_load
from autoscaler.sim.baselines.queueing import Profile
from autoscaler.sim.controller import Law, Plain, View
from autoscaler.sim.world import World

AHEAD_SEGMENTS = 10


class Placed:
    """A controller: `law` counts, this places; `span_s` is how long loads of foreign tenants are looked up for."""

    def __init__(self, law: Law, world: World, *, span_s: float) -> None:
        self.interval_s = law.interval_s
        self._plain = Plain(law)
        self._world = world
        self._profile = Profile.of(world.models[0])
        self._load = foreign_load(world, int(span_s // SEGMENT_S) + AHEAD_SEGMENTS)
        self._card_of_node = {world.node_name(slot): world.card_of(slot) for slot in world.own_slots}

    def tick(self, view: View) -> Sequence[Action]:
        """Plain's actions with nodes for what comes and victims for what goes."""
        actions: list[Action] = []
        for action in self._plain.tick(view):
            match action:
                case SetWorkers(before=before, count=count) if count > before:
                    nodes = self._best_nodes(view, count - before)
                    actions.append(SetWorkers(pool=action.pool, before=before, count=count, preferred_nodes=nodes))
                case SetReplicas(model=model, before=before, count=count) if count < before:
                    workers = self._victims(view, model, count)
                    actions += [DrainWorkers(model=model, workers=workers)] if workers else []
                    actions.append(action)
                case _:
                    actions.append(action)
        return sorted(actions, key=rank)

    def reset(self) -> None:
        """It knows everything anew."""

    def _best_nodes(self, view: View, count: int) -> tuple[str, ...]:
        free: dict[int, list[str]] = {}
        for slot in view.inventory.free_slots:
            if slot.node in self._card_of_node:
                free.setdefault(self._card_of_node[slot.node], []).append(slot.node)
        held = self._held(view)
        nodes = []
        for _ in range(count):
            order = self._order(view.now_s, held)
            card = next((card for card in order if free.get(card)), None)
            if card is None:
                break
            nodes.append(free[card].pop(0))
            held[card] += 1
        return tuple(nodes)

    def _victims(self, view: View, model: str, count: int) -> tuple[str, ...]:
        """The workers of the running replicas that leave, one at a time from the card that is then the fullest."""
        by_card: dict[int, list[str]] = {}
        running = 0
        for pod, node in self._homes(view, model):
            running += 1
            by_card.setdefault(self._card_of_node[node], []).append(pod)
        held = self._held(view)
        victims = []
        for _ in range(running - count):
            card = next(card for card in reversed(self._order(view.now_s, held)) if by_card.get(card))
            victims.append(by_card[card].pop())
            held[card] -= 1
        return tuple(victims)

    def _homes(self, view: View, model: str) -> Iterator[tuple[str, str]]:
        """Worker and node of each running replica of `model` whose worker is ready and not drained."""
        nodes = {
            worker.pod: worker.node
            for pool in view.seen.pools
            for worker in pool.live
            if worker.node is not None and worker.ready and not worker.draining
        }
        for seen in view.seen.deployments:
            for replica in seen.replicas if seen.model == model else ():
                node = nodes.get(replica.worker or "")
                if replica.state is ReplicaState.RUNNING and replica.worker is not None and node is not None:
                    yield replica.worker, node

    def _held(self, view: View) -> NDArray[np.float64]:
        held = np.zeros(self._world.cards)
        for node in view.inventory.nodes:
            if node.name in self._card_of_node:
                held[self._card_of_node[node.name]] += len(node.held)
        return held

    def _order(self, now_s: float, held: NDArray[np.float64]) -> list[int]:
        """Cards, those with most left first."""
        segment = min(int(now_s // SEGMENT_S), len(self._load) - AHEAD_SEGMENTS)
        load = self._load[segment : segment + AHEAD_SEGMENTS].mean(axis=0)
        order: list[int] = np.argsort(busyness(self._world, self._profile, load, held), kind="stable").tolist()
        return order
