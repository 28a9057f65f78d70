"""Models of a user's own, an ONNX file and a class, behind a replica's whole request path."""

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from serving.replica import Replica
from tests.unit.models import networks
from tests.unit.serving.build import MODEL, EmulatedGpu, answered, infer, play, request

PATH = f"/v2/models/{MODEL}"
COST = {"base_us": 3000, "per_item_us": 500}


def asked(name: str, datatype: str, shape: list[int], data: list[Any]) -> Request:
    tensor = {"name": name, "datatype": datatype, "shape": shape, "data": data}
    return request("POST", f"{PATH}/infer", json.dumps({"inputs": [tensor]}).encode())


def test_a_file_is_described_and_answers_and_costs_what_was_said(gpu: EmulatedGpu, tmp_path: Path) -> None:
    path = networks.doubling(tmp_path / "m.onnx")

    async def script(replica: Replica) -> list[Any]:
        given = [request("GET", PATH), asked("x", "FP32", [2, 3], [1, 2, 3, 4, 5, 6])]
        return [answered(await replica(one)) for one in given]

    described, doubled = play(gpu, script, source=f"onnx:{path}", parameters=COST)
    assert described == (
        200,
        {
            "name": MODEL,
            "versions": ["1"],
            "platform": "onnx_onnxv1",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
        },
    )
    output = {"name": "y", "datatype": "FP32", "shape": [2, 3], "data": [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]}
    assert doubled == (200, {"model_name": MODEL, "model_version": "1", "outputs": [output]})
    assert gpu.slot()["busy_ns"] == 4_000_000


def test_binary_tensors_reach_a_file_and_come_back(gpu: EmulatedGpu, tmp_path: Path) -> None:
    path = networks.doubling(tmp_path / "m.onnx")
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"inference-header-content-length": str(len(head))}

    async def script(replica: Replica) -> tuple[float, ...]:
        body = head + struct.pack("<3f", 1, 2, 3)
        response = await replica(request("POST", f"{PATH}/infer", body, headers))
        length = int(response.headers["inference-header-content-length"])
        return struct.unpack("<3f", bytes(response.body)[length:])

    assert play(gpu, script, source=f"onnx:{path}", parameters=COST) == (2.0, 4.0, 6.0)


def test_a_row_that_the_network_refuses_costs_its_own_request_only(gpu: EmulatedGpu, tmp_path: Path) -> None:
    path = networks.lookup(tmp_path / "m.onnx")

    async def script(replica: Replica) -> list[tuple[int, Any]]:
        first = asyncio.ensure_future(replica(asked("id", "INT64", [1], [0])))
        company = [replica(asked("id", "INT64", [1], [number])) for number in (1, 9, 3)]
        return [answered(response) for response in await asyncio.gather(first, *company)]

    answers = play(gpu, script, source=f"onnx:{path}", parameters=COST)
    assert [status for status, _ in answers] == [200, 200, 400, 200]
    assert [body["outputs"][0]["data"] for status, body in answers if status == 200] == [
        [0.0, 0.5], [1.0, 1.5], [3.0, 3.5],
    ]  # fmt: skip
    refused = answers[2][1]
    assert (refused["reason"], refused["field"]) == ("invalid_input", "inputs")


def test_a_class_of_the_users_image_is_served(
    gpu: EmulatedGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loud.py").write_text(
        "from models.synthetic import Synthetic\n"
        "class Loud(Synthetic):\n"
        "    def __init__(self, mark='!'):\n"
        "        super().__init__()\n"
        "        self.mark = mark\n"
        "    def predict(self, batch):\n"
        "        return [text.upper() + self.mark for text in batch]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def script(replica: Replica) -> Any:
        return answered(await replica(infer("one", "two")))[1]["outputs"][0]["data"]

    assert play(gpu, script, source="python:loud:Loud", parameters={"mark": "?"}) == ["ONE?", "TWO?"]
