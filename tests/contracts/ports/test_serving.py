"""What the loop may rely on of Ray Serve: the fake that its tests use, and `RayServe` over REST."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from autoscaler.adapters.ray_serve import RayServe
from autoscaler.core.observation import DeploymentSeen, ReplicaState
from autoscaler.ports import Serving, Unavailable
from tests.fakes import web
from tests.fakes.ray import RayDashboard
from tests.fakes.serving import FakeServing


@dataclass
class Subject:
    """Two models, three workers."""

    serving: Serving
    memory: FakeServing

    def read(self, *models: str) -> tuple[DeploymentSeen, ...]:
        return self.serving.read(models or ("minilm", "filetype"), 5.0)


@pytest.fixture(params=["fake", "rest"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    workers = ["serving/w1", "serving/w2", "serving/w3"]
    memory = FakeServing(lambda: workers, targets={"minilm": 1, "filetype": 1})
    if request.param == "fake":
        yield Subject(memory, memory)
        return
    with web.serve(RayDashboard(memory).routes()) as served:
        adapter = RayServe(served.url, token_file=None, namespace="serving")
        yield Subject(adapter, memory)
        adapter.close()


def test_every_model_is_read_with_its_target_and_replicas(subject: Subject) -> None:
    minilm, filetype = subject.read()
    assert (minilm.model, minilm.at_s, minilm.target) == ("minilm", 5.0, 1)
    assert (filetype.model, filetype.at_s, filetype.target) == ("filetype", 5.0, 1)
    homes = [replica.worker for deployment in (minilm, filetype) for replica in deployment.replicas]
    assert homes == ["serving/w1", "serving/w2"]


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
