"""Driving a demo: what clients feel and what the autoscaler says meet in one timeline; a broken system ends it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from autoscaler.embedded import demo
from autoscaler.embedded.processes import ProcessFailed
from autoscaler.embedded.timeline import Timeline
from autoscaler.load.schedule import Step
from tests.fakes import web as webs
from tests.fakes.web import Answer, Web, as_json
from tests.unit.embedded.story import state

INFER = "/v2/models/minilm/infer"
STEPS = (Step(rate_per_s=40.0, duration_s=0.3),)


@dataclass
class FakeInstallation:
    """Two addresses, and a health that a test may take away."""

    url: str
    autoscaler_url: str
    broken: bool = False

    def check(self) -> None:
        if self.broken:
            raise ProcessFailed("ray-head ended with status 1")


@pytest.fixture
def web() -> Iterator[Web]:
    with webs.serve({INFER: as_json({}), "/v1/state": as_json(state(2))}) as served:
        yield served


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WATCH_S", 0.05)


def drive(installation: FakeInstallation, timeline: Timeline, shown: list[float]) -> None:
    demo.drive(
        installation,  # type: ignore[arg-type]  # the three things that are used of it
        model="minilm",
        steps=STEPS,
        seed=1,
        timeline=timeline,
        show=shown.append,
    )


def test_the_load_is_sent_to_its_end_and_watched_meanwhile(web: Web) -> None:
    timeline, shown = Timeline(), list[float]()
    drive(FakeInstallation(web.url, web.url), timeline, shown)
    sent = sum(asked.path == INFER for asked in web.asked)
    assert len(timeline.samples) == sent > 3
    assert all(sample.status == 200 for sample in timeline.samples)
    assert len(timeline.scenes) >= 2
    assert timeline.scenes[0].model("minilm")["replicas_running"] == 2
    assert len(shown) == len(timeline.scenes)
    assert shown == sorted(shown)


def test_a_system_that_breaks_ends_the_demo_with_the_reason(web: Web) -> None:
    released = threading.Event()
    web.routes[INFER] = Answer(b"{}", held=released)
    with pytest.raises(ProcessFailed, match="ray-head ended"):
        drive(FakeInstallation(web.url, web.url, broken=True), Timeline(), [])
    released.set()


def test_an_interrupt_ends_sending(web: Web) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    timeline = Timeline()
    with pytest.raises(KeyboardInterrupt):
        demo.drive(
            FakeInstallation(web.url, web.url),  # type: ignore[arg-type]  # the three things that are used of it
            model="minilm",
            steps=(Step(rate_per_s=50.0, duration_s=3600.0),),
            seed=1,
            timeline=timeline,
            show=interrupt,
        )
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("load")]
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


def test_a_client_that_cannot_even_start_is_no_demo_that_passed(web: Web) -> None:
    with pytest.raises(Exception, match="Invalid port"):
        drive(FakeInstallation("http://127.0.0.1:nowhere", web.url), Timeline(), [])


@pytest.mark.parametrize("answer", [Answer(status=503), Answer(status=500, body=b"oops")])
def test_a_look_that_fails_is_left_out(web: Web, answer: Answer) -> None:
    web.routes["/v1/state"] = answer
    timeline = Timeline()
    demo.look(web.url, timeline, 1.0)
    demo.look("http://127.0.0.1:1", timeline, 2.0)
    assert timeline.scenes == ()
