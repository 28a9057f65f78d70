"""kube-scheduler's side of the extender protocol, against an extender that answers what a test says."""

import json
from typing import Any

import httpx
import pytest

from autoscaler.embedded.extension import ExtenderFailed, Extension

POD = {"metadata": {"name": "w1", "namespace": "default", "uid": "u1"}, "spec": {}}


def extension(answer: httpx.Response | Exception, asked: list[Any] | None = None) -> Extension:
    def handle(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append((request.method, request.url.path, json.loads(request.content)))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Extension("http://extender", transport=httpx.MockTransport(handle))


def says(**document: Any) -> httpx.Response:
    return httpx.Response(200, json=document)


def test_filter_sends_names_and_reads_who_passed_and_why_not() -> None:
    asked: list[Any] = []
    answer = says(NodeNames=["n2"], FailedNodes={"n1": "full"}, FailedAndUnresolvableNodes={"n3": "no GPU"}, Error="")
    with extension(answer, asked) as made:
        assert made.filter(POD, ["n1", "n2", "n3"]) == (("n2",), {"n1": "full", "n3": "no GPU"})
    assert asked == [("POST", "/filter", {"Pod": POD, "NodeNames": ["n1", "n2", "n3"]})]


def test_bind_names_the_pod_and_the_node() -> None:
    asked: list[Any] = []
    extension(says(Error=""), asked).bind(POD, "n2")
    names = {"PodName": "w1", "PodNamespace": "default", "PodUID": "u1", "Node": "n2"}
    assert asked == [("POST", "/bind", names)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(NodeNames=[], Error="not synced"), "filter: not synced"),
        (httpx.Response(503, json={"NodeNames": ["n1"]}), "filter: status 503"),
        (says(NodeNames=["n9"]), r"lets pass what it was not asked for: \['n9'\]"),
        (httpx.ConnectError("refused"), "does not answer: refused"),
    ],
    ids=["an error in the body", "another status", "a node it was not asked for", "nobody there"],
)
def test_what_is_no_answer_fails_the_pods_turn(answer: httpx.Response | Exception, said: str) -> None:
    with pytest.raises(ExtenderFailed, match=said):
        extension(answer).filter(POD, ["n1"])


def test_a_null_list_is_an_empty_one() -> None:
    assert extension(says(NodeNames=None, FailedNodes=None)).filter(POD, ["n1"]) == ((), {})
