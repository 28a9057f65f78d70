"""One model at one tick: what a policy or a guardrail may look at, and the need that follows from what was learned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from autoscaler.core import need as law
from autoscaler.core import spanning
from autoscaler.core.bearable import Ability, Bearable, bearable
from autoscaler.core.candidates import LONGEST_BACKLOG_S, late_ratio
from autoscaler.core.capacity import Cards, Reach, reach
from autoscaler.core.learning import Jumps
from autoscaler.core.need import Need, Present
from autoscaler.core.observation import Missing, Source
from autoscaler.core.record import replace
from autoscaler.core.rehearsal import Rehearsal, Trial, rehearse
from autoscaler.core.replicas import Arrivals, FreshReplica, last_arrivals
from autoscaler.core.service import Demand, Service, learn
from autoscaler.core.signals import ModelSignals, Signal
from autoscaler.core.spanning import SlotOption
from autoscaler.core.spec import GuardrailSettings, ModelSpec, PolicySettings, PoolSpec
from autoscaler.core.state import Evacuation, ModelState

# By Little's law a replica that holds half a request on average is empty at least half of the time; with nothing in its
# queue as well, waiting is not what makes it slow. One twentieth of a waiting request is what scrapes catch by chance.
IDLE_IN_FLIGHT = 0.5
IDLE_QUEUED = 0.05
BACKLOG_EACH = 2
"""More requests than this waiting at each replica, on average, are a backlog and not chance."""
SETTLED_S = 20.0
"""So long after a change of the running replicas requests may still be late for what was before it."""
DRAIN_S = 20.0
"""A backlog that is left when help comes shall be gone within this time."""
BLIND_S = 60.0
"""A model without a replica gets one when the ingress could not be read for so long, or for its idle time if that is
longer. A proxy that is replaced is away for a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One model at one tick: everything a policy or a guardrail may look at."""

    now_s: float
    spec: ModelSpec
    policy: PolicySettings
    guardrails: GuardrailSettings
    signals: ModelSignals
    state: ModelState
    need: Need | None = None
    """What the learned model of the load asks for; None until enough was seen, or while it cannot be read."""
    demand: Demand | None = None
    """What a batch costs, by the same learning; of a model on several slot types, where its replicas are."""
    here: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """By card: what each of its replicas there adds; only where there is one slot type."""
    types: tuple[SlotOption, ...] = ()
    """Of a model on several slot types: what they are to it. Empty where there is only one."""

    @property
    def current(self) -> int:
        """The count decided last; replicas still to come are capacity already."""
        return self.state.desired

    @property
    def floor(self) -> int:
        """The fewest replicas there may be now. Of a model that may have none: one while anybody asks, or may do so."""
        if self.spec.min_replicas > 0:
            return self.spec.min_replicas
        if self.current > 0:
            return 0 if self.idle else 1
        return 1 if self.woken or self.blind else 0

    @property
    def quiet_s(self) -> float | None:
        """For how long every reading has said that nobody asks; None while one is missing."""
        return None if self.state.quiet_since_s is None else self.now_s - self.state.quiet_since_s

    @property
    def idle(self) -> bool:
        """It may have no replica, and nobody has asked for its idle time."""
        return self.spec.min_replicas == 0 and self.quiet_s is not None and self.quiet_s >= self.spec.idle_s

    @property
    def woken(self) -> bool:
        """It was to have no replica, and somebody has asked since."""
        asked_s, changed_s = self.state.asked_s, self.state.changed_s
        if self.current > 0 or asked_s is None or self.now_s - asked_s > self.policy.window_s:
            return False
        return changed_s is None or asked_s > changed_s

    @property
    def blind(self) -> bool:
        """Nobody can say whether it is asked."""
        return self.now_s - self.state.knocks.heard_s >= max(BLIND_S, self.spec.idle_s)

    @property
    def steady(self) -> bool:
        """The window holds nothing from before the last change of the running replicas."""
        return self.now_s - self.state.running_since_s >= self.policy.window_s

    @property
    def too_slow(self) -> bool:
        p95_ms = self.signals.p95_ms
        enough = self.signals.requests >= self.policy.least_requests
        return enough and isinstance(p95_ms, Signal) and p95_ms.value > self.spec.objective_p95_ms

    @property
    def refusing(self) -> bool:
        return self.signals.refused >= self.policy.least_requests

    @property
    def draining(self) -> bool:
        """More is answered than comes in, and at that pace the backlog is gone soon."""
        queued, offered, answered = self.signals.queued, self.signals.offered_per_s, self.signals.answered_per_s
        if isinstance(queued, Missing) or isinstance(offered, Missing) or isinstance(answered, Missing):
            return False
        pace_per_s = answered.value - offered.value
        return pace_per_s > 0 and queued.value / pace_per_s <= self.policy.drain_s

    @property
    def recovering(self) -> bool:
        """A backlog from before is being worked off: what is late now says nothing of the fleet as it is."""
        queued, offered, answered = self.signals.queued, self.signals.offered_per_s, self.signals.answered_per_s
        if isinstance(queued, Missing) or isinstance(offered, Missing) or isinstance(answered, Missing):
            return False
        return answered.value > offered.value and queued.value > BACKLOG_EACH * self.state.running

    def waiting_with(self, replicas: int) -> bool:
        """Whether requests would wait for one another if this many replicas carried the load; True when unknown."""
        in_flight, queued = self.signals.in_flight, self.signals.queued
        if isinstance(in_flight, Missing) or isinstance(queued, Missing) or replicas < 1:
            return True
        return in_flight.value / replicas >= IDLE_IN_FLIGHT or queued.value / replicas >= IDLE_QUEUED


class Prospect(NamedTuple):
    """What one model's replicas can do and what comes to them, before it is said how many it needs."""

    ability: Ability
    service: Service
    """With what this tick taught; so are `jumps`."""
    jumps: Jumps
    offered: Signal
    rate_per_s: float
    """What comes in now: the window's rate, or that of a step seen since the last tick."""
    horizon_s: float
    fresh: int
    """Replicas that could be read."""


