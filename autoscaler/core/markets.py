"""Which models have a share of which pool: every pool alone, those that are joined by a model one after the other.

A model that may live in several pools comes to the market of each with all it has and needs. What it has elsewhere it
cannot give here, and what it got in one pool it lacks no more in the next. The emptiest pool comes first, so that such
a model grows where nobody else lacks anything, and gives slots only of a pool where another model waits for them. If it
could live in another pool just as well, it moves there for the other model's sake: a successor first, as in any move.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.core import moves
from autoscaler.core.capacity import Cards
from autoscaler.core.draft import Draft
from autoscaler.core.record import replace
from autoscaler.core.sharing import Claim, shares
from autoscaler.core.spanning import useful_slots
from autoscaler.core.spec import FleetSpec

EXCHANGED_PART = 8
"""At most this part of a pool, an eighth, changes hands in one tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What the pools that are too small for all needs leave to their models."""

    counts: Mapping[str, int]
    """By model."""
    changes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By model on several slot types, and pool that is short: replicas more or fewer than it has there."""
    moves: frozenset[str] = frozenset()
    """Models on several slot types that shall have one more elsewhere, so that they can give one of a short pool."""


def shared(spec: FleetSpec, drafts: Sequence[Draft], cards: Cards, now_s: float) -> Shares:
    """Each model's share of every pool that is too small for all needs."""
    counts: dict[str, int] = {}
    changes: dict[str, Mapping[str, int]] = {}
    moving: set[str] = set()
    by_pool: dict[str, list[Draft]] = {}
    for draft in drafts:
        for name in draft.spec.pools:
            by_pool.setdefault(name, []).append(draft)
    profiles = {pool.name: pool.profile for pool in spec.pools}
    for names in spec.joined_pools:
        free = {name: sum(card.slots for card in cards.free.get(profiles[name], ())) for name in names}
        if len(names) == 1:
            counts |= _alone(by_pool.get(names[0], []), free[names[0]])
        else:
            found = _Joined(free, by_pool, cards, spec.policy.least_gain_ratio, now_s).cleared()
            counts |= found.counts
            changes |= found.changes
            moving |= found.moves
    return Shares(counts=counts, changes=changes, moves=frozenset(moving))


