"""What a modelled fleet is made of: cards and their slots, models, how long they take, and tenants that are not ours.

Every record checks itself and names the field and the value it refuses. Slots are numbered card * slots_per_card + i.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vgpu.core.profile import Profile, ProfileError, parse_profile
from vgpu.core.share import SchedulerPolicy

MS_PER_S = 1000.0


def _at_least(least: float, **values: float) -> None:
    for field, value in values.items():
        if not (math.isfinite(value) and value >= least):
            raise ValueError(f"{field} is {value}; a finite number of at least {least:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTime:
    """How long a replica works on one batch when nobody shares its card.

    A batch of b items takes host_ms off the engine, then needs engine_ms + engine_per_item_ms * (b - 1) of the whole
    engine. One lognormal draw per batch (mean 1, coefficient of variation spread_ratio) scales both parts.
    """

    host_ms: float
    engine_ms: float
    engine_per_item_ms: float = 0.0
    spread_ratio: float = 0.35
    max_batch: int = 1
    max_queue: int = 200
    """Requests that may wait in one replica, those in execution not counted; the next one is refused."""

    def __post_init__(self) -> None:
        _at_least(
            0,
            host_ms=self.host_ms,
            engine_ms=self.engine_ms,
            engine_per_item_ms=self.engine_per_item_ms,
            spread_ratio=self.spread_ratio,
        )
        _at_least(1, max_batch=self.max_batch, max_queue=self.max_queue)
        if self.host_ms + self.engine_ms <= 0:
            raise ValueError(f"host_ms is {self.host_ms} and engine_ms is {self.engine_ms}; one of them is above 0")

    def solo_ms(self, items: int = 1) -> float:
        """Mean time of a batch of `items` on a card that nobody shares."""
        return self.host_ms + self.engine_ms + self.engine_per_item_ms * (items - 1)

    @property
    def engine_ratio(self) -> float:
        """The part of a lone request's time that is engine time, 0 to 1."""
        return self.engine_ms / self.solo_ms()


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """How long a replica takes to come: `worker_s` from the pod to a ready Ray node, then `load_s` to load the model.

    Both are means of lognormal draws with coefficient of variation `spread_ratio`.
    """

    worker_s: float
    load_s: float
    spread_ratio: float = 0.1

    def __post_init__(self) -> None:
        _at_least(0, worker_s=self.worker_s, load_s=self.load_s, spread_ratio=self.spread_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimModel:
    """One served model: its service time, its objective (95 of 100 requests within it) and its bounds."""

    name: str
    service: ServiceTime
    objective_p95_ms: int
    cold_start: ColdStart
    min_replicas: int = 1
    idle_s: float = 300.0
    """With min_replicas 0: how long nobody asks before it has no replica."""
    max_replicas: int | None = None
    """None: as many as there are slots that no foreign tenant holds."""
    start_replicas: int = 1
    priority: int = 0
    slots: tuple[str, ...] = ()
    """Slot types in which its replicas may live; empty: that of the world's first cards."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name of a model is empty")
        _at_least(1, objective_p95_ms=self.objective_p95_ms)
        _at_least(0, min_replicas=self.min_replicas, idle_s=self.idle_s)
        if self.max_replicas is not None and self.max_replicas < max(1, self.min_replicas):
            raise ValueError(
                f"max_replicas is {self.max_replicas}; at least 1 and at least min_replicas, "
                f"which is {self.min_replicas}"
            )
        if not self.min_replicas <= self.start_replicas <= (self.max_replicas or math.inf):
            raise ValueError(
                f"start_replicas is {self.start_replicas}; from min_replicas, which is {self.min_replicas}, "
                f"to max_replicas, which is {self.max_replicas or 'all slots'}"
            )

    @property
    def objective_s(self) -> float:
        return self.objective_p95_ms / MS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A tenant that is not ours: it holds one slot of `card` from the start and sends jobs to the card's engine.

    From each `start_s` on, jobs of exponential demand (mean `job_ms` of the whole engine) come at random (Poisson),
    as many as would keep the engine `busy_ratio` of the time busy. Before the first phase none come.
    """

    card: int
    phases: tuple[tuple[float, float], ...]
    job_ms: float = 40.0
    max_waiting: int = 50
    """Jobs beyond this are dropped, so that a crowded tenant's backlog ends about 2 s after its load does."""

    def __post_init__(self) -> None:
        _at_least(0, card=self.card)
        _at_least(1, max_waiting=self.max_waiting)
        if not (math.isfinite(self.job_ms) and self.job_ms > 0):
            raise ValueError(f"job_ms is {self.job_ms}; a finite number above 0")
        if not self.phases:
            raise ValueError("phases is empty; write at least one (start_s, busy_ratio)")
        for start_s, busy_ratio in self.phases:
            _at_least(0, start_s=start_s)
            if not 0 <= busy_ratio <= 1:
                raise ValueError(f"busy_ratio is {busy_ratio} in the phase from {start_s} s; between 0 and 1")
        for (early_s, _), (late_s, _) in pairwise(self.phases):
            if early_s >= late_s:
                raise ValueError(f"start_s is {late_s} after {early_s}; phases are in order of time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """Equal cards, each cut into equal time-sliced slots, one guest node per slot."""

    cards: int
    slots_per_card: int
    slot_label: str
    engine_ratio: float = 1.0
    """Engine time of a batch here over that on the world's first cards: 2 is half as fast."""

    def __post_init__(self) -> None:
        _at_least(1, cards=self.cards, slots_per_card=self.slots_per_card)
        if not (math.isfinite(self.engine_ratio) and self.engine_ratio > 0):
            raise ValueError(f"engine_ratio is {self.engine_ratio}; a finite number above 0")
        try:
            profile = self.profile
        except ProfileError as error:
            raise ValueError(f"slot_label is {self.slot_label!r}: {error}") from None
        if profile.mig_slices is not None:
            raise ValueError(
                f"slot_label is {self.slot_label!r}; MIG slots share no engine, name a time-sliced profile"
            )
        if self.slots_per_card > profile.most_per_gpu:
            raise ValueError(
                f"slots_per_card is {self.slots_per_card}; a card carries {profile.most_per_gpu} of "
                f"slot_label {self.slot_label!r}, so name a smaller profile or fewer slots"
            )

    @property
    def profile(self) -> Profile:
        return parse_profile(self.slot_label)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A fleet of equal cards, each cut into equal time-sliced slots, one guest node per slot; and further such cards
    of other slot types. Slots are numbered as if every card had as many as the one that is cut most finely."""

    models: tuple[SimModel, ...]
    cards: int = 8
    slots_per_card: int = 4
    slot_label: str = "v100d-8q-8GB"
    """The slot type; V100D is the 32 GB V100, of which four 8 GB slots are cut."""
    policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT
    foreign: tuple[Foreign, ...] = ()
    switch_cost_ratio: float = 0.04
    """The engine runs 1 + switch_cost_ratio * (slots at work - 1) times slower when several slots share it."""
    metric_age_s: float = 1.0
    """How old what a controller sees is."""
    further: tuple[Cards, ...] = ()
    """Cards of other slot types, numbered after the first."""

    def __post_init__(self) -> None:
        _at_least(0, switch_cost_ratio=self.switch_cost_ratio, metric_age_s=self.metric_age_s)
        self._check_slot_types()
        self._check_foreign()
        self._check_models()

    def _check_slot_types(self) -> None:
        labels = [group.profile.label for group in self.groups]
        if len(set(labels)) < len(labels):
            raise ValueError(f"slot types are {', '.join(labels)}; each of them once")

    def _check_foreign(self) -> None:
        for tenant in self.foreign:
            if tenant.card >= self.card_count:
                raise ValueError(f"foreign is on card {tenant.card}; cards are 0 to {self.card_count - 1}")
        for card in {tenant.card for tenant in self.foreign}:
            count = sum(tenant.card == card for tenant in self.foreign)
            slots = self._group_of(card).slots_per_card
            if count > slots:
                raise ValueError(f"foreign has {count} tenants on card {card}, which has {slots} slots")

    def _check_models(self) -> None:
        names = [model.name for model in self.models]
        if not names:
            raise ValueError("models is empty; a fleet serves at least one model")
        if len(set(names)) < len(names):
            raise ValueError(f"models is {', '.join(names)}; each name once")
        labels = [group.profile.label for group in self.groups]
        for model in self.models:
            if unknown := [label for label in model.slots if label not in labels]:
                raise ValueError(
                    f"slots of model {model.name!r} is {', '.join(model.slots)}; {', '.join(unknown)} is none of "
                    f"this world's slot types: {', '.join(labels)}"
                )
            if len(set(model.slots)) < len(model.slots):
                raise ValueError(f"slots of model {model.name!r} is {', '.join(model.slots)}; each slot type once")
        start = sum(model.start_replicas for model in self.models)
        if start > len(self.own_slots):
            raise ValueError(f"start_replicas of all models is {start}; {len(self.own_slots)} slots are ours")

    @property
    def profile(self) -> Profile:
        """Of the first cards."""
        return parse_profile(self.slot_label)

    @property
    def groups(self) -> tuple[Cards, ...]:
        """All cards, the first ones first."""
        first = Cards(cards=self.cards, slots_per_card=self.slots_per_card, slot_label=self.slot_label)
        return (first, *self.further)

    @property
    def card_count(self) -> int:
        return self.cards + sum(group.cards for group in self.further)

    @property
    def stride(self) -> int:
        """From one card's first slot to the next one's: the most slots that a card has."""
        return max([self.slots_per_card, *(group.slots_per_card for group in self.further)])

    @property
    def slot_count(self) -> int:
        """How many numbers slots have; where cards are cut differently some numbers are no slot's."""
        return self.card_count * self.stride

    @property
    def slots(self) -> tuple[int, ...]:
        """Every slot there is, rising."""
        return tuple(slot for place in range(len(self.groups)) for slot in self.slots_of(place))

    def slots_of(self, place: int) -> tuple[int, ...]:
        """The slots of `groups[place]`, rising."""
        groups, stride = self.groups, self.stride
        first = sum(group.cards for group in groups[:place])
        cards = range(first, first + groups[place].cards)
        return tuple(card * stride + index for card in cards for index in range(groups[place].slots_per_card))

    @property
    def foreign_slots(self) -> tuple[int, ...]:
        """The slot of each foreign tenant, in the order of `foreign`: the last free one of its card."""
        taken = [0] * self.card_count
        slots = []
        for tenant in self.foreign:
            taken[tenant.card] += 1
            last = tenant.card * self.stride + self._group_of(tenant.card).slots_per_card
            slots.append(last - taken[tenant.card])
        return tuple(slots)

    @property
    def own_slots(self) -> tuple[int, ...]:
        """The slots that no foreign tenant holds, rising."""
        return tuple(sorted(set(self.slots) - set(self.foreign_slots)))

    def labels_of(self, model: SimModel) -> tuple[str, ...]:
        """The slot types in which the replicas of `model` may live."""
        return model.slots or (self.profile.label,)

    def card_of(self, slot: int) -> int:
        return slot // self.stride

    def _group_of(self, card: int) -> Cards:
        for group in self.groups:
            if card < group.cards:
                return group
            card -= group.cards
        raise ValueError(f"card is {card + self.card_count}; cards are 0 to {self.card_count - 1}")

    def node_name(self, slot: int) -> str:
        """The Kubernetes node (a guest with one slot) that offers `slot`."""
        return f"gpu{self.card_of(slot):03d}-vm{slot % self.stride}"

    def gpu_uuid(self, slot: int) -> str:
        return f"GPU-{self.card_of(slot):03d}"

    def most_replicas(self, model: SimModel) -> int:
        """The most replicas `model` may have: its own limit or all our slots of its types, whichever is less."""
        labels = self.labels_of(model)
        places = [place for place, group in enumerate(self.groups) if group.profile.label in labels]
        slots = sum(len(self.slots_of(place)) for place in places)
        foreign = set(self.foreign_slots)
        slots -= sum(slot in foreign for place in places for slot in self.slots_of(place))
        return min(model.max_replicas or slots, slots)

    def model_index(self, name: str) -> int:
        """The place of model `name` in `models`; ValueError when there is none."""
        for index, model in enumerate(self.models):
            if model.name == name:
                return index
        raise ValueError(f"model is {name!r}; one of {', '.join(model.name for model in self.models)}")


def moving_load(card: int, *, low: float = 0.1, high: float = 0.8, period_s: float = 1800.0) -> Foreign:
    """A tenant whose wanted load swings between `low` and `high` as a sine of `period_s` in minute steps for a day.

    Cards are shifted by the golden angle, so that at any time some are crowded and some are calm.
    """
    shift = card * (3.0 - math.sqrt(5.0)) * math.pi
    starts_s = [60.0 * minute for minute in range(24 * 60)]
    middle, swing = (high + low) / 2, (high - low) / 2
    phases = tuple((at_s, middle + swing * math.sin(shift + math.tau * at_s / period_s)) for at_s in starts_s)
    return Foreign(card=card, phases=phases)


def default_world(**overrides: Any) -> World:  # noqa: ANN401 - any field of World, checked by World itself
    """Eight 32 GB V100s in four slots each; on each card a foreign tenant holds a slot and its load moves.

    One model: 33 ms on the host, 27 ms on the engine, p95 within 300 ms, cold start 10 s and 30 s. `overrides` are
    fields of World; without `foreign` each of the `cards` gets its tenant.
    """
    model = SimModel(
        name="embedder",
        service=ServiceTime(host_ms=33.0, engine_ms=27.0),
        objective_p95_ms=300,
        cold_start=ColdStart(worker_s=10.0, load_s=30.0),
    )
    fields: dict[str, Any] = {"models": (model,), "cards": 8, **overrides}
    if "foreign" not in fields:
        fields["foreign"] = tuple(moving_load(card) for card in range(fields["cards"]))
    return World(**fields)
