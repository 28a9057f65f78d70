"""What a tick teaches: how many replicas missed the objective at which offered rate, and what disproves that.

Only a fleet at rest teaches: no replica on its way, a window filled since the last change, nothing missing, no backlog
left over from before. Without this memory a model that needs two replicas and looks idle with two would be tried with
one again and again.
"""

from autoscaler.core.decision import Recommendation
from autoscaler.core.observation import Missing
from autoscaler.core.record import replace
from autoscaler.core.situation import Situation
from autoscaler.core.state import ModelState, Overload


def taught(situation: Situation) -> Situation:
    """The situation with what it teaches in its state."""
    state = learn(situation)
    return situation if state is situation.state else replace(situation, state=state)


def learn(situation: Situation) -> ModelState:
    """The state with this tick's evidence in it, and without what is too old or disproved."""
    state, offered = situation.state, situation.signals.offered_per_s
    if situation.need is not None:  # capacity is known: no count has to be remembered
        return replace(state, overloads=()) if state.overloads else state
    at_rest = situation.steady and not state.pending and not situation.signals.gaps
    if not at_rest or isinstance(offered, Missing):
        return state.without_overloads(borne_per_s=None, settings=situation.policy, now_s=situation.now_s)
    missed = situation.too_slow or situation.refusing
    enough = situation.signals.requests >= situation.policy.least_requests
    borne_per_s = offered.value if enough and not missed else None
    state = state.without_overloads(borne_per_s=borne_per_s, settings=situation.policy, now_s=situation.now_s)
    if missed and not situation.draining and situation.waiting_with(state.running):
        overload = Overload(count=state.running, offered_per_s=offered.value, at_s=situation.now_s)
        return state.with_overload(overload)
    return state


def with_need(situation: Situation, recommendations: tuple[Recommendation, ...]) -> ModelState:
    """Remember the need of this tick; while readings are missing the need may be anything up to what is there."""
    spec, state = situation.spec, situation.state
    need = min(max(recommendations[0].count, situation.floor), spec.max_replicas) if recommendations else 0
    if situation.signals.gaps or not recommendations:
        need = max(need, state.desired)
    return replace(state, needs=state.needs.with_value(situation.now_s, need))
