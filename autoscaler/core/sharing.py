"""How many replicas each model should have where there are fewer slots than all of them need.

A slot goes where it lessens the shortage most. The shortage of a model with `count` of the `need`ed
replicas is (1 - count / need) squared: smooth, so that no model falls off a cliff for another's sake (the relaxed
utilities of Faro, EuroSys 2025, are of this kind).
"""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
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
    lately: int
    """For what came within the last minutes: a slot that leaves is two cold starts away from being back."""
    count: int
    """Replicas it would have now."""

    def first(self, count: int) -> float:
        """The priority with which one more than `count` is asked for: none for headroom beyond what came lately."""
        return self.priority if count < max(self.now, self.lately) else -math.inf

    def gain(self, count: int) -> float:
        """By how much one more than `count` would lessen the shortage."""
        return self._shortage(count, self.now) - self._shortage(count + 1, self.now)

    def loss(self, count: int) -> float:
        """By how much one fewer than `count` would worsen the shortage; what it has and used lately it needs still."""
        kept = max(self.now, min(self.lately, self.count))
        return self._shortage(count - 1, kept) - self._shortage(count, kept)

    def _shortage(self, count: int, now: int) -> float:
        """0 with all that is needed. What lacks for the load of now weighs NOW_WEIGHT times what lacks of headroom."""
        return NOW_WEIGHT * _lacking(count, now) + _lacking(count, self.need)


def _lacking(count: int, wanted: int) -> float:
    return (1 - min(1.0, count / wanted)) ** 2 if wanted > 0 else 0.0


def shares(claims: Sequence[Claim], *, slots: int, most: int) -> dict[str, int]:
    """How many replicas each model should have: free slots go to those that lack, then models yield to one another.

    `slots` is all that the pool's models have or could get; at most `most` change hands at once. For the load of now
    and lately a model of higher priority takes from a lower one whatever that one lacks; for further headroom it must
    gain what any model must. A lower one takes nothing from it, and no model goes below its floor. Slots on their way
    from one model to another count as if they had arrived, so that nobody gives twice.
    """
    market = _Market(claims)
    for _ in range(max(0, slots - sum(market.counts.values()))):
        if not market.takers:
            return market.counts
        market.change(market.takers[0][-1], +1)
    for _ in range(most):
        exchange = market.exchange()
        if exchange is None:
            break
        taker, giver = exchange
        market.change(taker, +1)
        market.change(giver, -1)
    return market.counts


class _Market:
    """Who would take and who could give, in order, while replicas change hands; lives no longer than that."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        self.counts = {claim.model: claim.count for claim in claims}
        self.takers: list[tuple[float, float, str]] = []
        """The neediest first: those that lack something. For load of now and lately a higher priority goes first."""
        self._givers: dict[int, list[tuple[float, str]]] = {claim.priority: [] for claim in claims}
        """By priority: who is above its floor, those first that can best do without one."""
        self._claims = {claim.model: claim for claim in claims}
        for model in self.counts:
            self._enter(model)

    def change(self, model: str, by: int) -> None:
        """Give a model one more or take one away."""
        self._leave(model)
        self.counts[model] += by
        self._enter(model)

    def exchange(self) -> tuple[str, str] | None:
        """The neediest model to which another should yield, and who yields; None where nobody should."""
        for _, _, model in self.takers:
            giver = self._giver(model)
            if giver is not None:
                return model, giver
        return None

    def _giver(self, taker: str) -> str | None:
        """Of the lowest priority that may yield to the taker, who can best do without one."""
        claim, count = self._claims[taker], self.counts[taker]
        first, gain = claim.first(count), claim.gain(count)
        for priority in sorted(self._givers):
            others = (each for each in self._givers[priority][:2] if each[1] != taker)
            loss, giver = next(others, (math.inf, taker))
            if priority <= claim.priority and giver != taker and (priority < first or loss * WORTH_RATIO < gain):
                return giver
        return None

    def _enter(self, model: str) -> None:
        claim, count = self._claims[model], self.counts[model]
        if count < claim.need:
            insort(self.takers, _asking(claim, count))
        if count > claim.floor:
            insort(self._givers[claim.priority], (claim.loss(count), model))

    def _leave(self, model: str) -> None:
        claim, count = self._claims[model], self.counts[model]
        if count < claim.need:
            del self.takers[bisect_left(self.takers, _asking(claim, count))]
        if count > claim.floor:
            givers = self._givers[claim.priority]
            del givers[bisect_left(givers, (claim.loss(count), model))]


def _asking(claim: Claim, count: int) -> tuple[float, float, str]:
    return -claim.first(count), -claim.gain(count), claim.model
