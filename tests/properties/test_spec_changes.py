"""Random changes of the models file, of what Ray serves and of who answers: no tick fails, no replica is killed."""

from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.core.spec import FleetSpec, GuardrailSettings, ModelSpec, PolicySettings, PoolSpec
from tests import build
from tests.unit.autoscaler.whole import BUSY, CALM, POOL, Whole, whole
from vgpu.core.profile import parse_profile

OTHER = "t4-4q"
POOLS = (
    PoolSpec(name=POOL, profile=parse_profile(build.PROFILE)),
    PoolSpec(name=OTHER, profile=parse_profile("t4-4q-4GB")),
)
NAMES = ("minilm", "ocr", "filetype")


def some_model(random: Random, name: str) -> ModelSpec:
    pools = random.choice([(POOL,), (POOL,), (OTHER,), (POOL, OTHER), (OTHER, POOL)])
    least = random.choice([1, 1, 2])
    return ModelSpec(
        name=name,
        pool=pools[0],
        further_pools=pools[1:],
        objective_p95_ms=random.choice([50, 200, 1000]),
        min_replicas=least,
        max_replicas=least + random.randrange(4),
        priority=random.randrange(3),
        max_batch_size=random.choice([1, 8]),
        scale_down_window_s=random.choice([None, 0.0, 5.0, 60.0]),
    )


def some_spec(random: Random) -> FleetSpec:
    models = [some_model(random, name) for name in NAMES if random.random() < 0.7] or [some_model(random, "minilm")]
    named = {pool for model in models for pool in model.pools}
    return FleetSpec(
        pools=tuple(pool for pool in POOLS if pool.name in named),
        models=tuple(models),
        policy=PolicySettings(window_s=random.choice([6.0, 10.0, 20.0]), recent_s=5.0),
        guardrails=GuardrailSettings(settle_down_s=2.0, worker_keep_s=random.choice([0.0, 5.0])),
    )


def trouble(random: Random, around: Whole) -> None:
    """Something changes."""
    match random.randrange(9):
        case 0 | 1:
            spec = some_spec(random)
            reworked = frozenset(model.name for model in spec.models if random.random() < 0.2)
            around.models.take(spec, reworked=reworked)
        case 2:
            around.models.refuse("models.yaml: not YAML")
        case 3:
            around.serving.deploy(random.choice(NAMES), random.randrange(1, 3))
        case 4 if around.serving.targets:
            around.serving.delete(random.choice(sorted(around.serving.targets)))
        case 5:
            around.serving.is_away = random.random() < 0.5
        case 6:
            around.cluster.is_away = random.random() < 0.5
        case 7:
            around.metrics.load = random.choice([BUSY, CALM])
        case _:
            around.leadership.held = random.random() < 0.7


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6))
def test_whatever_changes_no_tick_fails_and_no_worker_is_pulled_from_under_a_replica(seed: int) -> None:
    random = Random(seed)
    around = whole(workers=2, target=1, spec=some_spec(random))
    node = build.node("t1", profile="t4-4q-4GB", card="GPU-T", slots=4)
    around.cluster.inventory = replace(around.cluster.inventory, nodes=(*around.cluster.inventory.nodes, node))
    around.cluster.wanted[OTHER] = 0
    lose = around.cluster.lose

    def lost(worker: str) -> None:
        assert worker not in around.serving.running, f"seed {seed}: a replica lived in {worker}"
        lose(worker)

    around.cluster.lose = lost  # type: ignore[method-assign]  # the test looks over its shoulder
    for _ in range(12):
        trouble(random, around)
        for tick in around.run(random.choice([2.0, 8.0, 20.0])):
            assert tick.defect is None, f"seed {seed}"
            assert set(around.loop._state.models) <= {model.name for model in tick.spec.models}
            named = {pool.name for pool in tick.models_file.spec.pools}
            assert named <= {pool.name for pool in tick.spec.pools}
            for decision in tick.plan.decisions if tick.plan else ():
                model = next(model for model in tick.spec.models if model.name == decision.model)
                assert decision.count <= max(model.max_replicas, decision.current)
