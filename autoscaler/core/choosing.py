"""Which slot types the replicas of a model that may live on several of them take, while one placement is made.

One after the other: the vacant worker or free slot that adds most for its cost, planned neighbours counted. Running
replicas stay where they are, and what was meant for a pool before stays meant for it while there is a place: a worker
that is on its way must not become a worker too many because two types are nearly worth the same.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.core.capacity import Cards
from autoscaler.core.observation import DeploymentSeen, Observation, PoolSeen, ReplicaState, WorkerSeen
from autoscaler.core.record import replace
from autoscaler.core.spanning import SlotOption
from autoscaler.core.spec import FleetSpec, ModelSpec
from autoscaler.core.state import ModelState
from vgpu.core.inventory import Inventory, Slot
from vgpu.core.packing import Blocked, Grade, Packer
from vgpu.core.slot_type import SlotType

SHUNNED_S = 600.0
"""For so long no replica is tried on a slot type where the last ones did not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Homes:
    """The workers of pools that are joined by models on several slot types; empty where no model is."""

    pools: Mapping[str, str]
    """By worker that takes replicas: its pool."""
    vacant: Mapping[str, Sequence[str]]
    """By pool: the cards of workers that hold no replica, or that are drained and will be replaced by empty ones."""

    @classmethod
    def of(cls, spec: FleetSpec, seen: Observation, inventory: Inventory, leaving: Collection[str] = ()) -> "Homes":
        """Look at joined pools only; not at workers that are `leaving` with their nodes."""
        joined = {pool for names in spec.joined_pools if len(names) > 1 for pool in names}
        if not joined:
            return cls(pools={}, vacant={})
        cards = {slot.holder: slot.gpu_key for slot in inventory.slots if slot.holder is not None}
        held = seen.lived_in
        pools = [pool for pool in seen.pools if pool.pool in joined]
        return cls(
            pools={worker.pod: pool.pool for pool in pools for worker in _there(pool, leaving) if not worker.draining},
            vacant={
                pool.pool: [
                    cards[worker.pod]
                    for worker in _there(pool, leaving)
                    if worker.pod in cards and (worker.draining or worker.pod not in held)
                ]
                for pool in pools
            },
        )

    def settled(
        self, spec: ModelSpec, seen: DeploymentSeen, state: ModelState, before: ModelState | None, now_s: float
    ) -> tuple[ModelState, dict[str, str]]:
        """Of a model on several slot types: its running replicas and their pools, as far as those are seen and the
        worker is not drained. Where replicas have just been given up none shall be tried for a while."""
        if not spec.further_pools:
            return state, {}
        lives = {
            replica.replica_id: pool
            for replica in seen.replicas
            if replica.state is ReplicaState.RUNNING and (pool := self.pools.get(replica.worker or ""))
        }
        if state.backoff_until_s is None or (before is not None and before.backoff_until_s == state.backoff_until_s):
            return state, lives
        runs = Counter(lives.values())
        kept = {pool: until_s for pool, until_s in state.shunned.items() if until_s > now_s}
        failed = {pool: now_s + SHUNNED_S for pool, count in state.spread.items() if count > runs[pool]}
        return replace(state, shunned={**kept, **failed}), lives


def _there(pool: PoolSeen, leaving: Collection[str]) -> list[WorkerSeen]:
    return [worker for worker in pool.live if worker.pod not in leaving]


Price = Callable[[SlotOption], Callable[[Grade], float]]


@dataclass(slots=True, kw_only=True)
class Stock:
    """What all models take from; lives no longer than one placement."""

    packer: Packer
    cards: Cards
    workers: dict[str, int]
    """By pool: bound workers not yet counted for a replica."""
    vacant: dict[str, list[str]] = field(default_factory=dict)
    """By pool: the cards of bound workers without a replica; only of pools where somebody has a choice."""
    slots: dict[str, list[Slot]] = field(default_factory=dict)
    """By pool: the slots chosen for new workers."""

    def left(self, pool: str, profile: SlotType) -> int:
        """Workers and free slots that are still to be had."""
        return self.workers[pool] + self.packer.free_count(profile)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """One place for a replica."""

    of: SlotOption
    gpu: str | None
    """None for a worker of which nobody knows where it is."""
    is_worker: bool
    worth: float
    """What it adds for its cost."""

    @property
    def rank(self) -> tuple[float, bool, float, str]:
        """The largest wins: worth, a worker that is there already, the cheaper type, and of equals the later name."""
        return (round(self.worth, 6), self.is_worker, -self.of.cost, self.of.pool)


