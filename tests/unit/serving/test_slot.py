"""The slot a worker's environment names, and its engine against an emulated GPU."""

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest

from serving import slot
from serving.slot import Execution, Slot, SlotError
from tests.fakes import virtual_time
from tests.unit.serving.build import EmulatedGpu
from vgpu.core import names
from vgpu.core.share import SchedulerPolicy
from vgpu.emulator.client import DeviceLost, EngineClient, EngineRefused, EngineUnavailable
from vgpu.emulator.framebuffer import FramebufferExhausted

MS = 1_000_000
NOWHERE = EmulatedGpu(Path("/nowhere/gpu.sock"))


def worker_slot(gpu: EmulatedGpu, **changes: str) -> Slot:
    return slot.from_environment(gpu.worker(**changes))


def test_a_slot_is_read_from_the_workers_environment() -> None:
    assert worker_slot(NOWHERE, **{names.ENV_EMULATED_COST_RATIO: "2.5"}) == Slot(
        slot_id="a",
        profile="v100-8q-8GB",
        units=500,
        framebuffer_mib=8192,
        policy=SchedulerPolicy.BEST_EFFORT,
        device_kind="emulated",
        emulator_socket="/nowhere/gpu.sock",
        emulator_slot="a",
        cost_ratio=2.5,
        metrics_host="127.0.0.1",
        metrics_port=0,
        worker="worker-1",
    )


def test_a_fraction_is_played_by_a_part_of_the_emulated_card() -> None:
    given = worker_slot(NOWHERE, **{names.ENV_EMULATOR_SLOT: "node-1/part-1"})
    assert (given.slot_id, given.emulator_slot) == ("a", "node-1/part-1")


def test_a_real_slot_needs_no_emulator_and_ignores_one() -> None:
    for changes in ({names.ENV_EMULATOR_SOCKET: ""}, {}):
        real = worker_slot(NOWHERE, **{names.ENV_DEVICE_KIND: "real"}, **changes)
        assert (real.device_kind, real.emulator_socket, real.cost_ratio) == ("real", None, 1.0)


