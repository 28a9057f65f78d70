"""One replica on an emulated slot, driven with requests as Ray Serve hands them over."""

import asyncio
import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.requests import Request

from models import catalog, synthetic
from models.model import InputTensor
from serving.replica import Replica
from tests.unit.serving.build import EmulatedGpu, answered, cancelled, infer, play, request, until
from vgpu.emulator.client import EngineClient

ECHO = "/v2/models/echo"
LONG_WORK = {"base_us": 60_000_000}


def ask(gpu: EmulatedGpu, *requests: Request, **changes: Any) -> list[tuple[int, Any]]:
    """Answers to requests sent one after another."""

    async def script(replica: Replica) -> list[tuple[int, Any]]:
        return [answered(await replica(given)) for given in requests]

    result: list[tuple[int, Any]] = play(gpu, script, **changes)
    return result


def test_an_infer_request_is_answered_in_order_with_its_rows(gpu: EmulatedGpu) -> None:
    assert ask(gpu, infer("one", "two")) == [
        (
            200,
            {
                "model_name": "echo",
                "model_version": "1",
                "outputs": [{"name": "echo", "datatype": "BYTES", "shape": [2], "data": ["one", "two"]}],
            },
        )
    ]
    assert gpu.slot()["busy_ns"] == 4_000_000


def test_a_version_may_be_named_and_slashes_at_the_end_do_not_matter(gpu: EmulatedGpu) -> None:
    paths = (f"{ECHO}/versions/1/infer", f"{ECHO}/infer/", f"{ECHO}/versions/2/infer", f"{ECHO}/versions/10/infer")
    answers = ask(gpu, *(infer("one", path=path) for path in paths))
    assert [status for status, _ in answers] == [200, 200, 404, 404]


def test_metadata_and_readiness_are_told(gpu: EmulatedGpu) -> None:
    paths = (ECHO, f"{ECHO}/", f"{ECHO}/versions/1", f"{ECHO}/ready", f"{ECHO}/versions/1/ready")
    described, *others = ask(gpu, *(request("GET", path) for path in paths))
    assert described[1]["name"] == "echo"
    assert others == [described, described, (200, None), (200, None)]


def test_unknown_paths_and_wrong_methods_are_refused_and_are_no_demand(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> tuple[list[int], dict[str, float]]:
        given = [
            request("GET", f"{ECHO}/nothing"),
            request("POST", f"{ECHO}/nothing"),
            request("POST", f"{ECHO}/v1/embeddings"),  # this model embeds nothing
            request("GET", f"{ECHO}/infer"),
            request("PUT", ECHO),
            request("POST", f"{ECHO}/ready"),
        ]
        return [answered(await replica(one))[0] for one in given], gpu.counted()

    assert play(gpu, script) == ([404, 404, 404, 405, 405, 405], {})


BAD_BODIES = {
    b"": "body",
    b"not json": "body",
    b'{"inputs": [{"name": "text", "datatype": "FP8", "shape": [1], "data": [1]}]}': "inputs[0].datatype",
    b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["one"]}]}': "text",
    b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [1]}]}': "text",
    b'{"inputs": [{"name": "sound", "datatype": "BYTES", "shape": [1], "data": ["one"]}]}': "sound",
    b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [0], "data": []}]}': "text",
    b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [], "data": ["one"]}]}': "text",
}


def test_bodies_that_cannot_be_taken_are_refused_naming_the_field(gpu: EmulatedGpu) -> None:
    answers = ask(gpu, *(request("POST", f"{ECHO}/infer", body) for body in BAD_BODIES))
    assert [(status, refusal["field"]) for status, refusal in answers] == [
        (400, field) for field in BAD_BODIES.values()
    ]
    assert all(set(refusal) == {"error", "reason", "field"} for _, refusal in answers)


def test_an_unknown_output_is_refused_before_the_engine_is_asked(gpu: EmulatedGpu) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["one"]}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "colour"}]}).encode()
    ((status, refusal),) = ask(gpu, request("POST", f"{ECHO}/infer", body))
    assert (status, refusal["field"]) == (400, "outputs[0].name")
    assert gpu.slot()["busy_ns"] == 0