def prospect(
    situation: Situation, fresh: tuple[FreshReplica, ...], cards: Cards, pools: Sequence[PoolSpec]
) -> tuple[Situation, Prospect | None]:
    """Learn from this tick. A tick with a replica unread teaches nothing of the load, and there is no prospect.

    `pools` are those in which the model's replicas may live.
    """
    spec, policy, now_s, signals = situation.spec, situation.policy, situation.now_s, situation.signals
    news = tuple([replica for replica in fresh if replica.is_new])
    learned, warm = situation.state.learned, situation.state.learned.warm(now_s)
    service = learn(learned.service, news, cards.contention, warm)
    if len(pools) > 1:
        situation = _typed(situation, news, warm, service, cards, pools)
    offered = signals.offered_per_s
    blind = any(gap.source is Source.REPLICA for gap in signals.gaps)
    if blind or isinstance(offered, Missing) or not service.is_known:
        return replace(situation, state=replace(situation.state, learned=replace(learned, service=service))), None
    arrivals = last_arrivals(news if len(news) == len(fresh) else ())
    jumps = learned.jumps.with_arrivals(arrivals)
    placed = _lasting(fresh, situation.state.evacuation, is_room=any(cards.free.get(pool.profile) for pool in pools))
    demand, reached = _reached(situation, service, cards, pools[0], placed)
    is_heard = isinstance(signals.unanswered_per_s, Signal)  # an ingress that went silent after a leap leaps no more
    knocked_per_s = situation.state.knocks.leapt_per_s(jumps.variation) if is_heard else 0.0
    return situation, Prospect(
        ability=Ability(spec, demand, reached, jumps.variation, learned.trust.trim),
        service=service,
        jumps=jumps,
        offered=offered,
        rate_per_s=max(offered.value, knocked_per_s, _leapt_per_s(arrivals, offered.value, jumps.variation)),
        horizon_s=(learned.slowest_start_s or policy.cold_start_s) + policy.window_s / 2,
        fresh=len(fresh),
    )


def needing(prospects: Sequence[tuple[Situation, Prospect | None]], policy: PolicySettings) -> list[Situation]:
    """Work out what every model needs that has a prospect."""
    known = [(situation, seen) for situation, seen in prospects if seen is not None]
    bears = bearable([seen.ability for _, seen in known], policy.attainment_margin_ratio)
    trials = [
        Trial(
            known=situation.state.learned.rehearsal,
            at_s=situation.now_s,
            offered_per_s=seen.rate_per_s,
            horizon_s=seen.horizon_s,
            bearable=its,
            desired=situation.state.desired,
        )
        for (situation, seen), its in zip(known, bears, strict=True)
    ]
    needs = iter(zip(bears, rehearse(trials), strict=True))
    return [situation if seen is None else _needing(situation, seen, *next(needs)) for situation, seen in prospects]


