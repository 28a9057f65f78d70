"""The ConfigMap of a GPU: what goes in comes out, lost updates are refused, and people can leave a request."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.unit.switcher.world import NAMESPACE, World, config_map, world
from vgpu.adapters.kube_errors import Conflict, Unavailable
from vgpu.adapters.kube_verbs import CONFIG_MAPS
from vgpu.core.switching.record import Asked, Cause, Result
from vgpu.core.switching.state_machine import begin
from vgpu.switcher.records import HISTORY, Record, ended

ASKED = Asked(id="hand-1", layout="night", cause=Cause.HAND, at_s=5.5, by="eva")
SWITCH = begin(ASKED, "gpu-a", "day", "night", 7.0)
DONE = replace(SWITCH, result=Result.DONE, ended_at_s=9.0)
WHOLE = Record(gpu="gpu-a", layout="day", switch=SWITCH, request=ASKED, scheduled_s=12.5, history=(DONE, DONE))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("records")) as made:
        yield made


@pytest.fixture
def here(server: World) -> World:
    for each in server.client.list(CONFIG_MAPS, NAMESPACE):
        server.client.delete(CONFIG_MAPS, each["metadata"]["name"], NAMESPACE)
    return server


def test_what_is_written_is_read(here: World) -> None:
    written = here.records.write(WHOLE)
    assert written == replace(WHOLE, version=written.version)
    assert here.records.read("gpu-a") == written
    assert here.records.read_all(["gpu-a", "gpu-b"]) == {"gpu-a": written, "gpu-b": Record(gpu="gpu-b")}
    assert config_map(here.client)["metadata"]["labels"] == {"app.kubernetes.io/component": "switcher"}


def test_what_is_not_there_is_an_empty_record(here: World) -> None:
    assert here.records.read("gpu-a") == Record(gpu="gpu-a")


def test_of_two_writers_one_is_refused(here: World) -> None:
    here.records.write(WHOLE)
    with pytest.raises(Conflict):
        here.records.write(WHOLE)  # as if there were none yet
    one = here.records.read("gpu-a")
    here.records.write(replace(one, layout="night"))
    with pytest.raises(Conflict):
        here.records.write(replace(one, layout="noon"))
    here.client.delete(CONFIG_MAPS, "vgpu-switch-gpu-a", NAMESPACE)
    with pytest.raises(Conflict):
        here.records.write(one)


def test_a_request_makes_the_object_or_joins_what_is_in_it(here: World) -> None:
    here.records.ask("gpu-a", ASKED, layout="day")
    asked = here.records.read("gpu-a")
    assert asked == Record(gpu="gpu-a", version=asked.version, layout="day", request=ASKED)
    written = here.records.write(replace(asked, switch=SWITCH, request=None))
    newer = replace(ASKED, id="hand-2")
    here.records.ask("gpu-a", newer)
    with pytest.raises(Conflict):  # the switcher has not seen the request
        here.records.write(written)
    after = here.records.read("gpu-a")
    assert after == replace(written, version=after.version, request=newer)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"record": "{"}, "record: no JSON"),
        ({"request": '{"version": 2}'}, "request: version is 2"),
        ({"history": "[]"}, "a list"),
        ({"scheduled": "soon"}, "could not convert string to float: 'soon'"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_remedy(here: World, data: dict[str, str], said: str) -> None:
    here.records.write(Record(gpu="gpu-a"))
    here.client.replace(CONFIG_MAPS, config_map(here.client) | {"data": {"layout": "day"} | data}, NAMESPACE)
    record = here.records.read("gpu-a")
    assert said in record.problem
    assert record.problem.endswith(
        "mend or delete ConfigMap vgpu-switch-gpu-a; while it is there as it is, nothing is switched"
    )
    assert replace(record, problem="") == Record(gpu="gpu-a", version=record.version)


def test_an_api_that_is_away_is_no_empty_record(here: World) -> None:
    here.server.faults.refuse(503, times=3)
    for call in (
        lambda: here.records.read("gpu-a"),
        lambda: here.records.read_all(["gpu-a"]),
        lambda: here.records.write(WHOLE),
    ):
        with pytest.raises(Unavailable):
            call()


@pytest.mark.parametrize(
    ("result", "goal", "layout"),
    [(Result.DONE, "night", "night"), (Result.ROLLED_BACK, "day", "day"), (Result.REFUSED, "night", "day")],
)
def test_the_layout_after_a_switch(result: Result, goal: str, layout: str) -> None:
    switch = replace(SWITCH, goal=goal, result=result, ended_at_s=9.0)
    history = tuple(replace(DONE, id=f"hand-{number}") for number in range(HISTORY))
    after = ended(replace(WHOLE, history=history), switch)
    assert after == replace(WHOLE, layout=layout, switch=switch, history=(*history[1:], switch))
