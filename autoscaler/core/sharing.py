"""Which model gives a replica up for which, where there are fewer slots than all of them need.

Floors first; then a slot goes where it lessens the shortage most. The shortage of a model with `count` of the `need`ed
replicas is (1 - count / need) squared: smooth, so that no model falls off a cliff for another's sake (the relaxed
utilities of Faro, EuroSys 2025, are of this kind). One exchange per pool and tick: the next tick sees what it did.
"""

from collections.abc import Sequence
from dataclasses import dataclass

WORTH_RATIO = 1.5
"""What the taker gains must exceed what the giver loses by this, for an exchange costs a cold start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One model's part in a pool."""

    model: str
    priority: int
    floor: int
    need: int
    count: int
    """Replicas it would have now."""

    def shortage(self, count: int) -> float:
        """0 with all that is needed, 1 with nothing."""
        return (1 - min(1.0, count / self.need)) ** 2 if self.need > 0 else 0.0

    @property
    def gain(self) -> float:
        """By how much one more would lessen the shortage."""
        return self.shortage(self.count) - self.shortage(self.count + 1)

    @property
    def loss(self) -> float:
        """By how much one fewer would worsen it."""
        return self.shortage(self.count - 1) - self.shortage(self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """`giver` goes without one replica so that `taker` can have it."""

    giver: str
    taker: str


def exchange(claims: Sequence[Claim], *, slots: int) -> Exchange | None:
    """The exchange that helps most; None where there is room, or none is worth it.

    `slots` is all that the pool's models have or could get. A model of higher priority takes from a lower one whatever
    its own shortage; no model goes below its floor.
    """
    if sum(max(claim.need, claim.count) for claim in claims) <= slots:
        return None
    takers = [claim for claim in claims if claim.count < claim.need]
    if not takers or sum(claim.count for claim in claims) < slots:
        return None
    taker = max(takers, key=lambda claim: (claim.priority, claim.gain, claim.model))
    givers = [
        claim
        for claim in claims
        if claim.model != taker.model
        and claim.count > claim.floor
        and claim.priority <= taker.priority
        and (claim.priority < taker.priority or claim.loss * WORTH_RATIO < taker.gain)
    ]
    if not givers:
        return None
    giver = min(givers, key=lambda claim: (claim.priority, claim.loss, claim.model))
    return Exchange(giver=giver.model, taker=taker.model)