def _needing(situation: Situation, seen: Prospect, bears: Bearable, rehearsal: Rehearsal) -> Situation:
    """The situation with the need, and with what this tick taught."""
    offered, ability, learned = seen.offered, seen.ability, situation.state.learned
    most = min(seen.fresh, max(1, situation.spec.max_replicas))
    foretold = late_ratio(bears.rates_per_s[most], bears.limits_per_s[most], offered.value, bears.allowed_late_ratio)
    trust = learned.trust.judged(_late_ratio(situation), foretold, situation.now_s)
    present = Present(
        offered_per_s=_sure_per_s(seen.rate_per_s, situation.policy.window_s, ability.variation),
        missed_per_s=_missed_per_s(situation, offered, bears, seen.horizon_s),
    )
    learned = replace(learned, service=seen.service, jumps=seen.jumps, rehearsal=rehearsal, trust=trust)
    return replace(
        situation,
        state=replace(situation.state, learned=learned),
        need=law.need(rehearsal, bears, ability.demand, present=present, current=situation.current),
        demand=ability.demand,
        here=ability.reach.here,
    )


def _lasting(fresh: Sequence[FreshReplica], evacuation: Evacuation | None, *, is_room: bool) -> list[str | None]:
    """The slots of the replicas on nodes that stay: what the others do their successors will have to do. All where
    there is neither such a replica nor room for one: then nothing is known but what those that leave do."""
    if evacuation is not None:
        staying = [replica.slot_id for replica in fresh if replica.replica_id not in evacuation.replicas]
        if staying or is_room:
            return staying
    return [replica.slot_id for replica in fresh]


def _typed(
    situation: Situation,
    news: tuple[FreshReplica, ...],
    warm: frozenset[str],
    service: Service,
    cards: Cards,
    pools: Sequence[PoolSpec],
) -> Situation:
    """With what was learned by board, and so what each slot type is to the model."""
    state = situation.state
    boards = spanning.with_lessons(state.boards, news, cards.contention, warm)
    types = spanning.slot_options(situation.spec, pools, boards, service)
    return replace(situation, state=replace(state, boards=boards), types=types)


def _reached(
    situation: Situation, service: Service, cards: Cards, pool: PoolSpec, placed: list[str | None]
) -> tuple[Demand, Reach]:
    """What a batch costs, and what replicas can do where they are and on the best free slots."""
    spec, least, types = situation.spec, situation.policy.least_gain_ratio, situation.types
    most = max(1, spec.max_replicas)
    if types:
        usual = spanning.usual_demand(types, placed, cards.contention)
        return usual, spanning.reach(cards, types, placed, most=most, least_gain_ratio=least)
    demand = law.choose(service, spec)
    return demand, reach(cards, demand, placed, pool.profile, most=most, least_gain_ratio=least)


def _leapt_per_s(arrivals: Arrivals, usual_per_s: float, variation: float) -> float:
    """The rate since the last tick where it is beyond what chance does to the window's, three deviations; 0 otherwise.

    A step shows at once: in a window of 10 s it would still be halved after 5.
    """
    came, over_s = arrivals
    if over_s <= 0:
        return 0.0
    usual = usual_per_s * over_s
    return came / over_s if came > usual + 3 * math.sqrt(variation * max(usual, 1.0)) else 0.0


def _sure_per_s(rate_per_s: float, over_s: float, variation: float) -> float:
    """What of a rate is more than chance, two deviations below it: 8 requests/s in 10 s may well be 6."""
    return max(0.0, rate_per_s - 2 * math.sqrt(variation * rate_per_s / over_s))


def _late_ratio(situation: Situation) -> float | None:
    """The part of requests that the fleet as it is answers late; None when help is on its way or nothing was asked."""
    attained = situation.signals.attainment_ratio
    settled_s = situation.now_s - situation.state.running_since_s
    if situation.state.pending or settled_s < SETTLED_S or isinstance(attained, Missing) or situation.recovering:
        return None
    if situation.signals.requests + situation.signals.refused < situation.policy.least_requests:
        return None
    return 1 - attained.value


def _missed_per_s(situation: Situation, offered: Signal, bears: Bearable, horizon_s: float) -> float | None:
    """The rate that should be borne now, when it is not: what comes in, and what will still wait when help can come."""
    if not situation.too_slow and not situation.refusing:
        return None
    queued = situation.signals.queued
    if isinstance(queued, Missing):
        return offered.value
    limits = bears.limits_per_s
    limit_per_s = limits[min(situation.state.running, len(limits) - 1)]
    waiting = queued.value - (limit_per_s - offered.value) * horizon_s
    return offered.value + min(max(0.0, waiting), LONGEST_BACKLOG_S * limit_per_s) / DRAIN_S
