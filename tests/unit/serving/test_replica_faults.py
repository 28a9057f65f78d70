"""A replica whose slot, model or engine fails it, and one that is stopped."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from models import catalog, synthetic
from serving.replica import Replica
from serving.slot import SlotError
from tests.unit.serving.build import EmulatedGpu, answered, infer, model_config, play, request, until
from vgpu.core import names
from vgpu.emulator.framebuffer import FramebufferExhausted

LONG_WORK = {"base_us": 60_000_000}
READY = "/v2/models/echo/ready"


class Moody(synthetic.Synthetic):
    """Fails on texts that ask for it."""

    def predict(self, batch: Sequence[str]) -> list[str]:
        for text in batch:
            if text == "defect":
                raise ZeroDivisionError("a defect of the model")
            if text == "large":
                raise MemoryError("no room for the activations")
        return super().predict(batch)


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> str:
    kinds = {**catalog.FACTORIES, "moody": Moody}
    monkeypatch.setattr(catalog, "FACTORIES", kinds)
    return "moody"


def test_a_lost_device_refuses_what_runs_and_what_comes_and_fails_the_health_check(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> dict[str, Any]:
        await replica.check_health()
        before = (await replica(request("GET", READY))).status_code
        running = asyncio.ensure_future(replica(infer("one")))
        await until(lambda: gpu.slot()["busy_ns"] > 0)
        gpu.lose()
        seen = {"before": before, "running": await running, "after": await replica(infer("two"))}
        seen["ready"] = answered(await replica(request("GET", READY)))
        with pytest.raises(RuntimeError, match=r"the device (is|was) lost"):
            await replica.check_health()
        return seen | {"gauge": gpu.scraped("ready"), "codes": gpu.counted()}

    seen = play(gpu, script, parameters=LONG_WORK)
    assert (seen["before"], seen["ready"][0], seen["gauge"], seen["codes"]) == (200, 503, 0, {"503": 2})
    for response in (seen["running"], seen["after"]):
        status, refusal = answered(response)
        assert (status, refusal["reason"], response.headers["retry-after"]) == (503, "device_lost", "5")


def test_a_defect_of_the_model_is_answered_500_without_its_traceback_and_the_replica_goes_on(
    gpu: EmulatedGpu, moody: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(replica: Replica) -> Any:
        answers = [answered(await replica(infer(text))) for text in ("defect", "fine")]
        await replica.check_health()
        return answers, gpu.counted()

    with caplog.at_level(logging.ERROR, logger="ray.serve"):
        logging.getLogger("ray.serve").addHandler(caplog.handler)
        (failed, fine), codes = play(gpu, script, source=moody)
    assert failed == (500, {"error": "failed to answer; see the server's log", "reason": "internal"})
    assert (fine[0], codes) == (200, {"500": 1, "200": 1})
    assert "a defect of the model" in caplog.text


def test_a_batch_that_does_not_fit_is_answered_503_and_the_replica_stays(gpu: EmulatedGpu, moody: str) -> None:
    async def script(replica: Replica) -> Any:
        answers = [await replica(infer(text)) for text in ("large", "fine")]
        await replica.check_health()
        return [(response.headers.get("retry-after"), *answered(response)) for response in answers]

    large, fine = play(gpu, script, source=moody)
    message = "the batch does not fit the slot: no room for the activations"
    assert large == ("1", 503, {"error": message, "reason": "out_of_memory", "retry_after_s": 1})
    assert fine[1] == 200


def test_an_arbiter_that_goes_away_is_a_lost_slot(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> int:
        running = asyncio.ensure_future(replica(infer("one")))
        await until(lambda: gpu.slot()["busy_ns"] > 0)
        gpu.stop()
        status = (await running).status_code
        with pytest.raises(RuntimeError, match="the arbiter"):
            await replica.check_health()
        return status

    assert play(gpu, script, parameters=LONG_WORK) == 503


def test_a_stopped_replica_refuses_what_it_holds_and_gives_back_slot_framebuffer_and_port(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> tuple[int, Any]:
        held = gpu.slot()["framebuffer_used_mib"]
        running = asyncio.ensure_future(replica(infer("one")))
        await until(lambda: gpu.slot()["busy_ns"] > 0)
        destruction = replica.__del__()  # as Ray Serve does
        assert destruction is not None
        await destruction
        assert replica.__del__() is None
        return held, answered(await running)

    held, (status, refusal) = play(gpu, script, parameters=LONG_WORK)
    assert (held, status, refusal["reason"]) == (64, 503, "no_capacity")
    assert (gpu.slot()["pid"], gpu.slot()["framebuffer_used_mib"]) == (None, 0)
    play(gpu, lambda again: again(infer("one")))


def test_a_metrics_port_in_use_is_said_at_start(gpu: EmulatedGpu) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", gpu.metrics_port))
        taken.listen()
        with pytest.raises(OSError, match="Address already in use"):
            Replica(model_config(), environment=gpu.worker(), replica_id="r1")


def test_a_worker_without_a_usable_slot_serves_nothing(gpu: EmulatedGpu) -> None:
    with pytest.raises(SlotError, match="VGPU_SLOT_ID is not set; VGPU_SLOT_UNITS is 'many'"):
        Replica(
            model_config(),
            environment=gpu.worker(**{names.ENV_SLOT_ID: "", names.ENV_SLOT_UNITS: "many"}),
            replica_id="r1",
        )


def test_a_model_that_does_not_fit_its_slot_serves_nothing(gpu: EmulatedGpu) -> None:
    config = model_config(parameters={"framebuffer_mib": 8193})
    with pytest.raises(FramebufferExhausted, match="asked for 8193 MiB"):
        Replica(config, environment=gpu.worker(), replica_id="r1")
