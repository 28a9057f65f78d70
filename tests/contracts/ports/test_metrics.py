"""What the loop may rely on of scrapes: the fake that its tests use, and `HttpMetrics` over HTTP."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from prometheus_client import generate_latest

from autoscaler.adapters.scrape import HttpMetrics
from autoscaler.core.observation import Missing, MissingReason, Source
from autoscaler.ports import Endpoint, Metrics, Scraped
from serving import metrics as worker_metrics
from tests.fakes import web as webs
from tests.fakes.metrics import FakeMetrics, Load
from tests.fakes.web import Answer
from tests.unit.autoscaler.test_scrape import exporter_text
from tests.unit.exporter.build import SLOT

RUNNING = {"serving/w1": ("r1", "minilm"), "serving/w2": ("r2", "filetype")}
NODES = {"serving/w1": "n1", "serving/w2": "n2"}


@dataclass
class Subject:
    """Workers w1 and w2 with a replica each, w3 without; one node n1 with one slot, a quarter busy."""

    metrics: Metrics
    workers: list[Endpoint]
    exporters: list[Endpoint]
    silence: Callable[[str], object]

    def scrape(self, at_s: float = 1.0) -> Scraped:
        return self.metrics.scrape(self.workers, self.exporters, at_s)


def text_of(worker: str) -> bytes:
    replica, model = RUNNING[worker]
    identity = worker_metrics.WorkerIdentity(
        model=model, replica=replica, slot=f"{NODES[worker]}/0", worker=worker, profile="", device_kind="emulated"
    )
    said = worker_metrics.create(identity, objective_s=0.2)
    said.in_flight.set(3)
    said.queued_rows.set(2)
    return generate_latest(said.registry)


@pytest.fixture(params=["fake", "http"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    names = ["serving/w1", "serving/w2", "serving/w3"]
    routes = {f"/{worker}": Answer(text_of(worker)) for worker in RUNNING}
    with webs.serve({**routes, "/n1": Answer(exporter_text((SLOT,)).encode())}) as web:
        workers = [Endpoint(name=name, url=f"{web.url}/{name}") for name in names]
        exporters = [Endpoint(name="n1", url=f"{web.url}/n1")]
        if request.param == "fake":
            load = Load(per_s=0.0, in_flight=3, queued=2)
            fake = FakeMetrics(lambda: RUNNING, lambda: NODES, load=load, busy_ratio=0.25)
            yield Subject(fake, workers, exporters, fake.silent.add)
        else:
            yield Subject(HttpMetrics(), workers, exporters, lambda name: web.routes.pop(f"/{name}"))


def unreachable(source: Source, name: str) -> Missing:
    return Missing(source=source, name=name, reason=MissingReason.UNREACHABLE)


def test_each_replica_is_read_in_the_slot_it_is_bound_to(subject: Subject) -> None:
    scraped = subject.scrape(at_s=7.0)
    assert [
        (sample.replica_id, sample.model, sample.slot_id, sample.at_s, sample.in_flight, sample.queued)
        for sample in scraped.replicas
    ] == [("r1", "minilm", "n1/0", 7.0, 3, 2), ("r2", "filetype", "n2/0", 7.0, 3, 2)]
    assert [sample.counters.ended for sample in scraped.replicas] == [0, 0]


def test_each_slot_is_read_from_its_node(subject: Subject) -> None:
    (reading,) = subject.scrape(at_s=7.0).slots
    assert (reading.slot_id, reading.at_s, reading.busy_ratio) == ("n1/0", 7.0, 0.25)


def test_a_worker_without_a_replica_serves_no_metrics(subject: Subject) -> None:
    assert subject.scrape().missing == (unreachable(Source.REPLICA, "serving/w3"),)


def test_what_does_not_answer_is_missing_under_the_name_of_its_endpoint(subject: Subject) -> None:
    subject.silence("serving/w1")
    subject.silence("n1")
    scraped = subject.scrape()
    assert [sample.replica_id for sample in scraped.replicas] == ["r2"]
    assert scraped.slots == ()
    assert scraped.missing == (
        unreachable(Source.REPLICA, "serving/w1"),
        unreachable(Source.REPLICA, "serving/w3"),
        unreachable(Source.SLOT, "n1"),
    )
