"""What the loop may rely on of Ray Serve: the fake that its tests use, and `RayServe` over REST."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from autoscaler.adapters.ray_serve import RayServe
from autoscaler.core.observation import DeploymentSeen, ReplicaState
from autoscaler.ports import Endpoint, Serving, Unavailable
from tests.fakes import web
from tests.fakes.ray import RayDashboard
from tests.fakes.serving import FakeServing


@dataclass
class Subject:
    """Two models, three workers."""

    serving: Serving
    memory: FakeServing
    url: str = "http://127.0.0.1:1"

    def drain(self, *workers: str) -> None:
        self.serving.drain_workers([Endpoint(name=worker, url=f"{self.url}/{worker}/metrics") for worker in workers])

    def draining(self) -> frozenset[str]:
        return self.serving.read(("minilm", "filetype"), 5.0).draining

    def read(self, *models: str) -> tuple[DeploymentSeen, ...]:
        return self.serving.read(models or ("minilm", "filetype"), 5.0).deployments


@pytest.fixture(params=["fake", "rest"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    workers = ["serving/w1", "serving/w2", "serving/w3"]
    memory = FakeServing(lambda: workers, targets={"minilm": 1, "filetype": 1})
    if request.param == "fake":
        yield Subject(memory, memory)
        return
    with web.serve(RayDashboard(memory).routes()) as served:
        adapter = RayServe(served.url, token_file=None, namespace="serving")
        yield Subject(adapter, memory, served.url)
        adapter.close()


def test_every_model_is_read_with_its_target_and_replicas(subject: Subject) -> None:
    minilm, filetype = subject.read()
    assert (minilm.model, minilm.at_s, minilm.target) == ("minilm", 5.0, 1)
    assert (filetype.model, filetype.at_s, filetype.target) == ("filetype", 5.0, 1)
    homes = [replica.worker for deployment in (minilm, filetype) for replica in deployment.replicas]
    assert homes == ["serving/w1", "serving/w2"]


def test_workers_of_applications_that_nobody_asked_for_are_told(subject: Subject) -> None:
    assert subject.serving.read(("minilm", "filetype"), 5.0).lent == frozenset()
    assert subject.serving.read(("minilm",), 5.0).lent == {"serving/w2"}
    assert subject.serving.read(("unheard-of",), 5.0).lent == {"serving/w1", "serving/w2"}


def test_a_model_that_is_not_deployed_is_left_out(subject: Subject) -> None:
    assert [seen.model for seen in subject.read("unheard-of", "filetype")] == ["filetype"]


def test_a_new_target_is_what_is_read_next(subject: Subject) -> None:
    subject.serving.set_replicas("minilm", 2)
    (minilm,) = subject.read("minilm")
    assert (minilm.target, minilm.count(ReplicaState.RUNNING)) == (2, 2)
    subject.serving.set_replicas("minilm", 0)
    (minilm,) = subject.read("minilm")
    assert (minilm.target, minilm.replicas) == (0, ())


def test_a_target_beyond_the_workers_is_taken_and_leaves_replicas_starting_for_ever(subject: Subject) -> None:
    subject.serving.set_replicas("minilm", 3)
    (minilm,) = subject.read("minilm")
    assert minilm.target == 3
    assert (minilm.count(ReplicaState.RUNNING), minilm.count(ReplicaState.STARTING)) == (2, 1)
    assert [replica.worker for replica in minilm.replicas if replica.state is ReplicaState.STARTING] == [None]


def test_a_target_for_a_model_that_is_not_deployed_is_refused(subject: Subject) -> None:
    with pytest.raises(Unavailable):
        subject.serving.set_replicas("unheard-of", 1)


def test_a_call_that_fails_is_unavailable_and_changes_nothing(subject: Subject) -> None:
    before = subject.read()
    subject.memory.fail_next("read")
    with pytest.raises(Unavailable):
        subject.read()
    subject.memory.fail_next("set_replicas")
    with pytest.raises(Unavailable):
        subject.serving.set_replicas("minilm", 2)
    assert subject.read() == before


def homes(deployment: DeploymentSeen) -> list[str | None]:
    return [replica.worker for replica in deployment.replicas]


def test_the_replica_on_a_drained_worker_is_the_one_that_leaves(subject: Subject) -> None:
    subject.serving.set_replicas("minilm", 2)
    assert homes(subject.read("minilm")[0]) == ["serving/w1", "serving/w3"]
    subject.drain("serving/w1")
    subject.serving.set_replicas("minilm", 1)
    assert homes(subject.read("minilm")[0]) == ["serving/w3"]
    assert subject.draining() == {"serving/w1"}


def test_a_replica_on_a_drained_worker_stays_until_a_worker_is_free_for_it(subject: Subject) -> None:
    subject.serving.set_replicas("minilm", 2)
    (before,) = subject.read("minilm")
    subject.drain("serving/w1")
    assert subject.read("minilm") == (before,)
    assert subject.draining() == {"serving/w1"}
    subject.serving.set_replicas("filetype", 0)
    assert sorted(map(str, homes(subject.read("minilm")[0]))) == ["serving/w2", "serving/w3"]


def test_a_drained_worker_takes_no_replica(subject: Subject) -> None:
    subject.drain("serving/w3")
    subject.serving.set_replicas("minilm", 2)
    assert homes(subject.read("minilm")[0]) == ["serving/w1", None]
    assert subject.draining() == {"serving/w3"}


def test_a_drain_that_fails_is_unavailable_and_drains_nothing(subject: Subject) -> None:
    subject.memory.fail_next("drain_workers")
    with pytest.raises(Unavailable):
        subject.drain("serving/w1")
    assert subject.draining() == frozenset()
