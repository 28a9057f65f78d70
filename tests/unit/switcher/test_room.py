"""What the autoscaler's state says is wanted, and which slots count as seats."""

from typing import Any

import pytest

from tests.fakes import web as webs
from tests.fakes.web import Answer, as_json
from vgpu.core import names
from vgpu.core.switching.seen import Missing
from vgpu.switcher.room import Autoscaler, NoServing, Wanted, parse_fleet, parse_state, unseated

SMALL, LARGE = "v100-4q-4GB", "v100-16q-16GB"


def model(name: str = "search", **fields: Any) -> dict[str, Any]:
    known = {"name": name, "replicas_seated": 3, "replicas_running": 2, "replicas_min": 1}
    return known | {"slot_types": [SMALL], "replicas_unplaced": 0} | fields


@pytest.mark.parametrize(
    ("models", "wanted"),
    [
        ([], ()),
        ([model()], (Wanted(model="search", seated=3, unplaced=0, slot_types=(SMALL,)),)),
        ([model(replicas_unplaced=1)], (Wanted(model="search", seated=3, unplaced=1, slot_types=(SMALL,)),)),
        # Of a crowd that finds no slot those that serve are no part.
        ([model(replicas_unplaced=9)], (Wanted(model="search", seated=3, unplaced=9, slot_types=(SMALL,)),)),
        ([model(replicas_seated=0)], (Wanted(model="search", seated=0, unplaced=0, slot_types=(SMALL,)),)),
        # Nothing is decided yet: what is there is wanted.
        ([model(replicas_seated=None)], (Wanted(model="search", seated=2, unplaced=0, slot_types=(SMALL,)),)),
        (
            [model(), model("late", replicas_seated=None, replicas_running=None)],
            Missing(why="the autoscaler does not know yet what model late wants"),
        ),
    ],
)
def test_what_is_wanted(models: list[dict[str, Any]], wanted: Any) -> None:
    assert parse_state({"models": models}) == wanted


def test_an_autoscaler_of_before_this_is_missing_data_and_no_empty_fleet() -> None:
    old = model()
    del old["replicas_seated"]
    assert parse_state({"models": [old]}) == Missing(why="the autoscaler does not know yet what model search wants")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (as_json({"error": "the first tick is not over yet"}, 503), "503"),
        (Answer(b"<html>"), "Expecting value"),
        (as_json({"models": "none"}), "the autoscaler's answer is none that this switcher knows"),
        (as_json([]), "the autoscaler's answer is none that this switcher knows"),
        (Answer(b"[" * 100_000), "the autoscaler does not answer"),
        *(
            (as_json({"models": models}), "the autoscaler's answer is none that this switcher knows")
            for models in (
                [model(replicas_seated=-1)],
                [model(replicas_seated=1e400)],
                [model(replicas_seated="many")],
                [model(replicas_unplaced=-2)],
                [model(slot_types=SMALL)],
                [model(slot_types=[1])],
                [model(), model()],
            )
        ),
    ],
)
def test_an_autoscaler_that_answers_badly_is_missing_data(answer: Answer, said: str) -> None:
    with webs.serve({"/v1/state": answer}) as web:
        view = Autoscaler(web.url)
        found = view.wanted()
        view.close()
    assert isinstance(found, Missing)
    assert said in found.why


def test_an_autoscaler_that_is_away_is_missing_data() -> None:
    view = Autoscaler("http://127.0.0.1:9/")
    found = view.wanted()
    view.close()
    assert isinstance(found, Missing)
    assert found.why.startswith("the autoscaler does not answer: http://127.0.0.1:9/v1/state: ")


def test_an_autoscaler_that_answers() -> None:
    with webs.serve({"/v1/state": as_json({"models": [model()]})}) as web:
        view = Autoscaler(web.url)
        assert view.wanted() == (Wanted(model="search", seated=3, unplaced=0, slot_types=(SMALL,)),)
        view.close()


def test_where_nothing_is_served_nothing_is_wanted() -> None:
    assert NoServing().wanted() == ()


def node(name: str, profile: str = SMALL, *, gpus: int = 1, mark: str = "", ready: bool = True) -> dict[str, Any]:
    annotations = {mark: "night"} if mark else {}
    about = {"name": name, "labels": {names.LABEL_PROFILE: profile}, "annotations": annotations}
    condition = {"type": "Ready", "status": "True" if ready else "Unknown"}
    return {"metadata": about, "status": {"conditions": [condition], "allocatable": {"nvidia.com/gpu": str(gpus)}}}


def pod(name: str, on: str, *, is_worker: bool) -> dict[str, Any]:
    labels = {names.LABEL_POOL: "workers"} if is_worker else {}
    containers = [{"name": "m", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]
    return {
        "metadata": {"name": name, "namespace": "x", "labels": labels},
        "spec": {"nodeName": on, "containers": containers},
        "status": {"phase": "Running"},
    }


FLEET = parse_fleet(
    [
        node("a", gpus=3),
        node("b"),
        node("c", LARGE),
        node("leaves", mark=names.ANNOTATION_LEAVING),
        node("sleeps", mark=names.ANNOTATION_ASLEEP),
        node("silent", ready=False),
        node("cordoned") | {"spec": {"unschedulable": True}},
    ],
    [pod("w", "a", is_worker=True), pod("s", "a", is_worker=False), pod("t", "c", is_worker=False)],
)


def test_which_slots_are_seats() -> None:
    assert FLEET.capacity() == {SMALL: 3}  # one of a's is a stranger's, and so is c's
    assert FLEET.capacity(without={"b"}) == {SMALL: 2}
    assert FLEET.offered() == {SMALL: 4, LARGE: 1}
    assert FLEET.strangers({"a", "c"}) == {SMALL: 1, LARGE: 1}


def test_a_card_shared_by_units_is_counted_once() -> None:
    """Its free half is one slot of 500 or two of 250, and never all three."""
    card = node("shared") | {"spec": {}}
    card["metadata"]["labels"] = {}
    card["metadata"]["annotations"] = {names.ANNOTATION_GPUS: "v1 GPU-x:16384"}
    card["status"]["allocatable"] = {names.RESOURCE_VGPU: "1000"}
    wanted = [
        Wanted(model="half", seated=1, unplaced=0, slot_types=("fraction-500",)),
        Wanted(model="quarter", seated=1, unplaced=0, slot_types=("fraction-250",)),
    ]
    capacity = parse_fleet([card], [], wanted).capacity()
    assert sum(int(label.removeprefix("fraction-")) * count for label, count in capacity.items()) <= 1000
    assert capacity


@pytest.mark.parametrize(("seated", "unplaced", "short"), [(3, 0, {}), (4, 0, {"search": 1}), (3, 5, {}), (0, 9, {})])
def test_who_has_no_seat_anyway_lacks_none(seated: int, unplaced: int, short: dict[str, int]) -> None:
    wanted = Wanted(model="search", seated=seated, unplaced=unplaced, slot_types=(SMALL,))
    assert unseated([wanted], {SMALL: 3}) == short
