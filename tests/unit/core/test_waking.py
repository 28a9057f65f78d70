"""To nothing and back: when a model goes to sleep, what wakes it, and what is said of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autoscaler.core import waking
from autoscaler.core.decision import Reason, SetReplicas, SetWorkers
from autoscaler.core.observation import Missing, MissingReason, Observation, Source
from autoscaler.core.signals import Signal
from autoscaler.core.spec import FleetSpec, GuardrailSettings
from tests import build
from tests.unit.core.fleet import ToyFleet

IDLE_S = 60.0
COLD_START_S = 2.0 + 3.0
"""A worker's and a replica's delay in the toy fleet."""


def sleeper(**fields: Any) -> FleetSpec:
    model = build.model(
        **{"min_replicas": 0, "idle_s": IDLE_S, "max_replicas": 8, "scale_down_window_s": 20.0} | fields
    )
    return build.fleet(model, guardrails=GuardrailSettings(worker_keep_s=10.0))


def fleet(load_per_s: Callable[[float], float], *, learns: bool = True, **given: Any) -> ToyFleet:
    stock = build.inventory(*(build.node(f"n{index}", card=f"GPU-{index}") for index in range(8)))
    return ToyFleet(**{"spec": sleeper(), "stock": stock, "load_per_s": load_per_s, "learns": learns, **given})


def between(*spans: tuple[float, float, float]) -> Callable[[float], float]:
    """A load of so many requests/s in each (from, to, rate), nothing outside."""
    return lambda now_s: sum(rate for from_s, to_s, rate in spans if from_s <= now_s < to_s)


def asleep(seconds: int = 200, **given: Any) -> ToyFleet:
    """A fleet whose load ended at 100 s and whose model then fell asleep."""
    slept = fleet(**{"load_per_s": between((0, 100, 4.0)), **given}).run(seconds)
    assert (slept.target, slept.replicas) == (0, {})
    return slept


def blind_from(at_s: float) -> Callable[[Observation, float], Observation]:
    """A filter under which the ingress is not read any more."""
    gone = Missing(source=Source.INGRESS, name="minilm", reason=MissingReason.UNREACHABLE)
    return lambda seen, now_s: seen if now_s < at_s else replace(seen, ingress=(), missing=(*seen.missing, gone))


either = pytest.mark.parametrize("learns", [True, False], ids=["costs learned", "costs unknown"])


@either
def test_a_model_that_nobody_asks_gives_up_its_last_slot_after_its_idle_time(learns: bool) -> None:
    made = asleep(learns=learns)
    assert made.wanted == 0
    (fell,) = [plan for plan in made.plans if (plan.decisions[0].reason, plan.decisions[0].count) == (Reason.IDLE, 0)]
    assert 100 + IDLE_S <= fell.at_s <= 100 + IDLE_S + 15
    assert SetReplicas(model="minilm", before=1, count=0) in fell.actions
    assert fell.decisions[0].sentence().startswith("minilm: from 1, idleness wanted 0 (no request for 60 s, 60 s allow")


@either
def test_the_first_request_wakes_it_at_once_however_recently_it_fell_asleep(learns: bool) -> None:
    """The request comes in the very second in which the last replica has left."""
    made = asleep(learns=learns, seconds=180)
    changed_s = made.state.models["minilm"].changed_s
    assert changed_s is not None
    again = fleet(between((0, 100, 4.0), (changed_s + 1, changed_s + 2, 1.0)), learns=learns)
    again.run(int(changed_s) + 4)
    (woken,) = [plan for plan in again.plans if plan.decisions[0].reason is Reason.WOKEN]
    assert changed_s < woken.at_s <= changed_s + 3
    assert (woken.decisions[0].current, woken.decisions[0].count) == (0, 1)


@either
def test_it_is_back_within_a_cold_start_and_two_ticks(learns: bool) -> None:
    made = asleep(learns=learns, load_per_s=between((0, 100, 4.0), (300, 400, 1.0)), seconds=300)
    unanswered = made.unanswered
    made.run(int(COLD_START_S) + 2 + 1)
    assert len(made.running()) == 1
    assert 0 < made.unanswered - unanswered <= COLD_START_S + 2


def test_a_rate_that_needs_more_wakes_more_once_costs_are_known() -> None:
    made = asleep(load_per_s=between((0, 100, 4.0), (300, 400, 45.0)), seconds=300)
    made.run(4)
    (woken,) = [plan for plan in made.plans if plan.decisions[0].steps[0].reason is Reason.WOKEN]
    assert woken.decisions[0].steps[0].phrase() == "a request wanted 3 (45 found no replica in 10 s)"
    assert isinstance(woken.actions[0], SetWorkers)
    assert made.counts[-1] == 3


def test_one_request_now_and_then_keeps_one_replica() -> None:
    """One request in 50 s is never in the same window as another, and each comes within the idle time."""
    made = fleet(lambda now_s: 1.0 if now_s % 50 < 1 else 0.0, spec=sleeper(scale_down_window_s=5.0)).run(600)
    assert set(made.counts[20:]) == {1}


def test_a_model_with_a_least_of_one_never_sleeps() -> None:
    made = fleet(between((0, 100, 4.0)), spec=sleeper(min_replicas=1)).run(400)
    assert min(made.counts) == 1


@pytest.mark.parametrize("from_s", [0.0, 130.0], ids=["never read", "lost while idle"])
def test_an_unread_ingress_keeps_the_last_replica(from_s: float) -> None:
    made = fleet(between((0, 100, 4.0)), seen_filter=blind_from(from_s)).run(400)
    assert made.counts[-1] == min(made.counts[10:]) == 1
    assert made.decision.sleeps_in_s is None


def test_an_unread_ingress_wakes_a_model_for_nobody_could_say_who_waits() -> None:
    made = asleep(seen_filter=blind_from(300.0), seconds=300)
    made.run(int(IDLE_S) + 3)
    (woken,) = [plan for plan in made.plans if plan.decisions[0].reason is Reason.INGRESS_UNREADABLE]
    assert woken.at_s == pytest.approx(299.0 + IDLE_S, abs=1.0)
    assert woken.decisions[0].count == 1


def test_a_replica_that_cannot_be_read_is_not_idle() -> None:
    def silent(seen: Observation, now_s: float) -> Observation:
        return seen if now_s < 130 else replace(seen, replicas=())

    made = fleet(between((0, 100, 4.0)), seen_filter=silent).run(400)
    assert made.counts[-1] == 1


def test_an_idle_time_shorter_than_a_start_does_not_end_the_start_it_waits_for() -> None:
    made = fleet(between((300, 301, 1.0)), spec=sleeper(idle_s=2.0), worker_delay_s=30.0, target=0).run(360)
    assert len(made.running()) == 0  # it came, answered nobody, and left again
    running_at = [number for number, plan in enumerate(made.plans) if plan.decisions[0].signals.running]  # type: ignore[union-attr]  # read in every tick
    assert running_at
    assert running_at[0] == pytest.approx(335, abs=2)


def test_a_start_that_takes_longer_than_any_before_is_waited_for_while_somebody_asks() -> None:
    """After 120 s without a start the count would fall to what runs, which is nothing."""
    made = fleet(between((0, 400, 1.0)), worker_delay_s=300.0, target=0).run(290)
    assert set(made.counts[2:]) == {1}
    assert Reason.PENDING_EXPIRED in {step.reason for plan in made.plans for step in plan.decisions[0].steps}


def test_a_restarted_autoscaler_lets_a_sleeping_model_sleep_and_an_idle_one_serve_its_time() -> None:
    slept = asleep(seconds=250)
    slept.state = replace(slept.state, models={})
    assert set(slept.run(100).counts[250:]) == {0}
    idle = fleet(between((0, 100, 4.0))).run(140)
    idle.state = replace(idle.state, models={})
    idle.run(90)
    assert idle.counts[140:195] == [1] * 55
    assert idle.counts[-1] == 0


def test_what_is_ahead_is_said() -> None:
    made = asleep(load_per_s=between((20, 100, 4.0), (300, 301, 3.0)), target=0, seconds=250)
    start_s = made.decision.starts_in_s
    assert start_s is not None
    assert start_s == pytest.approx(COLD_START_S, abs=2)
    assert (made.decision.reason, made.decision.sentence()) == (
        Reason.ASLEEP,
        "minilm: stays at 0: asleep until a request comes",
    )
    assert waking.outlook(made.decision) == f"the first request would start one, ready in about {start_s:.0f} s"
    made.run(53)
    assert (waking.outlook(made.decision) or "").endswith("a replica is expected in about 5 s")
    made.run(27)
    assert made.decision.starts_in_s is None
    sleeps_in_s = made.decision.sleeps_in_s
    assert sleeps_in_s is not None
    assert 0 < sleeps_in_s < IDLE_S
    assert (waking.outlook(made.decision) or "").endswith(
        f"without a request for {sleeps_in_s:.0f} s more it would have none"
    )


def test_while_a_start_goes_on_less_and_less_of_it_is_left() -> None:
    made = asleep(load_per_s=between((20, 100, 4.0), (300, 400, 1.0)), worker_delay_s=20.0, target=0, seconds=300)
    made.run(3)
    left_s = []
    while not made.running():
        left_s.append(made.tick().decisions[0].starts_in_s)
    known = [each for each in left_s if each is not None]
    assert known == sorted(known, reverse=True)
    assert known[0] - known[-1] > 10
    assert min(known) == 5.0


def test_requests_without_a_replica_are_part_of_what_is_offered() -> None:
    made = asleep(load_per_s=between((0, 100, 4.0), (300, 400, 8.0)), worker_delay_s=60.0, seconds=300)
    made.run(30)
    signals = made.decision.signals
    assert signals is not None
    assert signals.unanswered_per_s == signals.offered_per_s == Signal(value=8.0, age_s=0.0)


def test_an_ingress_that_goes_silent_after_a_leap_leaps_no_more() -> None:
    """300 requests found no replica in the last second that was read; the five a second of before go on."""

    def refused(seen: Observation, now_s: float) -> Observation:
        if now_s > 400:
            return blind_from(0.0)(seen, now_s)
        return replace(seen, ingress=(build.ingress(300 if now_s == 400 else 0, now_s),))

    heard = fleet(lambda _: 5.0, seen_filter=refused).run(402)
    assert heard.counts[-1] > 2
    assert heard.run(600).counts[-1] == 1
