"""Which model gives a replica up for which, where there are fewer slots than all of them need.

Floors first; then a slot goes where it lessens the shortage most. The shortage of a model with `count` of the `need`ed
replicas is (1 - count / need) squared: smooth, so that no model falls off a cliff for another's sake (the relaxed
utilities of Faro, EuroSys 2025, are of this kind).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WORTH_RATIO = 1.5
"""What the taker gains must exceed what the giver loses by this, for an exchange costs a cold start."""


NOW_WEIGHT = 8.0
"""Requests that are late now count far more than those that may be late later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One model's part in a pool."""

    model: str
    priority: int
    floor: int
    need: int
    """With headroom for what may come."""
    now: int
    """For what comes now."""
    count: int
    """Replicas it would have now."""

    def shortage(self, count: int) -> float:
        """0 with all that is needed. What lacks for the load of now weighs NOW_WEIGHT times what lacks of headroom."""
        return NOW_WEIGHT * _lacking(count, self.now) + _lacking(count, self.need)

    def gain(self, count: int) -> float:
        """By how much one more than `count` would lessen the shortage."""
        return self.shortage(count) - self.shortage(count + 1)


def _lacking(count: int, wanted: int) -> float:
    return (1 - min(1.0, count / wanted)) ** 2 if wanted > 0 else 0.0


def yielded(claims: Sequence[Claim], *, slots: int, most: int) -> dict[str, int]:
    """How many replicas each model goes without, so that others can have them; empty where there is room for all.

    `slots` is all that the pool's models have or could get; at most `most` change hands at once. A model of higher
    priority takes from a lower one whatever its own shortage; no model goes below its floor. Slots on their way from
    one model to another count as if they had arrived, so that nobody gives twice.
    """
    counts = {claim.model: claim.count for claim in claims}
    given: dict[str, int] = {}
    for _ in range(max(0, slots - sum(counts.values()))):
        taker = _neediest(claims, counts)
        if taker is None:
            return {}
        counts[taker.model] += 1
    for _ in range(most):
        taker = _neediest(claims, counts)
        giver = None if taker is None else _richest(claims, counts, taker)
        if taker is None or giver is None:
            break
        counts[taker.model] += 1
        counts[giver.model] -= 1
        given[giver.model] = given.get(giver.model, 0) + 1
    return given


def _neediest(claims: Sequence[Claim], counts: Mapping[str, int]) -> Claim | None:
    short = [claim for claim in claims if counts[claim.model] < claim.need]
    return max(short, key=lambda claim: (claim.priority, claim.gain(counts[claim.model]), claim.model), default=None)


def _richest(claims: Sequence[Claim], counts: Mapping[str, int], taker: Claim) -> Claim | None:
    """Who can best do without one, of those from whom the taker may take it."""
    gain = taker.gain(counts[taker.model])
    givers = [
        claim
        for claim in claims
        if claim.model != taker.model
        and counts[claim.model] > claim.floor
        and claim.priority <= taker.priority
        and (claim.priority < taker.priority or claim.gain(counts[claim.model] - 1) * WORTH_RATIO < gain)
    ]
    return min(
        givers, key=lambda claim: (claim.priority, claim.gain(counts[claim.model] - 1), claim.model), default=None
    )
