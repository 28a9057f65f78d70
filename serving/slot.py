"""The slot this worker was given, read from its environment, and the engine behind it.

The limits of a slot are what the driver enforces (MIG, vGPU) or advice (fractions): nothing here hooks a library.
On an emulated slot the model really runs, on the CPU, while the emulated engine decides when a GPU would have finished:
an answer leaves when both are done, so latency follows the emulated device and not the host.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from vgpu.core import names
from vgpu.core.share import UNITS_PER_GPU, SchedulerPolicy
from vgpu.emulator.client import DeviceLost, EngineClient, EngineUnavailable
from vgpu.emulator.framebuffer import FramebufferExhausted

Answer = TypeVar("Answer")

EMULATED, REAL = "emulated", "real"
HIGHEST_PORT = 65535


class SlotError(Exception):
    """The worker's environment names no usable slot; the message lists every problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One fraction of one GPU, bound to this process."""

    slot_id: str
    profile: str
    units: int
    framebuffer_mib: int
    policy: SchedulerPolicy
    device_kind: str
    emulator_socket: str | None
    cost_ratio: float
    """Emulated slots: how many times longer the emulated GPU takes than the reference engine of the cost model."""
    metrics_host: str
    metrics_port: int
    worker: str


@dataclass(frozen=True, slots=True)
class Execution(Generic[Answer]):
    """What one batch gave, how long it was on the engine, and whether the host was later than the emulated engine.

    `busy_s` counts the waits for the slot's time slices too, as CUDA events on a shared GPU do: it is service time.
    """

    answer: Answer
    busy_s: float
    host_was_late: bool


class Engine(Protocol):
    """Runs a batch on the slot."""

    async def execute(self, demand_ns: int, computing: Awaitable[Answer]) -> "Execution[Answer]":
        """Await `computing`, no sooner than the slot's engine has given `demand_ns`."""

    async def close(self) -> None:
        """Give the framebuffer back."""


def from_environment(environment: Mapping[str, str]) -> Slot:
    """Read the slot. Raises `SlotError` naming every variable that is missing or wrong."""
    problems: list[str] = []

    def text(name: str) -> str:
        value = environment.get(name, "")
        if not value:
            problems.append(f"{name} is not set")
        return value

    def whole(name: str, most: int) -> int:
        value = text(name)
        if value.isdecimal() and 1 <= int(value) <= most:
            return int(value)
        if value:
            problems.append(f"{name} is {value!r}; expected 1 to {most}")
        return 1

    policy = text(names.ENV_SLOT_POLICY)
    if policy and policy not in set(SchedulerPolicy):
        problems.append(f"{names.ENV_SLOT_POLICY} is {policy!r}; expected one of {', '.join(SchedulerPolicy)}")
    kind = text(names.ENV_DEVICE_KIND)
    if kind and kind not in (EMULATED, REAL):
        problems.append(f"{names.ENV_DEVICE_KIND} is {kind!r}; expected {EMULATED} or {REAL}")
    socket = text(names.ENV_EMULATOR_SOCKET) if kind == EMULATED else None
    address = text(names.ENV_METRICS_ADDRESS)
    host, _, port = address.rpartition(":")
    if address and not (host and port.isdecimal() and int(port) <= HIGHEST_PORT):
        problems.append(f"{names.ENV_METRICS_ADDRESS} is {address!r}; expected host:port")
    slot_id, profile = text(names.ENV_SLOT_ID), text(names.ENV_SLOT_PROFILE)
    units = whole(names.ENV_SLOT_UNITS, UNITS_PER_GPU)
    framebuffer_mib = whole(names.ENV_SLOT_FRAMEBUFFER_MIB, 1 << 20)
    worker = text(names.ENV_WORKER)
    cost_ratio = _ratio(environment.get(names.ENV_EMULATED_COST_RATIO, "1"), problems)
    if problems:
        message = "this worker has no usable slot: " + "; ".join(problems)
        raise SlotError(f"{message}. The kubelet sets these from the pod's slot; see vgpu/core/names.py")
    return Slot(
        slot_id=slot_id,
        profile=profile,
        units=units,
        framebuffer_mib=framebuffer_mib,
        policy=SchedulerPolicy(policy),
        device_kind=kind,
        emulator_socket=socket,
        cost_ratio=cost_ratio,
        metrics_host=host,
        metrics_port=int(port),
        worker=worker,
    )


def _ratio(text: str, problems: list[str]) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = 0.0
    if not 0 < ratio <= 1000:
        problems.append(f"{names.ENV_EMULATED_COST_RATIO} is {text!r}; expected above 0, at most 1000")
    return ratio


def open_engine(slot: Slot, *, framebuffer_mib: int) -> Engine:
    """Attach to the slot and reserve the model's framebuffer.

    Raises `FramebufferExhausted` where the model does not fit, `EngineUnavailable` or `DeviceLost` where an emulated
    GPU is gone, `EngineRefused` where another process holds the slot.
    """
    if slot.emulator_socket is None:
        return DeviceEngine()
    client = EngineClient(slot.emulator_socket, slot.slot_id)
    try:
        client.allocate(framebuffer_mib)
    except (FramebufferExhausted, EngineUnavailable, DeviceLost):
        client.close()
        raise
    return EmulatedEngine(client, cost_ratio=slot.cost_ratio)


@dataclass(slots=True)
class DeviceEngine:
    """A real device: the computing itself is the engine time. Preemption by neighbours counts: it is service time."""

    async def execute(self, demand_ns: int, computing: Awaitable[Answer]) -> Execution[Answer]:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        answer = await computing
        return Execution(answer, loop.time() - began_s, False)

    async def close(self) -> None:
        return


@dataclass(slots=True)
class EmulatedEngine:
    """An emulated device: modelled time, real results."""

    client: EngineClient
    cost_ratio: float = 1.0

    async def execute(self, demand_ns: int, computing: Awaitable[Answer]) -> Execution[Answer]:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        engine = asyncio.ensure_future(self.client.run(max(1, round(demand_ns * self.cost_ratio))))
        computed = asyncio.ensure_future(computing)
        try:
            await asyncio.wait({engine, computed}, return_when=asyncio.FIRST_COMPLETED)
            host_was_late = engine.done() and not computed.done()
            await engine
            busy_s = loop.time() - began_s
            answer = await computed
        finally:
            engine.cancel()
            computed.cancel()
        return Execution(answer, busy_s, host_was_late)

    async def close(self) -> None:
        self.client.close()
