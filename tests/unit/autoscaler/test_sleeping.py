"""The loop and its ingress: a model without a replica is woken, and clients are told when to come back."""

from autoscaler.core.decision import Reason
from autoscaler.core.observation import Missing, MissingReason, Source
from autoscaler.ports import Tick
from tests.fakes.ingress import FakeIngress
from tests.unit.autoscaler.whole import POOL, Load, Whole, quick_spec, whole

QUIET = Load(per_s=0.0, in_flight=0)
SLEEPER = quick_spec(min_replicas=0, idle_s=10.0)


def unasked(ingress: FakeIngress | None) -> Whole:
    """One replica that nobody asks, on a card where nobody else works."""
    around = whole(spec=SLEEPER, load=QUIET, ingress=ingress)
    around.metrics.busy_ratio = 0.0
    return around


def asleep() -> tuple[Whole, FakeIngress]:
    """A model that nobody asks, without replica and worker."""
    ingress = FakeIngress({"minilm": 0})
    around = unasked(ingress)
    around.run(40)
    assert (around.replicas, around.cluster.workers) == (0, {})
    return around, ingress


def reason(tick: Tick) -> Reason:
    assert tick.plan is not None
    return tick.plan.decisions[0].reason


def test_a_model_that_nobody_asks_goes_and_comes_with_the_first_request() -> None:
    around, ingress = asleep()
    assert around.changes == [("minilm", 0), (POOL, 0, (), ("serving/v100-8q-1",))]
    ingress.unanswered["minilm"] += 1
    (woken,) = around.run(1)
    assert reason(woken) is Reason.WOKEN
    around.run(5)
    assert around.replicas == 1


def test_clients_hear_how_long_a_start_takes_once_one_was_seen() -> None:
    around, ingress = asleep()
    assert ingress.starts_s == {}  # the replica that was there at first was nobody's wish
    ingress.unanswered["minilm"] += 1
    around.run(60)
    assert around.replicas == 0
    assert ingress.starts_s["minilm"] > 0


def test_an_ingress_that_is_away_is_named_keeps_the_last_replica_and_stops_nothing_else() -> None:
    ingress = FakeIngress({"minilm": 0}, is_away=True)
    around = unasked(ingress)
    ticks = around.run(60)
    assert around.replicas == 1
    assert ticks[0].problems[0].startswith("ingress /metrics: nobody listens; next try in ")
    gone = Missing(source=Source.INGRESS, name="minilm", reason=MissingReason.UNREACHABLE)
    assert gone in ticks[-1].seen.missing
    assert [tick.failed_actions for tick in ticks] == [()] * len(ticks)


def test_who_asked_while_the_ingress_was_away_is_heard_soon_after_it_is_back() -> None:
    around, ingress = asleep()
    ingress.is_away = True
    around.run(30)
    ingress.is_away, ingress.process, ingress.unanswered["minilm"] = False, "2", 1
    ticks = around.run(5)
    assert Reason.WOKEN in [reason(tick) for tick in ticks]


def test_without_an_ingress_nothing_sleeps() -> None:
    around = unasked(None)
    around.run(120)
    assert around.replicas == 1


def test_who_does_not_lead_tells_nobody_anything() -> None:
    around, ingress = asleep()
    ingress.unanswered["minilm"] += 1
    around.run(60)
    ingress.starts_s.clear()
    around.leadership.held = False
    around.run(5)
    assert ingress.starts_s == {}


def test_a_time_that_could_not_be_told_is_a_problem_and_nothing_more() -> None:
    around, ingress = asleep()
    ingress.unanswered["minilm"] += 1
    around.run(60)
    ingress.is_deaf = True
    (tick,) = around.run(1)
    assert tick.problems[-1] == "ingress /starts: answered 404; clients are told the usual time to come back"
    assert tick.failed_actions == ()


def test_an_ingress_that_did_not_answer_is_told_nothing_in_the_same_tick() -> None:
    around, ingress = asleep()
    ingress.unanswered["minilm"] += 1
    around.run(60)
    ingress.is_away = True
    (tick,) = around.run(1)
    assert [problem for problem in tick.problems if "ingress" in problem] == [
        "ingress /metrics: nobody listens; next try in 0.8 s"
    ]
