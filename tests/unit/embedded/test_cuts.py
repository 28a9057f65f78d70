"""One card cut several ways: what a fleet file may say of it, and every contradiction."""

from pathlib import Path
from typing import Any

import pytest

from autoscaler import config
from autoscaler.embedded import fleet
from autoscaler.embedded.fleet import Fleet
from tests.unit.embedded.test_fleet import card, load, problems

QUARTER, WHOLE, HALF = "v100-4q-4GB", "v100-16q-16GB", "v100-8q-8GB"
DAY = card("n1", "n2", "n3", "n4", profile=QUARTER, gpu="gpu-a")
NIGHT = card("n5", profile=WHOLE, gpu="gpu-a", powered=False)
BESIDE = card("n6", "n7")


def test_entries_of_one_name_are_one_card_and_others_stay_what_they_are(tmp_path: Path) -> None:
    made = load(tmp_path, {"cards": [BESIDE, DAY, NIGHT]})
    assert [made.card_uuid(index) for index in range(3)] == [
        fleet.card_uuid(0),
        made.card_uuid(1),
        made.card_uuid(1),
    ]
    assert made.card_uuid(1) != fleet.card_uuid(1)
    assert [cut.profile for cut in made.cuts("gpu-a")] == [QUARTER, WHOLE]
    assert [(entry.gpu, entry.powered) for entry in made.cards] == [(None, True), ("gpu-a", True), ("gpu-a", False)]
    assert (made.is_switchable, fleet.default().is_switchable) == (True, False)
    # As the installation hands it to its processes.
    assert load(tmp_path, {"cards": made.model_dump(mode="json")["cards"]}) == made


def test_every_node_has_a_place_of_its_own_whether_it_sleeps_or_not(tmp_path: Path) -> None:
    found = fleet.guests(load(tmp_path, {"cards": [DAY, NIGHT, BESIDE]}))
    assert {node: (guest.index, guest.card_index) for node, guest in found.items()} == {
        "n1": (0, 0),
        "n2": (1, 0),
        "n3": (2, 0),
        "n4": (3, 0),
        "n5": (4, 1),
        "n6": (5, 2),
        "n7": (6, 2),
    }
    assert found["n5"].card_uuid == found["n1"].card_uuid != found["n6"].card_uuid


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        (
            [DAY, card("n5", profile="a100-40c-40GB", gpu="gpu-a", powered=False)],
            "gpu gpu-a is a100 and v100; a card has one board, so give other cards other names",
        ),
        (
            [DAY, NIGHT | {"policy": "fixed-share"}],
            "gpu gpu-a has the policies best-effort and fixed-share; the policy is the card's, give one",
        ),
        (
            [DAY, NIGHT | {"powered": True}],
            "gpu gpu-a: its guests that run at the start ask for 32768 of 16384 MiB; "
            "set powered: false on all but one entry",
        ),
        (
            [card("n1", profile=QUARTER, gpu="gpu-a"), card("n2", profile=HALF, gpu="gpu-a")],
            f"gpu gpu-a: {QUARTER} and {HALF} at the same time are of mixed sizes; "
            "set powered: false on all but one entry",
        ),
        (
            [card("n1", profile=QUARTER, gpu="gpu-a"), card("n2", profile=QUARTER, gpu="gpu-a")],
            "gpu gpu-a: two entries of one size run at the start, where one entry could name all of their nodes; "
            "set powered: false on all but one entry",
        ),
        ([DAY, card("n4", profile=WHOLE, gpu="gpu-a", powered=False)], "nodes named twice: n4"),
        (
            [NIGHT, card("n6", powered=False)],
            "every card is off; leave out powered: false where guests run at the start",
        ),
    ],
)
def test_what_one_card_cannot_be_is_refused(tmp_path: Path, cards: list[dict[str, Any]], said: str) -> None:
    (problem,) = problems(tmp_path, {"cards": cards})
    assert problem.endswith(said)


@pytest.mark.parametrize("given", [{"gpu": "gpu-a"}, {"powered": False}])
def test_a_card_shared_by_units_has_one_node_that_stays(tmp_path: Path, given: dict[str, Any]) -> None:
    (problem, *_) = problems(tmp_path, {"cards": [card("n1", profile="fraction:500", **given)]})
    assert problem == "cards.0: fraction:500 is shared by units in one node, always; leave out gpu and powered"


def test_a_card_has_a_name_that_a_config_map_can_bear(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"cards": [DAY | {"gpu": "GPU a"}]})
    assert problem == "cards.0.gpu: 'GPU a'; use lower-case letters, digits and hyphens"


def test_the_first_workers_begin_on_guests_that_run(tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(
        f"""
models:
  minilm:
    source: text_embedder
    slot: [{WHOLE}, {QUARTER}]
    objective_p95_ms: 200
    autoscaling: {{min_replicas: 2, max_replicas: 3}}
"""
    )
    spec = config.load(models)
    by_day: Fleet = load(tmp_path, {"cards": [DAY, NIGHT]})
    assert fleet.first_workers(by_day, spec) == {config.pool_name(WHOLE): 0, config.pool_name(QUARTER): 2}