def _alone(mine: Sequence[Draft], free: int) -> dict[str, int]:
    """The shares of one pool, where it is too small."""
    if len(mine) < 2:
        return {}
    slots = sum(draft.state.running for draft in mine) + free
    if sum(max(draft.claim.need, draft.current) for draft in mine) <= slots:
        return {}
    return shares([_offer(draft) for draft in mine], slots=slots, most=max(1, slots // EXCHANGED_PART))


def _offer(draft: Draft) -> Claim:
    """The draft's claim; a model that keeps all it has gives nothing away."""
    return replace(draft.claim, floor=draft.current) if _keeps_all(draft) else draft.claim


def _keeps_all(draft: Draft) -> bool:
    """Whether anything of it is unread, or it waits for slots itself since nodes leave."""
    return draft.signals is None or bool(draft.signals.gaps) or bool(draft.leaving)


class _Joined:
    """Pools that are joined by models, while their slots change hands; lives no longer than that."""

    def __init__(
        self,
        free: Mapping[str, int],
        by_pool: Mapping[str, list[Draft]],
        cards: Cards,
        least_gain_ratio: float,
        now_s: float,
    ) -> None:
        self._free = free
        self._by_pool = by_pool
        self._cards = cards
        self._least_gain_ratio = least_gain_ratio
        self._now_s = now_s
        drafts = {draft.spec.name: draft for name in free for draft in by_pool.get(name, ())}
        self._drafts = drafts
        self._claims = {name: _offer(draft) for name, draft in drafts.items()}
        self._current = {name: draft.current for name, draft in drafts.items()}
        self._useful: dict[str, Mapping[str, int]] = {}
        self._spare: Counter[str] = Counter()
        """By model on several slot types: useful slots of pools that are large enough, beyond what anybody needs."""
        self._keeping = {name for name, draft in drafts.items() if _keeps_all(draft)}
        self._hopes: Counter[str] = Counter()
        """By model on several slot types: replicas that it has got, or will find, in another pool."""
        self._given: Counter[str] = Counter()
        """By such a model: replicas that it gives, over all pools."""
        self._moves: set[str] = set()
        self._runs: dict[str, Counter[str]] = {}
        self._here: dict[str, Counter[str]] = {}
        """By model and pool: replicas, those on their way included."""
        for name, draft in drafts.items():
            if draft.types:
                self._runs[name] = Counter(draft.lives.values())
                self._here[name] = _meant(draft, self._runs[name])
            else:
                self._runs[name] = Counter({draft.spec.pool: draft.state.running})
                self._here[name] = Counter({draft.spec.pool: draft.current})

    def cleared(self) -> Shares:
        """Hand out pool after pool, if one of them is short."""
        if all(self._left(pool) >= 0 for pool in self._free):
            return Shares(counts={})
        self._useful = {name: self._useful_to(draft) for name, draft in self._drafts.items() if draft.types}
        counts: dict[str, int] = {}
        changes: dict[str, dict[str, int]] = {}
        for pool in sorted(self._free, key=lambda pool: (-self._left(pool), pool)):
            given = self._clear(pool)
            self._make_way(pool, given)
            for name, count in given.items():
                change = count - self._claims[name].count
                if name in self._useful:
                    changes.setdefault(name, {})[pool] = change
                    self._given[name] += max(0, -change)
                    self._hopes[name] += max(0, change)
                else:
                    counts[name] = count
                self._change(name, pool, change)
        for name in changes:
            counts[name] = self._current[name]
            if self._given[name]:
                # Replicas that run shall go: a fall to its count would end those on their way first.
                counts[name] = min(counts[name], self._runs[name].total() - self._given[name])
        return Shares(counts=counts, changes=changes, moves=frozenset(self._moves))

    def _useful_to(self, draft: Draft) -> Mapping[str, int]:
        """By pool: free slots that would help the model, as many as it lacks or could move to."""
        most = max(0, draft.claim.need - draft.current) + draft.state.running
        slots = draft.placed.values()
        useful = useful_slots(self._cards, draft.types, slots, least_gain_ratio=self._least_gain_ratio, most=most)
        shunned = draft.state.shunned
        return {pool: 0 if shunned.get(pool, 0.0) > self._now_s else count for pool, count in useful.items()}

    def _clear(self, pool: str) -> dict[str, int]:
        """The shares of one pool; where it is large enough, those that lack something will find it there."""
        names = [draft.spec.name for draft in self._by_pool.get(pool, ())]
        if self._left(pool) < 0 and len(names) > 1:
            claims = [self._claim_in(pool, name) for name in names]
            slots = sum(self._runs[name][pool] for name in names) + self._free[pool]
            elsewhere = sum(self._claims[name].count - self._here[name][pool] for name in names)
            return shares(claims, slots=slots + elsewhere, most=max(1, slots // EXCHANGED_PART))
        for name in names:
            if name in self._useful:
                claim = self._claims[name]
                useful = self._useful[name][pool]
                taken = max(0, min(claim.need - claim.count, useful))
                self._spare[name] += min(useful - taken, max(0, self._left(pool)))
                self._hopes[name] += taken
                self._change(name, pool, taken)
        return {}

    def _make_way(self, pool: str, given: dict[str, int]) -> None:
        """Where somebody still lacks a slot of this pool, let one that could live elsewhere as well leave it.

        It gives its slot as soon as it runs one more than it needs; until then it shall have one more elsewhere.
        """
        if all(given[name] >= self._claims[name].need for name in given):
            return
        for name in sorted(self._spare, key=lambda name: (-self._spare[name], name)):
            claim = self._claims[name]
            if given.get(name) != claim.count or not self._runs[name][pool] or name in self._keeping:
                continue
            if self._beyond_need(name) > 0:
                given[name] -= 1
                return
            if (
                self._spare[name]
                and not self._hopes[name]
                and moves.may_move_for_others(self._drafts[name], self._now_s)
            ):
                self._moves.add(name)
                return

    def _claim_in(self, pool: str, name: str) -> Claim:
        """The model's claim, with what it cannot give here as its floor."""
        claim = self._claims[name]
        if name not in self._useful:
            return claim
        return replace(claim, floor=max(claim.floor, claim.count - self._givable(pool, name)))

    def _givable(self, pool: str, name: str) -> int:
        """How many of its running replicas a model on several slot types may give here.

        Those beyond its need. Of those it needs only to a higher priority, and where nothing is on its way and no other
        pool has a slot for it: what comes elsewhere has to run first. Between equals a slot that nobody can spare would
        only go to and fro, for it lacks again as soon as it has given.
        """
        if name in self._keeping:
            return 0
        draft, runs = self._drafts[name], self._runs[name]
        beyond = self._beyond_need(name)
        waits = self._hopes[name] or runs.total() < self._current[name]
        can_grow = self._spare[name] > 0 and self._current[name] < draft.spec.max_replicas
        if beyond <= 0 and self._is_outranked(pool, name) and not (waits or can_grow):
            beyond = runs.total() - self._given[name] - self._claims[name].floor
        return max(0, min(beyond, runs[pool]))

    def _is_outranked(self, pool: str, name: str) -> bool:
        """Whether a model of higher priority lacks a slot of the pool."""
        claims = [self._claims[draft.spec.name] for draft in self._by_pool[pool]]
        return any(each.priority > self._claims[name].priority and each.count < each.need for each in claims)

    def _beyond_need(self, name: str) -> int:
        """Running replicas beyond the model's need and those it has given."""
        claim = self._drafts[name].claim
        return self._runs[name].total() - self._given[name] - max(claim.need, claim.floor)

    def _left(self, pool: str) -> int:
        """Slots of the pool beyond all needs, below 0 where it is short."""
        left = self._free[pool]
        for draft in self._by_pool.get(pool, ()):
            name = draft.spec.name
            claim = self._claims[name]
            left += self._runs[name][pool] - self._here[name][pool] - max(0, claim.need - claim.count)
        return left

    def _change(self, name: str, pool: str, by: int) -> None:
        """Who gives in one pool does not lack that in the next: else a third would give it for an exchange in turn."""
        claim = self._claims[name]
        count = claim.count + by
        need = min(claim.need, max(count, claim.floor)) if by < 0 else claim.need
        self._claims[name] = replace(claim, count=count, need=need)
        self._here[name][pool] += by


def _meant(draft: Draft, runs: Counter[str]) -> Counter[str]:
    """Where a model's replicas are, and where those on their way were meant to be."""
    here = runs.copy()
    for each in draft.types:
        more = draft.state.spread.get(each.pool, 0) - here[each.pool]
        here[each.pool] += max(0, min(more, draft.current - here.total()))
    return here
