"""A small fleet of two slot types: V100s in two slots of 8 GB, T4s in four of 4 GB."""

from collections.abc import Iterable, Mapping, Sequence

from autoscaler.core.capacity import Cards
from autoscaler.core.contention import measure
from autoscaler.core.observation import Observation, SlotReading
from autoscaler.core.service import Demand
from autoscaler.core.spanning import SlotOption
from autoscaler.core.spec import FleetSpec, ModelSpec, PolicySettings, PoolSpec
from tests import build
from vgpu.core.inventory import Inventory
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy

BIG, SMALL = "big", "small"
POOLS = (
    PoolSpec(name=BIG, profile=parse_profile("v100-8q-8GB")),
    PoolSpec(name=SMALL, profile=parse_profile("t4-4q-4GB")),
)
FAST, SLOW = Demand(away_s=0.03, engine_s=0.03), Demand(away_s=0.03, engine_s=0.06)
"""Of one model on a V100 and on a T4."""


def types(
    big: Demand | None = FAST, small: Demand | None = SLOW, *, small_worth: float = 1.0, small_cost: float = 0.25
) -> tuple[SlotOption, ...]:
    return (
        SlotOption(pool=BIG, profile=POOLS[0].profile, cost=0.5, demand=big),
        SlotOption(pool=SMALL, profile=POOLS[1].profile, cost=small_cost, demand=small, worth=small_worth),
    )


def stock(
    *,
    big: int = 2,
    small: int = 1,
    held: Mapping[str, str] | None = None,
    policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT,
) -> Inventory:
    """Cards b1, b2 … and t1, t2 …; `held` maps slots such as b1/0 to pods."""
    holders: dict[str, dict[int, str]] = {}
    for slot_id, pod in (held or {}).items():
        node, index = slot_id.split("/")
        holders.setdefault(node, {})[int(index)] = pod
    cards = [(f"b{place}", "v100-8q-8GB", 2) for place in range(1, big + 1)]
    cards += [(f"t{place}", "t4-4q-4GB", 4) for place in range(1, small + 1)]
    return build.inventory(
        *(
            build.node(
                name, profile=profile, slots=slots, card=f"GPU-{name}", policy=policy, held=holders.get(name, {})
            )
            for name, profile, slots in cards
        )
    )


def readings(of: Inventory, busy: Mapping[str, float], at_s: float = 0.0) -> list[SlotReading]:
    return [SlotReading(slot_id=slot.slot_id, at_s=at_s, busy_ratio=busy.get(slot.slot_id, 0.0)) for slot in of.slots]


def cards(of: Inventory, busy: Mapping[str, float] | None = None, workers: Iterable[str] = ()) -> Cards:
    seen = Observation(slots=tuple(readings(of, busy or {})))
    return Cards.of(of, measure(of, seen, PolicySettings(), 0.0), frozenset(workers), frozenset())


def model(name: str = "minilm", **fields: object) -> ModelSpec:
    return build.model(name, **{"pool": BIG, "further_pools": (SMALL,), "max_replicas": 8, **fields})


def fleet(*models: ModelSpec, pools: Sequence[PoolSpec] = POOLS) -> FleetSpec:
    return FleetSpec(pools=tuple(pools), models=models or (model(),))
