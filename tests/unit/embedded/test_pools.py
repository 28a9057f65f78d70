"""Worker pools that follow a changed models file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from autoscaler import config
from autoscaler.embedded import fleet
from autoscaler.embedded.pools import Pools
from vgpu.adapters import kube

CARDS = fleet.Fleet(
    cards=(
        fleet.Card(profile="v100-8q-8GB", nodes=("node-1", "node-2")),
        fleet.Card(profile="v100-4q-4GB", nodes=("node-3",)),
    )
)
ONE = "  one: {kind: synthetic, slot: v100-8q-8GB, objective_p95_ms: 200}\n"
SMALL = "  small: {kind: synthetic, slot: v100-4q-4GB, objective_p95_ms: 200}\n"
FOREIGN = "  foreign: {kind: synthetic, slot: t4-4q-4GB, objective_p95_ms: 200}\n"


@dataclass(slots=True)
class Api:
    """Keeps the Deployments it was given, as (name, replicas); `away` refuses them."""

    created: list[tuple[str, int]] = field(default_factory=list)
    away: bool = False

    def apply_deployment(self, manifest: dict[str, Any], namespace: str) -> None:
        if self.away:
            raise kube.Unavailable("apply deployment", "it is away")
        self.created.append((manifest["metadata"]["name"], manifest["spec"]["replicas"]))

    def close(self) -> None:
        return


@dataclass(slots=True)
class Desk:
    file: Path
    api: Api
    pools: Pools

    def write(self, *models: str) -> None:
        self.file.write_text("models:\n" + "".join(models))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Pools of one model, as an installation begins."""
    file, api = tmp_path / "models.yaml", Api()
    file.write_text("models:\n" + ONE)
    pools: Any = Pools(models=file, fleet=CARDS, connect=lambda: api, namespace="default", ray_address="127.0.0.2:6379")
    pools.create(config.load(file), {"workers-v100-8q-8gb": 1})
    return Desk(file, api, pools)


def test_the_first_pools_begin_with_their_workers(desk: Desk) -> None:
    assert desk.api.created == [("workers-v100-8q-8gb", 1)]
    assert desk.pools.follow() == []


def test_a_slot_type_that_a_changed_file_brings_gets_a_pool_once_and_the_autoscaler_sizes_it(desk: Desk) -> None:
    desk.write(ONE, SMALL)
    assert desk.pools.follow() == ["a pool for v100-4q-4GB was added"]
    assert desk.api.created[1:] == [("workers-v100-4q-4gb", 0)]
    desk.write(ONE)
    assert desk.pools.follow() == []
    desk.write(ONE, SMALL)
    assert desk.pools.follow() == []
    assert len(desk.api.created) == 2


def test_a_slot_type_that_no_card_is_cut_into_is_named_with_the_remedy(desk: Desk) -> None:
    desk.write(ONE, FOREIGN)
    assert desk.pools.follow() == [
        "slot type t4-4q-4GB: no card here is cut so, and its models wait without a worker; "
        "use v100-4q-4GB, v100-8q-8GB, or start again with other cards (--fleet)"
    ]
    assert desk.pools.follow() == []
    assert len(desk.api.created) == 1


def test_a_refused_file_adds_no_pool_and_is_told_once(desk: Desk) -> None:
    desk.write(ONE, SMALL.replace("200", "-1"))
    problem, rest = desk.pools.follow()
    assert problem.startswith(f"{desk.file}: models.small: objective_p95_ms is -1")
    assert rest == f"{desk.file} changes nothing until it is corrected"
    assert desk.pools.follow() == []
    assert len(desk.api.created) == 1


def test_while_the_api_is_away_the_pool_is_tried_again(desk: Desk) -> None:
    desk.write(ONE, SMALL)
    desk.api.away = True
    with pytest.raises(kube.Unavailable):
        desk.pools.follow()
    desk.api.away = False
    assert desk.pools.follow() == ["a pool for v100-4q-4GB was added"]