def test_an_empty_environment_lists_every_variable() -> None:
    with pytest.raises(SlotError) as refused:
        slot.from_environment({})
    for name in (
        names.ENV_SLOT_ID, names.ENV_SLOT_PROFILE, names.ENV_SLOT_UNITS, names.ENV_SLOT_FRAMEBUFFER_MIB,
        names.ENV_SLOT_POLICY, names.ENV_DEVICE_KIND, names.ENV_METRICS_ADDRESS, names.ENV_WORKER,
    ):  # fmt: skip
        assert f"{name} is not set" in str(refused.value)
    assert "see vgpu/core/names.py" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        (names.ENV_SLOT_UNITS, "0", "is '0'; expected 1 to 1000"),
        (names.ENV_SLOT_UNITS, "1001", "is '1001'; expected 1 to 1000"),
        (names.ENV_SLOT_UNITS, "half", "is 'half'; expected 1 to 1000"),
        (names.ENV_SLOT_FRAMEBUFFER_MIB, "-1", "is '-1'; expected 1 to 1048576"),
        (names.ENV_SLOT_POLICY, "fair", "is 'fair'; expected one of best-effort, equal-share, fixed-share"),
        (names.ENV_DEVICE_KIND, "fake", "is 'fake'; expected one of emulated, real"),
        (names.ENV_EMULATOR_SOCKET, "", "is not set"),
        (names.ENV_METRICS_ADDRESS, "8080", "is '8080'; expected host:port"),
        (names.ENV_METRICS_ADDRESS, ":8080", "is ':8080'; expected host:port"),
        (names.ENV_METRICS_ADDRESS, "127.0.0.1:65536", "is '127.0.0.1:65536'; expected host:port"),
        (names.ENV_EMULATED_COST_RATIO, "0", "is '0'; expected above 0, at most 1000"),
        (names.ENV_EMULATED_COST_RATIO, "nan", "is 'nan'; expected above 0, at most 1000"),
        (names.ENV_EMULATED_COST_RATIO, "much", "is 'much'; expected above 0, at most 1000"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_expected(name: str, value: str, problem: str) -> None:
    with pytest.raises(SlotError) as refused:
        worker_slot(NOWHERE, **{name: value})
    assert f"no usable slot: {name} {problem}. The kubelet" in str(refused.value)


async def immediately() -> str:
    return "answer"


async def after_a_job_of_slot_b(gpu: EmulatedGpu, demand_ns: int) -> str:
    with EngineClient(gpu.socket, "b") as neighbour:
        await neighbour.run(demand_ns)
    return "answer"


async def failing() -> str:
    raise RuntimeError("the model failed")


def execute(engine: slot.Engine, demand_ns: int, computing: Awaitable[str]) -> Execution[str]:
    async def run() -> Execution[str]:
        try:
            return await engine.execute(demand_ns, computing)
        finally:
            await engine.close()

    return asyncio.run(run())


def emulated(gpu: EmulatedGpu, *, framebuffer_mib: int = 64, **changes: str) -> slot.Engine:
    return slot.open_engine(worker_slot(gpu, **changes), framebuffer_mib=framebuffer_mib)


def test_an_answer_leaves_no_sooner_than_the_emulated_engine_is_done(gpu: EmulatedGpu) -> None:
    engine, began_s = emulated(gpu), time.monotonic()
    execution = execute(engine, 30 * MS, immediately())
    assert time.monotonic() - began_s >= execution.busy_s >= 0.030
    assert (execution.answer, execution.host_was_late) == ("answer", False)
    assert gpu.slot()["busy_ns"] == 30 * MS


def test_a_slower_emulated_gpu_takes_that_many_times_longer(gpu: EmulatedGpu) -> None:
    execute(emulated(gpu, **{names.ENV_EMULATED_COST_RATIO: "2.5"}), 4 * MS, immediately())
    assert gpu.slot()["busy_ns"] == 10 * MS


def test_a_host_that_is_later_than_the_emulated_engine_is_flagged(gpu: EmulatedGpu) -> None:
    began_s = time.monotonic()
    execution = execute(emulated(gpu), 1 * MS, after_a_job_of_slot_b(gpu, 80 * MS))
    assert (execution.answer, execution.host_was_late) == ("answer", True)
    assert 0.001 <= execution.busy_s < 0.080 < time.monotonic() - began_s


def test_a_host_that_is_done_with_the_emulated_engine_is_not_late() -> None:
    class Immediate:
        async def run(self, demand_ns: int) -> None: ...

        def close(self) -> None: ...

    engine = slot.EmulatedEngine(Immediate())  # type: ignore[arg-type]  # as much of a client as is asked for
    assert not execute(engine, 1 * MS, immediately()).host_was_late


def test_a_failing_model_fails_its_batch(gpu: EmulatedGpu) -> None:
    with pytest.raises(RuntimeError, match="the model failed"):
        execute(emulated(gpu), 1 * MS, failing())


def test_opening_takes_the_framebuffer_and_closing_gives_it_back(gpu: EmulatedGpu) -> None:
    engine = emulated(gpu, framebuffer_mib=100)
    assert gpu.slot()["framebuffer_used_mib"] == 100
    asyncio.run(engine.close())
    reopened = emulated(gpu, framebuffer_mib=8192)
    asyncio.run(reopened.close())


def test_a_model_that_does_not_fit_is_refused_at_opening_and_leaves_the_slot_free(gpu: EmulatedGpu) -> None:
    with pytest.raises(FramebufferExhausted, match="asked for 8193 MiB, 0 of 8192 MiB are in use"):
        emulated(gpu, framebuffer_mib=8193)
    asyncio.run(emulated(gpu).close())


def test_a_slot_that_another_process_holds_is_refused(gpu: EmulatedGpu) -> None:
    holder = emulated(gpu)
    with pytest.raises(EngineRefused, match="slot 'a' is held by process"):
        emulated(gpu)
    asyncio.run(holder.close())


def test_without_an_arbiter_there_is_no_engine() -> None:
    with pytest.raises(EngineUnavailable, match=r"no arbiter answers at /nowhere/gpu\.sock"):
        emulated(NOWHERE)


def test_a_device_lost_before_or_during_a_batch_fails_it(gpu: EmulatedGpu) -> None:
    engine = emulated(gpu)

    async def lose() -> list[type]:
        computing = asyncio.get_running_loop().create_future()
        during = asyncio.ensure_future(engine.execute(3600 * 1000 * MS, computing))
        await asyncio.sleep(0)
        await asyncio.to_thread(gpu.lose)
        outcomes = await asyncio.gather(during, engine.execute(1, immediately()), return_exceptions=True)
        await engine.close()
        assert computing.cancelled()  # nobody waits for the rest of it
        return [type(outcome) for outcome in outcomes]

    assert asyncio.run(lose()) == [DeviceLost, DeviceLost]


def test_on_a_real_device_the_computing_is_the_engine_time() -> None:
    engine = slot.open_engine(worker_slot(NOWHERE, **{names.ENV_DEVICE_KIND: "real"}), framebuffer_mib=64)

    async def run() -> Execution[str]:
        execution = await engine.execute(1 * MS, asyncio.sleep(0.25, "answer"))
        await engine.close()
        return execution

    assert virtual_time.run(run()) == Execution("answer", 0.25, False)
