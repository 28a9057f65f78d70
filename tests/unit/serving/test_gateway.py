"""The gateway in front of an ingress that the tests script, in virtual time."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai as openai_package
import pytest
from starlette.requests import Request

from serving import changes, config, haproxy
from serving.gateway import Gateway
from tests.fakes import virtual_time
from tests.unit.serving.build import answered, request

MODEL = {"source": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200}
SETTINGS = changes.gateway_settings(
    config.parse({"models": {"minilm": {**MODEL, "serving": {"max_body_bytes": 2048}}, "filetype": MODEL}}), {}
)
ASKED = b'{"model": "minilm", "input": "one"}'
EMBEDDED = b'{"object": "list"}'


@dataclass(slots=True)
class Ingress(httpx.AsyncBaseTransport):
    """Answers what it is told to, after a while, and keeps what it was sent."""

    status: int = 200
    body: bytes = EMBEDDED
    headers: dict[str, str] = field(default_factory=dict)
    failure: Exception | None = None
    takes_s: float = 0.0
    unready: frozenset[str] = frozenset()
    received: list[httpx.Request] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.received.append(request)
        await asyncio.sleep(self.takes_s)
        if self.failure is not None:
            raise self.failure
        if request.url.path.endswith("/ready"):
            return httpx.Response(503 if request.url.path.split("/")[3] in self.unready else 200)
        return httpx.Response(self.status, content=self.body, headers=self.headers)


def play(ingress: Ingress, script: Callable[[Gateway], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await script(Gateway(SETTINGS, "http://ingress", transport=ingress))

    return virtual_time.run(run())


def ask(*requests: Request, ingress: Ingress | None = None) -> list[tuple[int, Any]]:
    async def script(gateway: Gateway) -> list[tuple[int, Any]]:
        return [answered(await gateway(one)) for one in requests]

    answers: list[tuple[int, Any]] = play(ingress or Ingress(), script)
    return answers


def embed(body: bytes | Sequence[bytes] = ASKED, **headers: str) -> Request:
    renamed = {name.replace("_", "-"): value for name, value in headers.items()}
    return request("POST", "/v1/embeddings", body, renamed)


def test_the_server_tells_about_itself_and_its_models() -> None:
    server, live, models, listed = ask(
        *(request("GET", path) for path in ("/v2/", "/v2/health/live", "/v2/models", "/v1/models"))
    )
    assert (server[0], server[1]["name"], server[1]["extensions"]) == (200, "vgpu-serve", ["binary_tensor_data"])
    assert live == (200, None)
    assert models == (200, {"models": [{"name": "minilm"}, {"name": "filetype"}]})
    assert [(entry["id"], entry["object"]) for entry in listed[1]["data"]] == [
        ("minilm", "model"),
        ("filetype", "model"),
    ]


def test_ready_means_that_every_model_is() -> None:
    ready = request("GET", "/v2/health/ready")
    assert ask(ready) == [(200, None)]
    message = "no replica of filetype is up; one is being started"
    assert ask(ready, ingress=Ingress(unready=frozenset({"filetype"}))) == [
        (503, {"error": message, "reason": "no_capacity", "retry_after_s": 5})
    ]
    ((status, _),) = ask(ready, ingress=Ingress(failure=httpx.ConnectError("refused")))
    assert status == 503


def test_a_model_that_may_sleep_is_not_waited_for() -> None:
    async def script(gateway: Gateway) -> list[tuple[int, Any]]:
        sleepy = Gateway({**SETTINGS, "awaited": ["minilm"]}, "http://ingress", transport=asleep)
        return [answered(await one(request("GET", "/v2/health/ready"))) for one in (gateway, sleepy)]

    asleep = Ingress(unready=frozenset({"filetype"}))
    (without, _), (with_, _) = play(asleep, script)
    assert (without, with_) == (503, 200)


def test_a_live_gateway_takes_in_other_models_and_ends_what_it_had_begun() -> None:
    ingress = Ingress(takes_s=1)

    async def script(gateway: Gateway) -> list[tuple[int, Any]]:
        begun = asyncio.ensure_future(gateway(embed()))
        await asyncio.sleep(0)
        await gateway.reconfigure({"models": {"newcomer": SETTINGS["models"]["filetype"]}, "awaited": ["newcomer"]})
        listed = await gateway(request("GET", "/v2/models"))
        gone = await gateway(embed())
        ready = await gateway(request("GET", "/v2/health/ready"))
        return [answered(response) for response in (await begun, listed, gone, ready)]

    begun, listed, (status, refusal), ready = play(ingress, script)
    assert (begun, listed, ready) == (
        (200, json.loads(EMBEDDED)),
        (200, {"models": [{"name": "newcomer"}]}),
        (200, None),
    )
    assert (status, refusal["error"]["code"]) == (404, "unknown_model")
    assert [asked.url.path for asked in ingress.received] == [
        "/v2/models/minilm/v1/embeddings",
        "/v2/models/newcomer/ready",
    ]


@pytest.mark.parametrize(
    "path", ["/v2/models/nobody", "/v2/models/nobody/infer", "/v2/models/minilm2/ready", "/v2/models//infer"]
)
def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(path: str) -> None:
    ((status, refusal),) = ask(request("POST", path))
    name = path.split("/")[3]
    assert (status, refusal) == (
        404,
        {
            "error": f"no model named '{name}'; models here are minilm, filetype",
            "reason": "unknown_model",
            "field": "model",
        },
    )


def test_a_known_model_whose_application_is_not_there_has_no_capacity_yet() -> None:
    ((status, refusal),) = ask(request("POST", "/v2/models/minilm/infer"))
    assert (status, refusal["reason"]) == (503, "no_capacity")


@pytest.mark.parametrize("path", ["/", "/metrics", "/v2/nothing", "//v2"])
def test_other_paths_are_not_found(path: str) -> None:
    expected = {"error": f"nothing at '{path}'; see /v2 and /v1/models", "reason": "unknown_path"}
    assert ask(request("GET", path)) == [(404, expected)]


def test_under_v1_refusals_have_openais_shape() -> None:
    unknown, wrong = ask(request("GET", "/v1/nothing"), request("GET", "/v1/embeddings"))
    assert unknown == (
        404,
        {
            "error": {
                "message": "nothing at '/v1/nothing'; see /v2 and /v1/models",
                "type": "invalid_request_error",
                "param": None,
                "code": "unknown_path",
            }
        },
    )
    assert (wrong[0], wrong[1]["error"]["code"]) == (405, "method_not_allowed")


def test_a_wrong_method_is_refused() -> None:
    ((status, refusal),) = ask(request("POST", "/v2"))
    assert (status, refusal) == (405, {"error": "'/v2' does not answer 'POST'", "reason": "method_not_allowed"})


def test_embeddings_go_to_their_models_application_byte_for_byte_with_the_headers_that_matter() -> None:
    ingress = Ingress(headers={"content-type": "application/json", "x-request-id": "r-1", "server": "secret"})

    async def script(gateway: Gateway) -> Any:
        response = await gateway(embed(x_request_id="r-1", x_request_timeout_ms="50", authorization="mine"))
        return response.status_code, response.body, response.headers["x-request-id"], "server" in response.headers

    assert play(ingress, script) == (200, EMBEDDED, "r-1", False)
    (sent,) = ingress.received
    assert (sent.method, sent.url.path, sent.content) == ("POST", "/v2/models/minilm/v1/embeddings", ASKED)
    assert (sent.headers["x-request-id"], sent.headers["x-request-timeout-ms"]) == ("r-1", "50")
    assert "authorization" not in sent.headers


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"", 400, "body"),
        (b"[]", 400, "body"),
        (b'{"input": "one"}', 400, "model"),
        (b'{"model": ["minilm"]}', 400, "model"),
        (b'{"model": "nobody", "input": "one"}', 404, "model"),
    ],
)
def test_embeddings_of_no_known_model_are_refused_here(body: bytes, status: int, param: str) -> None:
    ingress = Ingress()
    ((answer, refusal),) = ask(embed(body), ingress=ingress)
    assert (answer, refusal["error"]["param"], ingress.received) == (status, param, [])


def test_a_body_larger_than_any_models_is_refused_while_it_streams_in() -> None:
    largest = 1 << 20  # filetype's; minilm's replica refuses above its own 2048 bytes itself
    inside, outside = ask(embed([ASKED, b" " * 4096]), embed([ASKED, b" " * largest, b"never read"]))
    assert inside[0] == 200
    assert (outside[0], outside[1]["error"]["code"]) == (413, "too_large")


def test_a_refusal_of_the_replica_passes_through_with_its_retry_after() -> None:
    refusal = b'{"error": {"message": "2 rows are waiting already; retry in 1 s", "code": "queue_full"}}'
    headers = {"content-type": "application/json", "retry-after": "1"}

    async def script(gateway: Gateway) -> Any:
        response = await gateway(embed())
        return response.status_code, response.body, response.headers["retry-after"]

    assert play(Ingress(status=429, body=refusal, headers=headers), script) == (429, refusal, "1")


@pytest.mark.parametrize(
    ("status", "code", "retry_after"),
    [(502, "replica_lost", "5"), (503, "no_capacity", "5"), (504, "deadline_passed", None)],
)
def test_a_refusal_of_the_ingress_itself_is_told_in_openais_shape(
    status: int, code: str, retry_after: str | None
) -> None:
    page = haproxy.error_page(status).partition("\r\n\r\n")[2].encode()

    async def script(gateway: Gateway) -> Any:
        response = await gateway(embed())
        return (*answered(response), response.headers.get("retry-after"))

    answer, refusal, retry = play(Ingress(status=status, body=page), script)
    assert (answer, refusal["error"]["code"], retry) == (status, code, retry_after)


def test_an_answer_that_is_nobodys_json_passes_as_it_is() -> None:
    async def script(gateway: Gateway) -> Any:
        response = await gateway(embed())
        return response.status_code, response.body

    assert play(Ingress(status=500, body=b"<html>"), script) == (500, b"<html>")


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (httpx.ConnectError("refused"), 503, "no_capacity"),
        (httpx.ConnectTimeout("slow"), 503, "no_capacity"),
        (httpx.ReadError("reset"), 502, "replica_lost"),
        (httpx.RemoteProtocolError("closed"), 502, "replica_lost"),
    ],
)
def test_an_ingress_that_fails_is_told_as_what_it_means(failure: Exception, status: int, code: str) -> None:
    ((answer, refusal),) = ask(embed(), ingress=Ingress(failure=failure))
    assert (answer, refusal["error"]["code"]) == (status, code)


def test_a_replica_that_hangs_past_its_deadline_is_given_up() -> None:
    async def script(gateway: Gateway) -> Any:
        status, refusal = answered(await gateway(embed()))
        return status, refusal["error"]["message"], asyncio.get_running_loop().time()

    message = "not answered within the request's 10000 ms"
    assert play(Ingress(takes_s=3600), script) == (504, message, pytest.approx(15))


def test_a_client_that_hangs_up_while_sending_gets_no_answer() -> None:
    assert ask(request("POST", "/v1/embeddings", [], {"content-length": "9"})) == [(499, None)]


def test_a_defect_is_answered_500_without_its_traceback() -> None:
    ((status, refusal),) = ask(embed(), ingress=Ingress(failure=ZeroDivisionError("a defect")))
    assert (status, refusal["error"]["message"]) == (500, "failed to answer; see the server's log")


def test_the_official_client_reads_our_refusals() -> None:
    async def script(gateway: Gateway) -> openai_package.NotFoundError:
        class Door(httpx.AsyncBaseTransport):
            async def handle_async_request(self, given: httpx.Request) -> httpx.Response:
                response = await gateway(request(given.method, given.url.path, given.content))
                return httpx.Response(response.status_code, content=response.body, headers=response.headers)

        http = httpx.AsyncClient(transport=Door())
        client = openai_package.AsyncOpenAI(api_key="none", base_url="http://door/v1", http_client=http, max_retries=0)
        with pytest.raises(openai_package.NotFoundError) as refused:
            await client.embeddings.create(model="nobody", input="one")
        return refused.value

    refused = asyncio.run(_with_gateway(script))
    assert (refused.code, refused.param) == ("unknown_model", "model")
    assert json.loads(refused.response.content)["error"]["message"].startswith("no model named 'nobody'")


async def _with_gateway(script: Callable[[Gateway], Awaitable[Any]]) -> Any:
    return await script(Gateway(SETTINGS, "http://ingress", transport=Ingress()))
