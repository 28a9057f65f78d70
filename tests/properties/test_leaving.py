"""What holds for any evacuation: of any nodes, at any time, with readings lost, short or not, taken back or not."""

from dataclasses import replace
from itertools import groupby, pairwise
from random import Random

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from autoscaler.adapters import view
from autoscaler.core.decision import SetReplicas, SetWorkers
from autoscaler.core.observation import Missing, MissingReason, Observation, Source
from autoscaler.core.spec import ModelSpec
from tests import build
from tests.unit.core import two_types
from tests.unit.core.fleet import ToyFleet
from tests.unit.core.joined_fleet import JoinedFleet
from tests.unit.core.two_types import BIG, SMALL
from vgpu.core.share import SchedulerPolicy

SETTLED_S = 480  # a fall is held for up to 300 s, and settles
UNREACHABLE = MissingReason.UNREACHABLE
LOADS = st.sampled_from([0.0, 6.0, 14.0, 30.0, 45.0])


class Evacuated(ToyFleet):
    """A toy fleet that watches itself: nothing new on leaving nodes, and nobody lost for them."""

    lost: float = 0.0
    """The part of all slot readings that is not there."""

    def leave(self, *nodes: str) -> None:
        self.stock = build.leaving(self.stock, *nodes)

    def on_leaving(self) -> set[str]:
        """Workers there."""
        return {slot.holder for node in self.stock.nodes if node.leaving for slot in node.held if slot.holder}

    def step(self) -> None:
        workers, replicas, before = self.on_leaving(), set(self.replicas), len(self.running())
        room = len(self.workers) + len(self.stock.free_slots)
        plan = self.tick()
        born = [each.worker for key, each in self.replicas.items() if key not in replicas]
        assert not self.on_leaving() & set(born)
        assert self.on_leaving() <= workers
        there = {node.name for node in self.stock.nodes if node.usable}
        for action in plan.actions:
            if isinstance(action, SetWorkers):
                assert set(action.preferred_nodes) <= there
                assert action.count <= max(action.before, room)
        for decision in plan.decisions:
            need = view.desired(decision)
            assert len(self.running()) >= min(before, need)


def fleet(nodes: int, load_per_s: float, policy: SchedulerPolicy, *, learns: bool, delay_s: float) -> Evacuated:
    stock = build.inventory(*(build.node(f"n{i}", slots=2, card=f"GPU-{i}", policy=policy) for i in range(nodes)))
    model = build.model(min_replicas=1, max_replicas=4, scale_down_window_s=30.0)
    return Evacuated(
        spec=build.fleet(model), stock=stock, load_per_s=lambda _: load_per_s, learns=learns, replica_delay_s=delay_s
    )


any_fleet = st.builds(
    fleet,
    st.integers(1, 4),
    LOADS,
    st.sampled_from(SchedulerPolicy),
    learns=st.booleans(),
    delay_s=st.sampled_from([2.0, 20.0]),
)
# A story takes half a second, and to make it shorter would take minutes.
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
settled = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=UNSHRUNK)


@settled
@given(any_fleet, st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 1.0]))
def test_whatever_leaves_and_stays_nothing_new_comes_there_and_nobody_is_missed(
    there: Evacuated, seed: int, loss: float
) -> None:
    random = Random(seed)

    def hide(seen: Observation, _now_s: float) -> Observation:
        kept = tuple(reading for reading in seen.slots if random.random() >= loss)
        deployments = tuple(each for each in seen.deployments if random.random() >= loss / 4)
        pools = tuple(each for each in seen.pools if random.random() >= loss / 4)
        lost = () if deployments else (Missing(source=Source.DEPLOYMENT, name="minilm", reason=UNREACHABLE),)
        return replace(seen, slots=kept, deployments=deployments, pools=pools, missing=(*seen.missing, *lost))

    there.run(30)
    there.seen_filter = hide
    names = [node.name for node in there.stock.nodes]
    for _ in range(random.randint(2, 6)):
        there.leave(*random.sample(names, random.randint(0, len(names))))
        for _ in range(random.randint(1, 40)):
            there.step()
            if random.random() < 0.02:
                there.state = replace(there.state, models={}, surplus_since_s={})


