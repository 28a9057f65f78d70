"""Switches, slots and training, read from what was seen."""

from collections import Counter

from autoscaler.embedded import switch_timeline
from autoscaler.embedded.switch_timeline import SwitchSeen, TrainingSeen, Use
from tests.unit.embedded.nights import (
    BEGAN_AT_S,
    SLOT_TYPES,
    STEPS,
    TRAINING_LINES,
    answer,
    by_day,
    by_night,
    node,
    record,
    scene,
)

QUARTER, HALF, WHOLE = "v100-4q-4GB", "v100-8q-8GB", "v100-16q-16GB"
SECONDS = (1.0, 1.0, 10.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_switches_are_read_from_their_records_oldest_first() -> None:
    found = switch_timeline.switches(answer(record("night", 105), record("day", 170)), load_began_at_s=BEGAN_AT_S)
    assert found == (
        SwitchSeen(
            gpu="card-a",
            origin="day",
            target="night",
            cause="schedule",
            result="done",
            began_s=105.0,
            steps=tuple(zip(STEPS, SECONDS, strict=True)),
        ),
        SwitchSeen(
            gpu="card-a",
            origin="night",
            target="day",
            cause="schedule",
            result="done",
            began_s=170.0,
            steps=tuple(zip(STEPS, SECONDS, strict=True)),
        ),
    )


def test_one_of_before_the_load_is_none_of_this_demo_and_one_under_way_is() -> None:
    going = record("day", 170, result=None, ended_at_s=None, spent=[], why="")
    said = answer(record("day", -60), record("night", 105), under_way=going)
    found = switch_timeline.switches(said, load_began_at_s=BEGAN_AT_S)
    assert [(switch.target, switch.result, switch.seconds) for switch in found] == [
        ("night", "done", 17.0),
        ("day", None, 0.0),
    ]


def test_bands_lie_end_to_end_from_where_the_switch_began() -> None:
    (switch,) = switch_timeline.switches(answer(record("night", 100)), load_began_at_s=BEGAN_AT_S)
    assert switch.bands[:4] == (
        ("check", 100.0, 101.0),
        ("cordon", 101.0, 102.0),
        ("make_room", 102.0, 112.0),
        ("drain", 112.0, 113.0),
    )
    assert switch.bands[-1] == ("uncordon", 116.0, 117.0)


def test_a_switch_is_announced_from_when_its_nodes_were_seen_leaving() -> None:
    (switch,) = switch_timeline.switches(answer(record("night", 100)), load_began_at_s=BEGAN_AT_S)
    going = {"leaving": True}
    leaving = [scene(at_s, node("node-1") | going) for at_s in (70.0, 85.0, 99.5, 101.0)]
    earlier = [scene(40.0, node("node-1") | going), scene(60.0, node("node-1"))]
    assert switch_timeline.announced_s([*earlier, *leaving], switch) == 70.0
    assert switch_timeline.announced_s([by_day(99.0), *leaving[-1:]], switch) is None
    assert switch_timeline.announced_s([], switch) is None


def test_a_slot_serves_trains_is_free_or_asleep() -> None:
    assert switch_timeline.uses(by_day(0), SLOT_TYPES, training="training") == Counter(
        {(QUARTER, Use.SERVING): 1, (QUARTER, Use.FREE): 1, (WHOLE, Use.ASLEEP): 1, (HALF, Use.SERVING): 1}
    )
    assert switch_timeline.uses(by_night(0), SLOT_TYPES, training="training") == Counter(
        {(QUARTER, Use.ASLEEP): 2, (WHOLE, Use.TRAINING): 1, (HALF, Use.SERVING): 1}
    )


def test_a_pod_of_a_name_that_only_looks_so_does_not_train() -> None:
    seen = scene(0, node("node-5", holder="default/trainings-x"), node("node-6", holder="training-ns/w1"))
    found = switch_timeline.uses(seen, SLOT_TYPES, training="training")
    assert (found[WHOLE, Use.FREE], found[HALF, Use.FREE]) == (1, 1)


def test_a_training_is_read_over_all_its_runs() -> None:
    again = ['{"event": "begun", "step": 327, "steps": 1000000}', '{"event": "step", "step": 330, "loss": 1.6}']
    assert switch_timeline.training([*TRAINING_LINES, *again]) == TrainingSeen(
        steps=330, loss_first=3.1, loss_last=1.6, stops=1
    )


def test_of_a_training_that_never_ran_nothing_is_known() -> None:
    assert switch_timeline.training(["Traceback", "[]", "{}", "3"]) == TrainingSeen(
        steps=0, loss_first=None, loss_last=None, stops=0
    )