def test_deadlines_that_are_none_are_refused_naming_the_header(gpu: EmulatedGpu) -> None:
    answers = ask(gpu, *(infer("one", x_request_timeout_ms=text) for text in ("soon", "0", "-5", "nan", "inf", "")))
    assert [(status, refusal["field"]) for status, refusal in answers] == [(400, "x-request-timeout-ms")] * 6


def test_a_body_too_large_is_refused_by_its_announcement_without_being_read(gpu: EmulatedGpu) -> None:
    limits = {"max_body_bytes": 1024}
    announced = request("POST", f"{ECHO}/infer", [], {"content-length": "1025"})
    assert ask(gpu, announced, serving=limits) == [
        (413, {"error": "the body has 1025 bytes; at most 1024", "reason": "too_large"})
    ]


def test_a_body_too_large_is_refused_while_it_streams_in_whatever_it_announced(gpu: EmulatedGpu) -> None:
    chunks = [b"x" * 512, b"x" * 512, b"x", b"and so on"]
    announcements = ({}, *({"content-length": text} for text in ("7", "all", "9" * 5000)))
    given = [request("POST", f"{ECHO}/infer", chunks, headers) for headers in announcements]
    refused = (413, {"error": "the body has more than 1024 bytes", "reason": "too_large"})
    assert ask(gpu, *given, serving={"max_body_bytes": 1024}) == [refused] * 4


def test_more_rows_than_the_queue_holds_are_too_large(gpu: EmulatedGpu) -> None:
    ((status, refusal),) = ask(gpu, infer("a", "b", "c"), serving={"max_queue": 2})
    assert (status, refusal["error"]) == (413, "3 rows in one request; at most 2")


class Watched(synthetic.Synthetic):
    """Answers with the thread that read the row."""

    def items_from_tensors(self, tensors: Mapping[str, InputTensor]) -> list[str]:
        return [threading.current_thread().name for _ in super().items_from_tensors(tensors)]


def test_rows_of_large_bodies_are_read_outside_the_event_loop_and_of_small_ones_inside(
    gpu: EmulatedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "FACTORIES", {"watched": Watched})
    answers = ask(gpu, infer("word"), infer("word " * 2000), source="watched")
    assert [body["outputs"][0]["data"] for _, body in answers] == [["MainThread"], ["rows_0"]]


def test_rows_of_a_large_body_that_cannot_be_taken_are_refused_as_those_of_a_small_one(gpu: EmulatedGpu) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2000], "data": ["word"] * 1999}
    limits = {"max_queue": 2000}
    ((status, refusal),) = ask(
        gpu, request("POST", f"{ECHO}/infer", json.dumps({"inputs": [tensor]}).encode()), serving=limits
    )
    assert (status, refusal["field"]) == (400, "text")


def test_bytes_in_base64_reach_the_model(gpu: EmulatedGpu) -> None:
    parameters = {"content_type": "base64"}
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["b25l"], "parameters": parameters}
    ((_, body),) = ask(gpu, request("POST", f"{ECHO}/infer", json.dumps({"inputs": [tensor]}).encode()))
    assert body["outputs"][0]["data"] == ["one"]


def test_a_full_queue_refuses_with_429_and_says_when_to_come_back(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> Any:
        executing = asyncio.ensure_future(replica(infer("a")))
        await until(lambda: gpu.slot()["busy_ns"] > 0)
        waiting = asyncio.ensure_future(replica(infer("b", "c")))
        await until(lambda: gpu.scraped("queued_rows") == 2)
        in_flight = gpu.scraped("requests_in_flight")
        refused = await replica(infer("d"))
        await cancelled(executing, waiting)
        return answered(refused), refused.headers["retry-after"], in_flight, gpu.counted()

    refused, retry_after, in_flight, codes = play(gpu, script, parameters=LONG_WORK, serving={"max_queue": 2})
    message = "2 rows are waiting already; retry in 1 s"
    assert refused == (429, {"error": message, "reason": "queue_full", "retry_after_s": 1})
    assert (retry_after, in_flight, codes) == ("1", 2, {"429": 1, "499": 2})


def test_rows_are_not_read_for_a_queue_that_is_full(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> Any:
        executing = asyncio.ensure_future(replica(infer("a")))
        await until(lambda: gpu.slot()["busy_ns"] > 0)
        waiting = asyncio.ensure_future(replica(infer("b")))
        await until(lambda: gpu.scraped("queued_rows") == 1)
        no_text = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [7]}]}'
        refused = await replica(request("POST", f"{ECHO}/infer", no_text))  # 400 from whoever reads its rows
        await cancelled(executing, waiting)
        return refused.status_code

    assert play(gpu, script, parameters=LONG_WORK, serving={"max_queue": 1}) == 429


