"""The picture of `demo-profiles`: what is stacked, and that everything that happened is drawn."""

from pathlib import Path

from autoscaler.embedded import profiles_picture, switch_timeline
from autoscaler.embedded.switch_timeline import SwitchSeen, Use
from autoscaler.embedded.timeline import Timeline
from tests.unit.embedded.nights import BEGAN_AT_S, SLOT_TYPES, answer, by_day, by_night, record, timeline
from tests.unit.embedded.test_picture import size

SWITCHES = switch_timeline.switches(answer(record("night", 105), record("day", 170)), load_began_at_s=BEGAN_AT_S)


def draw(directory: Path, told: Timeline, switches: tuple[SwitchSeen, ...] = SWITCHES) -> bytes:
    path = directory / "profiles.png"
    profiles_picture.draw(
        path, told, objective_ms=1000.0, switches=switches, slot_types=SLOT_TYPES, training="training"
    )
    return path.read_bytes()


def test_slots_are_stacked_by_type_and_use_and_their_sum_never_changes() -> None:
    counts = [switch_timeline.uses(seen, SLOT_TYPES, training="training") for seen in (by_day(0), by_night(1))]
    bands = profiles_picture.bands_of(counts, ["v100-4q-4GB", "v100-16q-16GB", "v100-8q-8GB"])
    assert bands == [
        ("v100-4q-4GB", Use.SERVING, [1, 0]),
        ("v100-4q-4GB", Use.FREE, [1, 0]),
        ("v100-4q-4GB", Use.ASLEEP, [0, 2]),
        ("v100-16q-16GB", Use.TRAINING, [0, 1]),
        ("v100-16q-16GB", Use.ASLEEP, [1, 0]),
        ("v100-8q-8GB", Use.SERVING, [1, 1]),
    ]
    assert {sum(heights) for heights in zip(*(heights for _, _, heights in bands), strict=True)} == {len(SLOT_TYPES)}


def test_a_day_and_a_night_are_drawn_as_a_png(tmp_path: Path) -> None:
    image = draw(tmp_path, timeline())
    assert size(image) == (1210, 935)
    assert 20_000 < len(image) < 400_000


def test_what_happened_shows(tmp_path: Path) -> None:
    usual = draw(tmp_path, timeline())
    assert usual != draw(tmp_path, timeline(latency_ms=900.0))
    assert usual != draw(tmp_path, timeline(), SWITCHES[:1])
    announced = timeline()
    for seen in announced.scenes[90:106]:
        seen.state["nodes"][0]["leaving"] = True
    assert usual != draw(tmp_path, announced)


def test_a_demo_in_which_nothing_happened_is_drawn_too(tmp_path: Path) -> None:
    assert size(draw(tmp_path, Timeline(), ())) == (1210, 935)
