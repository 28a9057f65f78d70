"""Switches that nobody asks for by hand: by the calendar, announced beforehand, and on demand."""

from pathlib import Path

from tests.unit.switcher.world import (
    BEGAN_S,
    DAY,
    FILE,
    IN_DAY,
    IN_NIGHT,
    INTERVAL_S,
    LARGE,
    SMALL,
    world,
)
from vgpu.adapters import kube
from vgpu.core import names
from vgpu.core.switching.record import Cause, Result
from vgpu.switcher.room import Wanted

LEAVING = dict.fromkeys(DAY, "ready cordoned leaving") | {"node-5": "silent cordoned asleep"}
AT_TEN = '\nschedule:\n  - {layout: night, at: "08:10"}\n  - {layout: day, at: "07:00"}\n'


def test_a_scheduled_switch_is_announced_and_then_done(tmp_path: Path) -> None:
    """Ten minutes before it nothing is said; five minutes before it the nodes are marked and stay in use."""
    with world(tmp_path, file=FILE.replace("policy: {", "policy: {announce_s: 300, ") + AT_TEN) as here:
        switcher = here.run(here.switcher(), 3, until=lambda: False)
        assert here.nodes() == IN_DAY
        here.now_s = BEGAN_S + 310
        switcher.step()
        assert (here.nodes(), here.record().under_way) == (LEAVING, None)
        here.now_s = BEGAN_S + 601
        here.run(switcher)
        record = here.record()
        assert (here.ended().result, here.ended().cause, here.nodes()) == (Result.DONE, Cause.SCHEDULE, IN_NIGHT)
        assert record.scheduled_s == BEGAN_S + 600
        here.ask("day")  # by hand, after it: the calendar does not undo it
        here.run(switcher, 40)
        here.run(switcher, 10, until=lambda: False)
        assert (here.record().layout, here.nodes()) == ("day", IN_DAY)


def test_an_announcement_is_taken_back_when_the_schedule_changes(tmp_path: Path) -> None:
    with world(tmp_path, file=FILE + AT_TEN) as here:
        switcher = here.switcher()
        switcher.step()
        here.now_s = BEGAN_S + 310
        switcher.step()
        assert here.nodes() == LEAVING
        here.file.write_text(FILE)
        switcher.step()
        switcher.step()  # two readings in a row
        assert here.nodes() == IN_DAY


def test_an_announcement_that_a_former_switcher_made_is_taken_back(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.cluster.give_up("node-1", "night")
        switcher = here.switcher()
        switcher.step()
        switcher.step()
        assert here.nodes() == IN_DAY


def test_a_change_that_came_long_ago_is_let_pass(tmp_path: Path) -> None:
    file = FILE.replace("policy: {", "policy: {late_s: 600, ") + '\nschedule:\n  - {layout: night, at: "07:45"}\n'
    with world(tmp_path, file=file) as here:
        here.run(here.switcher(), 5, until=lambda: False)
        assert (here.record().layout, here.record().switch) == ("day", None)


def test_a_refused_scheduled_switch_leaves_no_announcement(tmp_path: Path) -> None:
    with world(tmp_path, file=FILE + AT_TEN) as here:
        here.serving.state = (Wanted(model="search", seated=3, unplaced=0, slot_types=(SMALL,)),)
        switcher = here.switcher()
        switcher.step()
        here.now_s = BEGAN_S + 310
        switcher.step()
        here.now_s = BEGAN_S + 601
        here.run(switcher, 10, until=lambda: False)
        assert (here.ended().result, here.nodes(), len(here.record().history)) == (Result.REFUSED, IN_DAY, 1)


# Demand.


def test_a_pod_that_fits_only_by_night_brings_the_night_on(tmp_path: Path) -> None:
    file = FILE + "on_demand: {enabled: true, after_s: 30, rest_s: 600}\n"
    with world(tmp_path, file=file) as here:
        limits = {"limits": {names.RESOURCE_GPU: "1"}}
        spec = {
            "nodeSelector": {names.LABEL_PROFILE: LARGE},
            "containers": [{"name": "m", "image": "x", "resources": limits}],
        }
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "large"}, "spec": spec}
        here.client.create(kube.PODS, manifest, "default")
        switcher = here.switcher()
        here.run(switcher, 12, until=lambda: False)
        assert here.record().under_way is None
        here.run(switcher, 30, until=lambda: here.record().layout == "night")
        assert (here.ended().cause, here.nodes()) == (Cause.DEMAND, IN_NIGHT)
        took_s = here.now_s - BEGAN_S
        assert 30 + INTERVAL_S <= took_s <= 80


def test_demand_never_takes_a_seat_away(tmp_path: Path) -> None:
    """Four replicas sit on five small slots; by night two would remain."""
    file = FILE + "on_demand: {enabled: true, after_s: 0, rest_s: 0}\n"
    with world(tmp_path, file=file) as here:
        here.serving.state = (
            Wanted(model="search", seated=4, unplaced=0, slot_types=(SMALL,)),
            Wanted(model="large", seated=0, unplaced=1, slot_types=(LARGE,)),
        )
        here.run(here.switcher(), 30, until=lambda: False)
        assert (here.record().layout, here.record().history) == ("day", ())
