"""The smoke test against a server of scripted answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving import config, smoke
from serving.smoke import SmokeFailed

MODEL = {"source": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200}
ASLEEP = {**MODEL, "autoscaling": {"min_replicas": 0}}
METADATA = {
    "inputs": [
        {"name": "text", "datatype": "BYTES", "shape": [-1]},
        {"name": "ids", "datatype": "INT64", "shape": [-1, -1]},
        {"name": "image", "datatype": "FP32", "shape": [-1, 2, 2]},
        {"name": "on", "datatype": "BOOL", "shape": [-1, 1]},
    ]
}
ANSWER = {"outputs": [{"name": "echo", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}


def models(**entries: Any) -> config.ServingConfig:
    return config.parse({"models": entries})


def ask(
    answer: Callable[[httpx.Request], httpx.Response],
    model: config.ModelConfig,
    *,
    timeout_s: float = 0,
    body: Any = None,
) -> str:
    client = httpx.Client(base_url="http://host", transport=httpx.MockTransport(answer))
    return smoke.smoke(client, model, timeout_s=timeout_s, body=body)


class Server:
    """Answers as an installation does, and remembers what it was asked."""

    def __init__(self, **answers: httpx.Response) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.answers = {
            "ready": httpx.Response(200),
            "metadata": httpx.Response(200, json=METADATA),
            "infer": httpx.Response(200, json=ANSWER),
            **answers,
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        content = json.loads(request.content) if request.content else None
        self.asked.append((request.method, request.url.path, content))
        if request.method == "POST" and content == {}:
            return httpx.Response(400)
        name = "infer" if request.method == "POST" else "ready" if "health" in request.url.path else "metadata"
        return self.answers[name]


def test_the_first_model_that_does_not_sleep_is_asked_or_else_the_first() -> None:
    assert smoke.first_awake(models(one=ASLEEP, two=MODEL, three=MODEL)).name == "two"
    assert smoke.first_awake(models(one=ASLEEP, two=ASLEEP)).name == "one"


ROW = {
    "inputs": [
        {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["The cat sits outside"]},
        {"name": "ids", "datatype": "INT64", "shape": [1, 8], "data": [0] * 8},
        {"name": "image", "datatype": "FP32", "shape": [1, 2, 2], "data": [0] * 4},
        {"name": "on", "datatype": "BOOL", "shape": [1, 1], "data": [False]},
    ]
}


def test_a_model_is_asked_one_row_of_what_it_says_that_it_takes() -> None:
    server = Server()
    said = ask(server, models(echo=MODEL).models[0])
    assert said.startswith("echo answered in ")
    assert said.endswith(" ms: echo BYTES [1]")
    assert server.asked == [
        ("GET", "/v2/health/ready", None),
        ("GET", "/v2/models/echo", None),
        ("POST", "/v2/models/echo/infer", ROW),
    ]


def test_a_sleeper_is_woken_by_a_question_before_it_is_asked_what_it_takes() -> None:
    server = Server()
    ask(server, models(echo=ASLEEP).models[0])
    assert [(method, path) for method, path, _ in server.asked] == [
        ("GET", "/v2/health/ready"),
        ("POST", "/v2/models/echo/infer"),
        ("GET", "/v2/models/echo"),
        ("POST", "/v2/models/echo/infer"),
    ]


def test_a_given_body_is_sent_as_it_is() -> None:
    server = Server()
    ask(server, models(echo=ASLEEP).models[0], body={"inputs": [1]})
    assert server.asked[1:] == [("POST", "/v2/models/echo/infer", {"inputs": [1]})]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"ready": httpx.Response(503, json={"error": "no"})}, 'GET http://host/v2/health/ready: 503 {"error":"no"}'),
        ({"metadata": httpx.Response(404, text="nothing")}, "GET http://host/v2/models/echo: 404 nothing"),
        ({"infer": httpx.Response(400, text="zeros")}, "POST http://host/v2/models/echo/infer: 400 zeros"),
    ],
)
def test_what_does_not_answer_is_named(answers: dict[str, httpx.Response], said: str) -> None:
    with pytest.raises(SmokeFailed) as failed:
        ask(Server(**answers), models(echo=MODEL).models[0])
    assert str(failed.value) == said


def test_a_refusal_that_waiting_does_not_mend_is_told_at_once() -> None:
    server = Server(infer=httpx.Response(400, text="zeros"))
    with pytest.raises(SmokeFailed):
        ask(server, models(echo=MODEL).models[0], timeout_s=3600)
    assert len(server.asked) == 3


def test_a_server_that_is_not_there_is_named() -> None:
    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(SmokeFailed, match=r"^GET http://host/v2/health/ready: ConnectError: refused$"):
        ask(gone, models(echo=MODEL).models[0])


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("models: []", [], "models.yaml: models: expected a mapping"),
        ("models: {echo: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 1}}", ["--model", "other"],
         "models.yaml has no model other; it has echo"),
        ("models: {echo: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 1}}", ["--body", "/none.json"],
         "[Errno 2] No such file or directory: '/none.json'"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(
    text: str, options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(text)
    assert smoke.main(["http://127.0.0.1:1", "--models", str(file), *options]) == 2
    assert capsys.readouterr().err.removeprefix(f"{tmp_path}/") == f"{said}\n"
