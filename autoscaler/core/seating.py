"""How far replica targets may rise where pools are joined by models that may live in several of them.

A replica that waits for a worker may sit down in any pool of its model. So those that have one pool are seated first,
then the others, each where fewest others could; what is left then in its pools is how far a model's target may rise.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One model that has replicas to seat."""

    model: str
    pools: tuple[str, ...]
    claim: int
    """Workers that are this model's: those it fills, and those its target may still fill."""
    held: Mapping[str, int] = field(default_factory=dict)
    """By pool: the workers it fills, as far as that is known."""
    target: int | None = None
    """What it has been given; None while that cannot be read."""
    count: int = 0
    """What is decided."""


def targets(parties: Sequence[Party], ready: Mapping[str, int]) -> dict[str, int]:
    """The target of each model that has one, in the order of the parties; `ready` are the workers of each pool."""
    left = dict(ready)
    rivals = Counter(pool for party in parties for pool in party.pools)
    for party in parties:
        for pool, count in party.held.items():
            left[pool] -= count
    for party in sorted(parties, key=lambda party: len(party.pools)):
        _seat(party, party.claim - sum(party.held.values()), left, rivals)
    risen: dict[str, int] = {}
    for party in parties:
        if party.target is None:
            continue
        places = [left[pool] for pool in party.pools]
        spare = sum(max(0, place) for place in places) or max(places)
        target = max(party.target, min(party.count, spare + party.claim))
        _seat(party, target - party.claim, left, rivals)
        risen[party.model] = target
    return risen


def _seat(party: Party, count: int, left: dict[str, int], rivals: Mapping[str, int]) -> None:
    for _ in range(count):
        left[max(party.pools, key=lambda pool: (left[pool] > 0, -rivals[pool], left[pool], pool))] -= 1