@settled
@given(any_fleet, st.integers(0, 10**6))
def test_where_there_is_room_everything_is_gone_in_time(there: Evacuated, seed: int) -> None:
    """A worker takes 2 s, a replica 2 or 20; with nothing lost the nodes are empty after that and a few ticks."""
    there.run(60)
    names = sorted({slot.node for slot in there.stock.slots if slot.holder})
    fresh = [build.node(f"s{i}", slots=1, card=f"GPU-s{i}") for i in range(4)]
    there.stock = build.inventory(*there.stock.nodes, *fresh)
    there.leave(*Random(seed).sample(names, Random(seed).randint(1, len(names))))
    for _ in range(60):
        there.step()
    assert there.on_leaving() == set()


@settled
@given(any_fleet, st.integers(0, 10**6), st.integers(1, 40))
def test_what_is_taken_back_half_way_comes_to_rest_without_going_to_and_fro(
    there: Evacuated, seed: int, after_s: int
) -> None:
    """At most one step up, and none after a fall: a replica that was to go is wanted again where it still runs, and on
    cards that filled up meanwhile it may take one more until they are empty again. About one story in fifty does so."""
    there.run(200)
    names = [node.name for node in there.stock.nodes]
    there.leave(*Random(seed).sample(names, Random(seed).randint(1, len(names))))
    for _ in range(after_s):
        there.step()
    there.leave()
    first = len(there.plans)
    for _ in range(SETTLED_S):
        there.step()
    path = [count for count, _ in groupby(there.counts[first:])]
    targets = [each for plan in there.plans[first:] for each in plan.actions if isinstance(each, SetReplicas)]
    for rises in ([later > one for one, later in pairwise(path)], [each.count > each.before for each in targets]):
        assert not any(rises[1:])
    assert len(set(there.counts[-60:])) == 1
    assert len(there.workers) == there.counts[-1]


class JoinedEvacuation(JoinedFleet):
    """As `Evacuated`, for several models and slot types."""

    def leave(self, *nodes: str) -> None:
        self.stock = build.leaving(self.stock, *nodes)

    def on_leaving(self) -> set[str]:
        return {slot.holder for node in self.stock.nodes if node.leaving for slot in node.held if slot.holder}

    def step(self) -> None:
        workers, before = self.on_leaving(), {name: len(self.running(name)) for name in self.replicas}
        born = {key for mine in self.replicas.values() for key in mine}
        self.tick()
        assert self.on_leaving() <= workers
        for mine in self.replicas.values():
            assert not self.on_leaving() & {each.worker for key, each in mine.items() if key not in born}
        for decision in self.plans[-1].decisions:
            assert len(self.running(decision.model)) >= min(before[decision.model], view.desired(decision))


MODELS = {
    "big": (build.model("b", pool=BIG, max_replicas=4), build.model("s", pool=BIG, max_replicas=4)),
    "joined": (build.model("b", pool=BIG, max_replicas=4), two_types.model("s")),
    "chain": (two_types.model("b"), two_types.model("s"), build.model("t", pool=SMALL, max_replicas=3)),
}


def joined(models: tuple[ModelSpec, ...], load_per_s: float, *, big: int, small: int) -> JoinedEvacuation:
    return JoinedEvacuation(
        spec=two_types.fleet(*models),
        stock=two_types.stock(big=big, small=small),
        loads_per_s={model.name: lambda _: load_per_s for model in models},
        engine_s={BIG: 0.03, SMALL: 0.05},
    )


joined_fleets = st.builds(
    joined,
    st.sampled_from(list(MODELS.values())),
    st.sampled_from([4.0, 15.0, 40.0]),
    big=st.integers(2, 4),
    small=st.integers(1, 3),
)


@settled
@given(joined_fleets, st.integers(0, 10**6))
def test_several_models_leave_side_by_side(there: JoinedEvacuation, seed: int) -> None:
    random, names = Random(seed), [node.name for node in there.stock.nodes]
    there.run(100)
    for _ in range(random.randint(1, 4)):
        there.leave(*random.sample(names, random.randint(0, len(names))))
        for _ in range(random.randint(1, 60)):
            there.step()


@settled
@given(joined_fleets, st.integers(0, 10**6))
def test_several_models_are_gone_in_time_where_there_is_room(there: JoinedEvacuation, seed: int) -> None:
    there.run(150)
    names = [node.name for node in there.stock.nodes]
    more = two_types.stock(big=16, small=8)
    there.stock = build.inventory(*there.stock.nodes, *(node for node in more.nodes if node.name not in names))
    there.leave(*Random(seed).sample(names, Random(seed).randint(1, len(names))))
    for _ in range(90):
        there.step()
    assert there.on_leaving() == set()
