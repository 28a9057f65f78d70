"""Reading HAProxy's own metrics, and whatever else may listen where they should be.

`tests/contracts/ports/test_ingress.py` asks the real HAProxy.
"""

import threading
from collections.abc import Iterator

import pytest

from autoscaler.adapters.ingress import HaproxyIngress
from autoscaler.core.observation import IngressSample
from autoscaler.ports import Unavailable
from tests.fakes import web as webs
from tests.fakes.web import Answer, Web

TEXT = b"""\
# TYPE haproxy_process_start_time_seconds gauge
haproxy_process_start_time_seconds 1795391693
# TYPE haproxy_backend_http_requests_total counter
haproxy_backend_http_requests_total{proxy="http-minilm"} 812
haproxy_backend_http_requests_total{proxy="asleep-minilm"} 7
haproxy_backend_http_requests_total{proxy="asleep-file-type"} 0
haproxy_backend_http_responses_total{proxy="asleep-minilm",code="5xx"} 7
haproxy_backend_status{proxy="asleep-minilm",state="UP"} 1
haproxy_backend_downtime_seconds_total{proxy="asleep-minilm"} NaN
"""


@pytest.fixture
def web() -> Iterator[Web]:
    with webs.serve({"/metrics": Answer(TEXT), "/starts": Answer(status=204)}) as served:
        yield served


def test_the_requests_of_the_backend_for_models_asleep_are_the_count(web: Web) -> None:
    assert HaproxyIngress(web.url).read(["minilm", "file-type", "other"], 9.0) == (
        IngressSample(model="minilm", at_s=9.0, unanswered=7, process="1795391693"),
        IngressSample(model="file-type", at_s=9.0, unanswered=0, process="1795391693"),
    )
    assert web.asked[-1].path == "/metrics?scope=global&scope=backend"


def test_a_time_is_told_in_whole_seconds_and_never_as_none(web: Web) -> None:
    HaproxyIngress(web.url).announce({"minilm": 13.2, "file-type": 0.0})
    assert (web.asked[-1].method, web.asked[-1].path) == ("PUT", "/starts?minilm=14&file-type=1")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(b"<html>\n"), "the answer is not HAProxy's"),
        (Answer(TEXT[:-5]), "the answer is not HAProxy's"),
        (Answer(TEXT, status=404), "answered 404"),
        (Answer(TEXT, length=len(TEXT) + 9), "RemoteProtocolError"),
    ],
    ids=["something else", "cut off", "refused", "broken off"],
)
def test_what_is_no_answer_of_haproxys_is_unavailable(web: Web, answer: Answer, why: str) -> None:
    web.routes["/metrics"] = answer
    with pytest.raises(Unavailable, match=rf"^ingress /metrics: .*{why}"):
        HaproxyIngress(web.url).read(["minilm"], 9.0)


def test_an_ingress_that_hangs_is_given_up(web: Web) -> None:
    held = threading.Event()
    web.routes["/metrics"] = Answer(TEXT, held=held)
    with pytest.raises(Unavailable, match=r"^ingress /metrics: ReadTimeout"):
        HaproxyIngress(web.url, timeout_s=0.1).read(["minilm"], 9.0)
    held.set()