def test_a_deadline_that_passes_is_answered_504_by_whoever_sets_the_earliest(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> Any:
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["one"]}
        body = json.dumps({"inputs": [tensor], "parameters": {"timeout": 2000}}).encode()
        given = [
            infer("one", x_request_timeout_ms="3"),
            infer("one", x_request_timeout_ms="99999"),
            request("POST", f"{ECHO}/infer", body, {"x-request-timeout-ms": "99"}),
        ]
        return [answered(await replica(one)) for one in given], gpu.counted(), gpu.scrape()

    limits = {"max_deadline_ms": 20}
    answers, codes, series = play(gpu, script, parameters=LONG_WORK, serving=limits)
    assert answers == [
        (504, {"error": f"not answered within the request's {ms} ms", "reason": "deadline_passed"}) for ms in (3, 20, 2)
    ]
    assert codes == {"504": 3}
    assert series['vgpu_serve_request_duration_seconds_count{model="echo"}'] == 0


def test_a_deadline_counts_from_the_arrival_and_not_from_the_end_of_the_body(gpu: EmulatedGpu) -> None:
    given = infer("one", x_request_timeout_ms="40")

    async def slowly() -> Any:
        with EngineClient(gpu.socket, "b") as neighbour:
            await neighbour.run(60_000_000)
        return await given.receive()

    assert ask(gpu, Request(given.scope, slowly))[0][0] == 504
    assert gpu.slot()["busy_ns"] == 0


def test_a_client_that_hangs_up_while_sending_is_counted_as_gone(gpu: EmulatedGpu) -> None:
    cut_short = request("POST", f"{ECHO}/infer", [], {"content-length": "9"})

    async def script(replica: Replica) -> Any:
        return answered(await replica(cut_short)), gpu.counted()

    assert play(gpu, script) == ((499, None), {"499": 1})


def test_answered_requests_are_measured_on_the_workers_own_address(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> dict[str, float]:
        for given in (infer("one"), infer("two", "three"), request("GET", ECHO)):
            await replica(given)
        return gpu.scrape()

    series = play(gpu, script)
    who = 'device_kind="emulated",model="echo",profile="v100-8q-8GB",replica="r1",slot="a",worker="worker-1"'
    assert series[f"vgpu_serve_worker_info{{{who}}}"] == 1
    exact = {
        'vgpu_serve_requests_total{code="200",model="echo"}': 2,
        'vgpu_serve_requests_total{code="503",model="echo"}': 0,
        'vgpu_serve_requests_within_objective_total{model="echo"}': 2,
        'vgpu_serve_request_duration_seconds_count{model="echo"}': 2,
        'vgpu_serve_request_duration_seconds_bucket{le="0.2",model="echo"}': 2,
        'vgpu_serve_queue_duration_seconds_count{model="echo"}': 3,
        'vgpu_serve_execution_duration_seconds_count{model="echo"}': 2,
        'vgpu_serve_batch_size_sum{model="echo"}': 3,
        'vgpu_serve_requests_in_flight{model="echo"}': 0,
        'vgpu_serve_queued_rows{model="echo"}': 0,
        'vgpu_serve_ready{model="echo"}': 1,
        'vgpu_serve_host_late_total{model="echo"}': 0,
    }
    assert {name: series[name] for name in exact} == exact
    assert 0.007 <= series['vgpu_serve_engine_busy_seconds_total{model="echo"}'] < 0.2
