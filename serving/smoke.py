"""`python -m serving.smoke URL --models MODELS.yaml`: is everything ready, and does a model really answer?

Waits for `/v2/health/ready`, then asks the first model that does not sleep one inference, with inputs made from what
the model says of itself: zeros, and a short text. 0 where it answered, 1 with the reason, 2 for a file of no use.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from serving import config

WORD = "The cat sits outside"
OPEN_LENGTH = 8  # as long as models.onnx_network takes an open length to be
LOOK_S = 1.0


class SmokeFailed(Exception):
    """The installation did not answer; the message says what did."""


def first_awake(loaded: config.ServingConfig) -> config.ModelConfig:
    """The first model that does not sleep; the first of all, which the question wakes, where each may."""
    return next((model for model in loaded.models if not model.may_sleep), loaded.models[0])


def body_for(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """One row for every input of a model, from its metadata of Open Inference Protocol v2."""
    return {"inputs": [_tensor(spec) for spec in metadata["inputs"]]}


def _tensor(spec: Mapping[str, Any]) -> dict[str, Any]:
    shape = [1, *(OPEN_LENGTH if length < 0 else length for length in spec["shape"][1:])]
    element: object = {"BYTES": WORD, "BOOL": False}.get(spec["datatype"], 0)
    return {"name": spec["name"], "datatype": spec["datatype"], "shape": shape, "data": [element] * math.prod(shape)}


def smoke(client: httpx.Client, model: config.ModelConfig, *, timeout_s: float, body: object = None) -> str:
    """Wait until the installation is ready and ask the model once; what it said, in one line. Raises `SmokeFailed`."""
    deadline_s = time.monotonic() + timeout_s
    _await(client, "GET", "/v2/health/ready", deadline_s)
    path = f"/v2/models/{model.name}"
    if body is None and not model.may_sleep:
        body = body_for(_await(client, "GET", path, deadline_s).json())
    if body is None:  # it may be asleep, and only a question wakes it
        _await(client, "POST", f"{path}/infer", deadline_s, {}, until=(200, 400))
        body = body_for(_await(client, "GET", path, deadline_s).json())
    began_s = time.monotonic()
    answer = _await(client, "POST", f"{path}/infer", deadline_s, body).json()
    took_ms = 1000 * (time.monotonic() - began_s)
    said = ", ".join(f"{each['name']} {each['datatype']} {each['shape']}" for each in answer["outputs"])
    return f"{model.name} answered in {took_ms:.0f} ms: {said}"


def _await(
    client: httpx.Client,
    method: str,
    path: str,
    deadline_s: float,
    body: object = None,
    *,
    until: tuple[int, ...] = (200,),
) -> httpx.Response:
    """The first answer of a wanted status. Raises `SmokeFailed` at once for a refusal that waiting does not mend."""
    while True:
        try:
            answer = client.request(method, path, json=body)
            if answer.status_code in until:
                return answer
            said, may_mend = f"{answer.status_code} {answer.text.strip()[:300]}", answer.status_code >= 500
        except httpx.HTTPError as error:
            said, may_mend = f"{type(error).__name__}: {error}", True
        if not may_mend or time.monotonic() + LOOK_S > deadline_s:
            raise SmokeFailed(f"{method} {client.base_url.join(path)}: {said}")
        time.sleep(LOOK_S)


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m serving.smoke", description=__doc__)
    parser.add_argument("url", help="where clients connect, such as http://127.0.0.1:8000")
    parser.add_argument("--models", type=Path, required=True, help="the models file")
    parser.add_argument("--model", help="ask this one; else the first that does not sleep")
    parser.add_argument("--body", type=Path, help="a request in JSON, for a model that takes no zeros")
    parser.add_argument("--timeout-s", type=float, default=180.0, help="longest wait for all of it")
    options = parser.parse_args(arguments)
    try:
        loaded = config.load(options.models)
        body = None if options.body is None else json.loads(options.body.read_text())
    except (config.ConfigError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    named = {model.name: model for model in loaded.models}
    if options.model is not None and options.model not in named:
        sys.stderr.write(f"{options.models} has no model {options.model}; it has {', '.join(named)}\n")
        return 2
    model = first_awake(loaded) if options.model is None else named[options.model]
    # No proxy from the environment: the ingress is next door.
    with httpx.Client(base_url=options.url, timeout=30.0, trust_env=False) as client:
        try:
            sys.stdout.write(smoke(client, model, timeout_s=options.timeout_s, body=body) + "\n")
        except SmokeFailed as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