@dataclass(slots=True, kw_only=True)
class Chooser:
    """One model's choice; lives no longer than one placement."""

    types: Sequence[SlotOption]
    own: dict[str, tuple[int, float]]
    """By card: the model's replicas, those planned so far included, and what they usually use."""
    meant: Mapping[str, int]
    """By pool: replicas that were to be there before."""
    room: Mapping[str, int]
    """By pool that is short: growth up to this many comes before anybody's growth beyond."""
    shunned: Collection[str]
    """Pools where replicas did not start: none grows there while there are others."""
    least_gain_ratio: float
    price: Price
    by_pool: Counter[str] = field(default_factory=Counter)
    _before_growth: Counter[str] | None = None

    def seat(self, lives: Mapping[str, int], stock: Stock) -> None:
        """The running replicas that stay keep the workers they are in, as far as those are of the model's pools."""
        for pool in [each.pool for each in self.types]:
            count = lives.get(pool, 0)
            self.by_pool[pool] += count
            stock.workers[pool] = max(0, stock.workers[pool] - count)

    def keep(self, upto: int, stock: Stock, only: Collection[str] | None = None) -> None:
        """Place what was decided before, on a saturated card if need be: where it was meant to be, or elsewhere; where
        pools are named, in these."""
        types = [each for each in self.types if only is None or each.pool in only]
        for each in types:
            while self.by_pool.total() < upto and self.by_pool[each.pool] < self.meant.get(each.pool, 0):
                offer = self._offer(each, stock, even_saturated=True)
                if offer is None:
                    break
                self._take(offer, stock)
        self._serve(upto, stock, types, even_saturated=True)

    def grow(self, upto: int, stock: Stock, *, within_room: bool) -> None:
        """Take useful places, where `within_room` asks for it no more of a short pool than is the model's share."""
        if self._before_growth is None:
            self._before_growth = self.by_pool.copy()
        trusted = [each for each in self.types if each.pool not in self.shunned]
        self._serve(upto, stock, trusted or self.types, limited=within_room)

    def blocked(self, stock: Stock) -> tuple[tuple[str, Blocked], ...]:
        """Why each node takes no further worker: of several types, the reason that says most."""
        said: dict[str, Blocked] = {}
        for each in self.types:
            for node, why in stock.packer.blocked(each.profile):
                if said.get(node, Blocked.NO_SLOTS_OF_TYPE) is Blocked.NO_SLOTS_OF_TYPE:
                    said[node] = why
        return tuple(said.items())

    def spread(self, count: int) -> tuple[tuple[str, int], ...]:
        """How many of `count` replicas are for each pool; those without a place are still meant for some pool."""
        spread = self.by_pool.copy()
        for each in self.types:
            spread[each.pool] += max(0, min(count - spread.total(), self.meant.get(each.pool, 0) - spread[each.pool]))
        spread[self.types[0].pool] += max(0, count - spread.total())
        return tuple(sorted((pool, held) for pool, held in spread.items() if held))

    def _serve(
        self,
        upto: int,
        stock: Stock,
        types: Sequence[SlotOption],
        *,
        even_saturated: bool = False,
        limited: bool = False,
    ) -> None:
        while self.by_pool.total() < upto:
            offers = [
                offer
                for each in types
                if not limited or self._has_room(each.pool)
                if (offer := self._offer(each, stock, even_saturated=even_saturated)) is not None
            ]
            if not offers:
                return
            self._take(max(offers, key=lambda offer: offer.rank), stock)

    def _has_room(self, pool: str) -> bool:
        begun = self.by_pool if self._before_growth is None else self._before_growth
        return self.by_pool[pool] - begun[pool] < self.room.get(pool, self.by_pool[pool] + 1)

    def _offer(self, each: SlotOption, stock: Stock, *, even_saturated: bool) -> _Offer | None:
        """The best place of one type: a vacant worker, or a free slot where that is worth more."""
        least_per_s = self.least_gain_ratio * each.solo_per_s
        gains: dict[str, float] = {}

        def gain(gpu: str) -> float:
            if gpu not in gains:
                gains[gpu] = each.gain(stock.cards, gpu, self.own)
            return gains[gpu]

        found = []
        if stock.workers[each.pool]:
            vacant = stock.vacant.get(each.pool, [])
            gpu = max(vacant, key=lambda gpu: (gain(gpu), gpu), default=None)
            worth = (each.solo_per_s if gpu is None else gain(gpu)) / each.cost
            if even_saturated or worth * each.cost >= least_per_s:
                found.append(_Offer(of=each, gpu=gpu, is_worker=True, worth=worth))
        free = stock.packer.best(
            each.profile,
            price=self.price(each),
            accept=lambda gpu: even_saturated or gain(gpu) >= least_per_s,
        )
        if free is not None:
            found.append(_Offer(of=each, gpu=free, is_worker=False, worth=gain(free) / each.cost))
        return max(found, key=lambda offer: offer.rank, default=None)

    def _take(self, offer: _Offer, stock: Stock) -> None:
        pool, gpu = offer.of.pool, offer.gpu
        self.by_pool[pool] += 1
        if offer.is_worker:
            stock.workers[pool] -= 1
            if gpu is not None:
                stock.vacant[pool].remove(gpu)
        elif gpu is not None:
            placed = stock.packer.place(
                offer.of.profile, 1, price=self.price(offer.of), accept=lambda other: other == gpu
            )
            stock.slots.setdefault(pool, []).extend(placed.slots)
        if gpu is not None:
            count, own_ratio = self.own.get(gpu, (0, 0.0))
            self.own[gpu] = (count + 1, own_ratio)
