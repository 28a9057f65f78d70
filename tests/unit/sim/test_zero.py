"""A model that may have no replica, in a simulation: its load stops for a quarter of an hour and comes again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from autoscaler.core.decision import Action, Reason
from autoscaler.sim.controller import Ours, View
from autoscaler.sim.simulation import Outcome, run
from autoscaler.sim.world import World
from tests.unit.sim.rig import evenly, model, world

STOPS_S, BACK_S, SPAN_S = 600.0, 1500.0, 2100.0
IDLE_S = 300.0
COLD_START_S = 10.0 + 30.0
INTERVAL_S = 5.0
ARRIVALS = {"m0": np.concatenate([evenly(4, 0, STOPS_S), evenly(4, BACK_S, SPAN_S)])}


def sleeping(**fields: float) -> World:
    return world(model(min_replicas=0, idle_s=IDLE_S, **fields), cards=2)


@dataclass
class Watched:
    """Ours, with what it was shown of the fleet in each tick."""

    ours: Ours = field(default_factory=lambda: Ours(interval_s=INTERVAL_S, keep_plans=True))
    interval_s: float = INTERVAL_S
    running: list[tuple[float, int]] = field(default_factory=list)

    def tick(self, view: View) -> Sequence[Action]:
        self.running.append((view.now_s, len(view.seen.deployments[0].running_ids)))
        return self.ours.tick(view)

    def reset(self) -> None:
        self.ours.reset()


@pytest.fixture(scope="module")
def story() -> tuple[Watched, Outcome]:
    watched = Watched()
    return watched, run(sleeping(), ARRIVALS, watched, seed=1, span_s=SPAN_S, warm_up_s=0.0)


def test_slots_fall_to_none_after_the_idle_time_and_come_back_with_the_load(story: tuple[Watched, Outcome]) -> None:
    _, outcome = story
    times_s, slots = outcome.timeline.time_s, outcome.timeline.slots
    asleep = (times_s >= STOPS_S + IDLE_S + 60) & (times_s < BACK_S)
    assert asleep.sum() > 30
    assert slots[asleep].max() == 0
    assert slots[(times_s > 60) & (times_s < STOPS_S + IDLE_S)].min() >= 1
    assert slots[times_s > BACK_S + 60].min() >= 1
    assert outcome.slot_hours < (SPAN_S - (BACK_S - STOPS_S - IDLE_S) + 60) / 3600 * 1.5


def test_the_first_requests_are_refused_until_a_replica_is_back_a_cold_start_later(
    story: tuple[Watched, Outcome],
) -> None:
    watched, outcome = story
    back_s = next(at_s for at_s, running in watched.running if at_s > BACK_S and running)
    assert back_s <= BACK_S + COLD_START_S + 2 * INTERVAL_S
    # 4 requests/s from the first to the replica's first second; none of the load before it was refused.
    assert outcome.refused == pytest.approx(4 * (COLD_START_S + INTERVAL_S), abs=4 * 2 * INTERVAL_S)
    assert outcome.failed == 0


def test_the_reasons_are_told(story: tuple[Watched, Outcome]) -> None:
    watched, _ = story
    reasons = [(plan.at_s, plan.decisions[0].steps[0].reason) for plan in watched.ours.plans]
    woken_s = [at_s for at_s, reason in reasons if reason is Reason.WOKEN]
    idle_s = [at_s for at_s, reason in reasons if reason is Reason.IDLE]
    assert woken_s == [BACK_S + INTERVAL_S]
    assert STOPS_S + IDLE_S <= idle_s[0] <= STOPS_S + IDLE_S + 2 * INTERVAL_S


def test_it_may_begin_without_a_replica() -> None:
    outcome = run(sleeping(start_replicas=0), {"m0": evenly(1, 100, 400)}, Ours(), seed=1, span_s=400.0, warm_up_s=0.0)
    assert outcome.timeline.slots[:9].max() == 0
    assert outcome.timeline.replicas[-1] == 1


def test_where_every_slot_is_taken_another_model_yields_one_to_who_was_woken() -> None:
    busy, sleeper = model("m0", start_replicas=2), model("m1", min_replicas=0, start_replicas=0)
    arrivals = {"m0": evenly(40, 0, 900), "m1": evenly(1, 600, 900)}
    of = world(busy, sleeper, cards=1, slots_per_card=2)
    outcome = run(of, arrivals, Ours(interval_s=INTERVAL_S), seed=1, span_s=900.0, warm_up_s=0.0)
    counts = {name: made.timeline.replicas for name, made in outcome.models.items()}
    times_s = outcome.timeline.time_s
    assert (counts["m0"][times_s < 600].min(), counts["m1"][times_s < 600].max()) == (2, 0)
    assert (counts["m0"][-1], counts["m1"][-1]) == (1, 1)
