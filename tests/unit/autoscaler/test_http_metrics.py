"""Scraping over HTTP: all endpoints at once, and whatever does not answer well is missing."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscaler.adapters.scrape import HttpMetrics
from autoscaler.core.observation import Missing, MissingReason, Source
from autoscaler.ports import Endpoint, Scraped
from tests.fakes import web as webs
from tests.fakes.web import Answer, Web
from tests.unit.autoscaler.test_scrape import exporter_text
from tests.unit.exporter.build import SLOT

WORKER = (Path(__file__).parents[2] / "goldens" / "serving" / "metrics.txt").read_bytes()
EXPORTER = exporter_text((SLOT,)).encode()


@pytest.fixture
def web() -> Iterator[Web]:
    with webs.serve({"/worker": Answer(WORKER), "/node": Answer(EXPORTER)}) as served:
        yield served


def scrape(web: Web, *paths: str, timeout_s: float = 1.0) -> Scraped:
    """Scrape workers at these paths, and one node."""
    workers = [Endpoint(name=path, url=web.url + path) for path in paths]
    return HttpMetrics(timeout_s=timeout_s).scrape(workers, [Endpoint(name="n1", url=f"{web.url}/node")], 9.0)


def missing(name: str, reason: MissingReason = MissingReason.UNREACHABLE, source: Source = Source.REPLICA) -> Missing:
    return Missing(source=source, name=name, reason=reason)


def test_everything_that_answers_is_read(web: Web) -> None:
    scraped = scrape(web, "/worker")
    assert [(sample.replica_id, sample.at_s) for sample in scraped.replicas] == [("r1", 9.0)]
    assert [(reading.slot_id, reading.busy_ratio) for reading in scraped.slots] == [("n1/0", 0.25)]
    assert scraped.missing == ()


def test_nothing_to_scrape_is_nothing_scraped() -> None:
    assert HttpMetrics().scrape([], [], 0.0) == Scraped(replicas=(), slots=(), missing=())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=404), MissingReason.UNREACHABLE),
        (Answer(WORKER, status=500), MissingReason.UNREACHABLE),
        (Answer(WORKER, status=302), MissingReason.UNREACHABLE),
        (Answer(WORKER, length=len(WORKER) + 1), MissingReason.UNREACHABLE),
        (Answer(b""), MissingReason.NOT_SEEN),
        (Answer(b"<html>not mine</html>\n"), MissingReason.NOT_SEEN),
        (Answer(WORKER[: len(WORKER) // 2]), MissingReason.NOT_SEEN),
        (Answer(bytes(range(256)) * 40), MissingReason.NOT_SEEN),
        (Answer(EXPORTER), MissingReason.NOT_SEEN),
    ],
)
def test_a_worker_that_answers_badly_is_missing_and_the_others_are_not(
    web: Web, answer: Answer, reason: MissingReason
) -> None:
    web.routes["/bad"] = answer
    scraped = scrape(web, "/bad", "/worker")
    assert scraped.missing == (missing("/bad", reason),)
    assert [sample.replica_id for sample in scraped.replicas] == ["r1"]
    assert len(scraped.slots) == 1


def test_an_exporter_that_answers_nonsense_is_missing_under_its_node(web: Web) -> None:
    web.routes["/node"] = Answer(b"nonsense")
    scraped = scrape(web, "/worker")
    assert scraped.missing == (missing("n1", MissingReason.NOT_SEEN, Source.SLOT),)
    assert scraped.slots == ()


def test_workers_that_hang_cost_one_timeout_whatever_their_number(web: Web) -> None:
    released = threading.Event()
    web.routes |= {f"/slow/{index}": Answer(WORKER, held=released) for index in range(8)}
    began_s = time.monotonic()
    scraped = scrape(web, *(f"/slow/{index}" for index in range(8)), "/worker")
    took_s = time.monotonic() - began_s
    released.set()
    assert scraped.missing == tuple(missing(f"/slow/{index}") for index in range(8))
    assert [sample.replica_id for sample in scraped.replicas] == ["r1"]
    assert 1.0 <= took_s < 4.0


def test_a_body_that_drips_does_not_outlast_the_timeout(web: Web) -> None:
    """Each byte comes in time and the whole never would: a timeout for each read alone would wait for minutes."""
    stopped = threading.Event()
    web.routes["/drip"] = Answer(WORKER, drips=stopped)
    scraped = scrape(web, "/drip", timeout_s=0.3)
    stopped.set()
    assert scraped.missing == (missing("/drip"),)


def test_a_worker_that_is_not_there_is_missing(web: Web) -> None:
    with webs.serve() as gone:
        url = gone.url
    endpoints = [Endpoint(name="gone", url=f"{url}/metrics"), Endpoint(name="odd", url="http://[::1/metrics")]
    scraped = HttpMetrics().scrape(endpoints, [], 0.0)
    assert scraped.missing == (missing("gone"), missing("odd"))


def test_a_proxy_from_the_environment_is_not_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert scrape(web, "/worker").missing == ()
