"""The deployer's end of a session, against processes that answer, refuse, hang and die."""

import sys
from collections.abc import Iterator

import pytest

from serving.changes import Delete
from serving.deployed import Deployed, State
from serving.session import Ingress, RayAway, SessionProcess, ray_session

ANSWERS = """
import sys
from multiprocessing.connection import Connection
from serving.deployed import Deployed, State
pipe = Connection(int(sys.argv[1]))
applied = 0
while True:
    question, argument = pipe.recv()
    if question == "apply":
        applied += len(argument)
    if applied > 2:
        sys.exit(1)
    failure = "Ray said no" if applied == 2 else None
    pipe.send((failure, {"one": Deployed(state=State.RUNNING, target=applied)} if question == "read" else None))
    if failure:
        break
"""
HANGS = "import sys, time; time.sleep(60)"
STEP = Delete(name="one")


def session(script: str, *, answer_s: float = 30) -> SessionProcess:
    return SessionProcess((sys.executable, "-c", script), answer_s=answer_s)


@pytest.fixture
def answering() -> Iterator[SessionProcess]:
    made = session(ANSWERS)
    yield made
    made.close()


def seen(target: int) -> dict[str, Deployed]:
    return {"one": Deployed(state=State.RUNNING, target=target)}


def test_questions_are_answered_by_one_process(answering: SessionProcess) -> None:
    assert answering.read() == seen(0)
    answering.apply([STEP])
    assert answering.read() == seen(1)


def test_a_refusal_is_told_and_the_next_question_begins_another_process(answering: SessionProcess) -> None:
    with pytest.raises(RayAway, match=r"^Ray said no$"):
        answering.apply([STEP, STEP])
    assert answering.read() == seen(0)


def test_a_process_that_dies_is_ray_being_away(answering: SessionProcess) -> None:
    with pytest.raises(RayAway, match="has ended"):
        answering.apply([STEP, STEP, STEP])
    assert answering.read() == seen(0)


def test_a_process_that_does_not_answer_is_killed(capfd: pytest.CaptureFixture[str]) -> None:
    hanging = session(HANGS, answer_s=0.2)
    process = hanging._process
    assert process is not None
    with pytest.raises(RayAway, match=r"no answer from Ray within 0\.2 s"):
        hanging.read()
    assert process.returncode is not None


def test_a_closed_session_leaves_no_process_and_may_be_closed_twice() -> None:
    made = session(ANSWERS)
    process = made._process
    assert process is not None
    made.close()
    made.close()
    assert process.returncode is not None


def test_the_process_that_joins_ray_is_told_the_cluster_and_the_ingress() -> None:
    command = ray_session("127.0.0.2:6379", Ingress(host="0.0.0.0", port=8000))
    assert command == (sys.executable, "-m", "serving.ray_session", "127.0.0.2:6379", "0.0.0.0", "8000")
