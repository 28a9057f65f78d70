"""The emulated hardware: what a fleet file may say, and what is refused with every reason."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler import config
from autoscaler.embedded import fleet
from autoscaler.embedded.fleet import Card, Fleet, FleetError
from autoscaler.refusal import Refused
from vgpu.core.share import SchedulerPolicy

PROFILE = "v100-8q-8GB"
MUST = {"objective_p95_ms": 200, "autoscaling": {"min_replicas": 3, "max_replicas": 3}}


def load(directory: Path, document: Any) -> Fleet:
    path = directory / "fleet.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return fleet.load(path)


def problems(directory: Path, document: Any) -> list[str]:
    with pytest.raises(FleetError) as caught:
        load(directory, document)
    assert isinstance(caught.value, Refused)
    return [line.removeprefix(f"{directory / 'fleet.yaml'}: ") for line in str(caught.value).splitlines()]


def card(*nodes: str, profile: str = PROFILE, **given: Any) -> dict[str, Any]:
    return {"profile": profile, "nodes": list(nodes), **given}


def test_by_default_there_are_three_cards_of_two_guests() -> None:
    made = fleet.default()
    assert [(entry.profile, entry.nodes, entry.policy) for entry in made.cards] == [
        (PROFILE, ("node-1", "node-2"), SchedulerPolicy.BEST_EFFORT),
        (PROFILE, ("node-3", "node-4"), SchedulerPolicy.BEST_EFFORT),
        (PROFILE, ("node-5", "node-6"), SchedulerPolicy.BEST_EFFORT),
    ]
    assert made.nodes == tuple(f"node-{index}" for index in range(1, 7))


def test_cards_can_be_cut_into_any_slot_type_or_shared_by_units() -> None:
    quarters, halves = fleet.default("v100-4q-4GB"), fleet.default("fraction:500")
    assert [len(entry.nodes) for entry in quarters.cards] == [4, 4, 4]
    assert (quarters.is_shared, halves.is_shared) == (False, True)
    assert [entry.nodes for entry in halves.cards] == [("node-1",), ("node-2",), ("node-3",)]
    assert halves.cards[0].slots == ("node-1/part-0", "node-1/part-1")
    assert (halves.cards[0].slot_framebuffer_mib, halves.cards[0].framebuffer_mib) == (8192, 16384)
    assert halves.cards[0].offer("GPU-a") == "v1 GPU-a:16384"


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ("v100-8q-16GB", "--slots v100-8q-16GB: 'v100-8q-16GB' contradicts itself"),
        ("fraction:0", "--slots fraction:0: a fraction of 0 units"),
        ("fraction:10", "fraction:10 is too small: an emulated card has 32 slots, of 32 units"),
    ],
)
def test_what_no_card_can_be_cut_into_is_refused(slots: str, said: str) -> None:
    with pytest.raises(FleetError, match=said):
        fleet.default(slots)


def test_a_shared_card_has_one_node_and_a_board_that_exists(tmp_path: Path) -> None:
    cards = [card("a", "b", profile="fraction:500"), card("c", profile="fraction:500", board="x9")]
    first, second = problems(tmp_path, {"cards": cards})
    assert first == "cards.0: 2 nodes on one card; fraction:500 allows 1"
    assert second.startswith("cards.1.board: board 'x9' is not known")


def test_a_file_says_what_each_card_is_cut_into(tmp_path: Path) -> None:
    document = {"cards": [card("a", "b", policy="fixed-share"), card("c", profile="v100-16q-16GB")], "cost_ratio": 2}
    assert load(tmp_path, document) == Fleet(
        cards=(
            Card(profile=PROFILE, nodes=("a", "b"), policy=SchedulerPolicy.FIXED_SHARE),
            Card(profile="v100-16q-16GB", nodes=("c",)),
        ),
        cost_ratio=2.0,
    )


def test_what_is_written_is_what_is_read_back(tmp_path: Path) -> None:
    """The installation hands the fleet to its other processes in a file."""
    assert load(tmp_path, fleet.default().model_dump(mode="json")) == fleet.default()


def test_every_problem_of_every_card_is_named_at_once(tmp_path: Path) -> None:
    assert problems(tmp_path, {
        "cards": [
            card("a", profile="v100-8q-16GB"),
            card("b", "c", "d"),
            card("e", policy="round-robin", colour="green"),
            card(),
            card("Not A Name"),
        ],
        "cost_ratio": 0,
        "cost": 1,
    }) == [
        "cards.0.profile: 'v100-8q-16GB' contradicts itself: '8q' means 8 GB and '16GB' says 16 GB; "
        "write v100-8q-8GB or v100-16q-16GB",
        "cards.1: 3 nodes on one card; v100-8q-8GB allows 2",
        "cards.2.policy: should be 'best-effort', 'equal-share' or 'fixed-share'",
        "cards.2.colour: unknown key; remove it or correct its spelling",
        "cards.3.nodes: empty; name one guest for each slot",
        "cards.4.nodes: 'Not A Name'; use lower-case letters, digits and hyphens",
        "cost_ratio: should be greater than 0",
        "cost: unknown key; remove it or correct its spelling",
    ]  # fmt: skip


def test_nodes_named_twice_are_listed(tmp_path: Path) -> None:
    assert problems(tmp_path, {"cards": [card("a", "b"), card("b", "c"), card("a")]}) == [
        "the file: nodes named twice: a, b"
    ]


def test_more_nodes_than_there_are_addresses_are_refused(tmp_path: Path) -> None:
    cards = [card(f"n{index}", profile="v100-16q-16GB") for index in range(251)]
    assert problems(tmp_path, {"cards": cards}) == ["the file: 251 nodes; at most 250 have an address here"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "the file: expected a mapping"),
        ("cards: []", "the file: no cards; describe at least one"),
        ("cards: [", "not YAML: while parsing"),
        ("{}", "cards: missing; it has no default"),
    ],
)
def test_a_file_that_is_none_is_said_to_be_so(tmp_path: Path, document: str, said: str) -> None:
    (line,) = problems(tmp_path, document)
    assert line.startswith(said)


def test_a_file_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=r"none\.yaml: No such file or directory; give a readable fleet file"):
        fleet.load(tmp_path / "none.yaml")


def test_the_example_of_the_readme_can_be_used(tmp_path: Path) -> None:
    text = Path(fleet.__file__).with_name("README.md").read_text()
    example = text.partition("```yaml\n")[2].partition("```")[0]
    assert load(tmp_path, example).nodes == tuple(f"node-{number}" for number in range(1, 12))


def test_cards_and_slots_keep_their_uuids_from_run_to_run() -> None:
    assert fleet.card_uuid(0) == "GPU-eed0fd84-d2d2-5e39-85cd-6827a374d364"
    everything = [fleet.card_uuid(index) for index in range(50)] + [fleet.slot_uuid(f"n{i}/0") for i in range(50)]
    assert len(set(everything)) == 100


def test_models_begin_with_the_workers_they_must_have() -> None:
    """Who has a choice begins where there is room beside those who have none."""
    made = Fleet(cards=(Card(profile=PROFILE, nodes=("a", "b")), Card(profile="v100-4q-4GB", nodes=("c", "d", "e"))))
    spec = config.parse({
        "models": {
            "both": {
                "slot": [PROFILE, "v100-4q-4GB"],
                "objective_p95_ms": 200,
                "autoscaling": {"min_replicas": 3, "max_replicas": 4},
            },
            "big": {"slot": PROFILE, "objective_p95_ms": 200},
            "asleep": {"slot": PROFILE, "objective_p95_ms": 200, "autoscaling": {"min_replicas": 0}},
        }
    })  # fmt: skip
    big, small = (config.pool_name(label) for label in (PROFILE, "v100-4q-4GB"))
    assert fleet.first_workers(made, spec) == {big: 2, small: 2}
    alone = config.parse({"models": {"big": {**MUST, "slot": PROFILE}}})
    assert fleet.first_workers(made, alone) == {big: 3}, "more than there are slots: they wait"
