"""To nothing and back, over random loads and lost readings: what must hold in every tick of a model that may sleep."""

from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.core.decision import Reason
from autoscaler.core.observation import Observation
from autoscaler.core.spec import GuardrailSettings
from tests import build
from tests.unit.core.fleet import ToyFleet

MODEL = build.model(min_replicas=0, idle_s=20.0, max_replicas=4, scale_down_window_s=10.0)
LIMITS = GuardrailSettings(worker_keep_s=5.0, settle_down_s=5.0, pending_timeout_s=15.0, pending_backoff_s=10.0)
SPAN_S = 160


class Troubles:
    """Seconds with and without requests, and each second a chance that some reading is lost; all by a seed."""

    def __init__(self, seed: int, loss: float) -> None:
        random = Random(seed)
        self.lost = Random(seed + 1)
        self.loss = loss
        spans = [(random.choice([0.0, 0.0, 1.0, 8.0, 30.0]), random.randrange(2, 60)) for _ in range(40)]
        self.loads = [load for load, length in spans for _ in range(length)]

    def load_per_s(self, now_s: float) -> float:
        return self.loads[int(now_s)]

    def hide(self, seen: Observation, _now_s: float) -> Observation:
        def keep(readings: tuple) -> tuple:
            return tuple(reading for reading in readings if self.lost.random() >= self.loss)

        return replace(seen, replicas=keep(seen.replicas), slots=keep(seen.slots), ingress=keep(seen.ingress))


def story(seed: int, loss: float, *, learns: bool) -> tuple[ToyFleet, list[Observation]]:
    """A fleet after its story, and what its autoscaler was shown in each tick."""
    troubles = Troubles(seed, loss)
    shown: list[Observation] = []

    def show(seen: Observation, now_s: float) -> Observation:
        shown.append(troubles.hide(seen, now_s))
        return shown[-1]

    cards = build.inventory(*(build.node(f"n{index}", slots=2, card=f"GPU-{index}") for index in range(3)))
    fleet = ToyFleet(
        spec=build.fleet(MODEL, guardrails=LIMITS),
        stock=cards,
        load_per_s=troubles.load_per_s,
        seen_filter=show,
        learns=learns,
        replica_delay_s=float(Random(seed).choice([1, 5, 40])),
    )
    return fleet.run(SPAN_S), shown


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 0.5]), st.booleans())
def test_a_model_goes_to_nothing_only_when_everything_says_that_nobody_asks(
    seed: int, loss: float, learns: bool
) -> None:
    fleet, shown = story(seed, loss, learns=learns)
    policy = fleet.spec.policy
    for number, plan in enumerate(fleet.plans):
        (decision,) = plan.decisions
        if decision.count or not decision.current:
            continue
        assert decision.reason is Reason.IDLE
        assert decision.signals is not None
        assert not decision.signals.gaps
        # Fresh: read within the age that is allowed.
        since = max(0, number - int(policy.max_age_s))
        assert any(seen.ingress for seen in shown[since : number + 1])
        # The replica that is left shows a request a second later; a fluid load of one a second is one request.
        quiet_from = int(plan.at_s - MODEL.idle_s) + 2
        assert not any(fleet.load_per_s(float(at_s)) for at_s in range(max(0, quiet_from), int(plan.at_s) - 1))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3]), st.booleans())
def test_a_request_that_found_no_replica_and_was_seen_wakes_the_model_in_the_same_tick(
    seed: int, loss: float, learns: bool
) -> None:
    fleet, shown = story(seed, loss, learns=learns)
    last = None
    for plan, seen in zip(fleet.plans, shown, strict=True):
        if not seen.ingress:
            continue
        (sample,) = seen.ingress
        if last is not None and sample.unanswered > last:
            assert plan.decisions[0].count >= 1
        last = sample.unanswered
