"""The slot this worker was given, read from its environment, and the engine behind it.

The limits of a slot are what the driver enforces (MIG, vGPU) or advice (fractions): nothing here hooks a library.
On an emulated slot the model really runs, on the CPU, while the emulated engine decides when a GPU would have finished:
an answer leaves when both are done, so latency follows the emulated device and not the host.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from vgpu.core import names
from vgpu.core.share import UNITS_PER_GPU, SchedulerPolicy
from vgpu.emulator.client import DeviceLost, EngineClient, EngineUnavailable

Answer = TypeVar("Answer")

EMULATED, REAL = "emulated", "real"
HIGHEST_PORT = 65535
MOST_MIB = 1 << 20
MOST_COST_RATIO = 1000


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
    emulator_slot: str
    """What the emulated card calls it: its own name, or the part of the card that plays the fraction."""
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
    given = _Variables(environment)
    kind = given.one_of(names.ENV_DEVICE_KIND, (EMULATED, REAL))
    host, port = given.address(names.ENV_METRICS_ADDRESS)
    slot = Slot(
        slot_id=given.text(names.ENV_SLOT_ID),
        profile=given.text(names.ENV_SLOT_PROFILE),
        units=given.whole(names.ENV_SLOT_UNITS, UNITS_PER_GPU),
        framebuffer_mib=given.whole(names.ENV_SLOT_FRAMEBUFFER_MIB, MOST_MIB),
        policy=SchedulerPolicy(given.one_of(names.ENV_SLOT_POLICY, tuple(SchedulerPolicy))),
        device_kind=kind,
        emulator_socket=given.text(names.ENV_EMULATOR_SOCKET) if kind == EMULATED else None,
        emulator_slot=environment.get(names.ENV_EMULATOR_SLOT) or environment.get(names.ENV_SLOT_ID, ""),
        cost_ratio=given.ratio(names.ENV_EMULATED_COST_RATIO, "1"),
        metrics_host=host,
        metrics_port=port,
        worker=given.text(names.ENV_WORKER),
    )
    if given.problems:
        message = "this worker has no usable slot: " + "; ".join(given.problems)
        raise SlotError(f"{message}. The kubelet sets these from the pod's slot; see vgpu/core/names.py")
    return slot


@dataclass(slots=True)
class _Variables:
    """Takes typed values out of an environment; what is wrong joins `problems` and a harmless value stands in."""

    environment: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        value = self.environment.get(name, "")
        if not value:
            self.problems.append(f"{name} is not set")
        return value

    def one_of(self, name: str, options: Sequence[str]) -> str:
        return self._checked(name, options[0], lambda value: value in options, f"one of {', '.join(options)}")

    def whole(self, name: str, most: int) -> int:
        def fits(value: str) -> bool:
            return value.isdecimal() and 1 <= int(value) <= most

        return int(self._checked(name, "1", fits, f"1 to {most}"))

    def address(self, name: str) -> tuple[str, int]:
        def is_address(value: str) -> bool:
            host, _, port = value.rpartition(":")
            return bool(host) and port.isdecimal() and int(port) <= HIGHEST_PORT

        host, _, port = self._checked(name, "localhost:0", is_address, "host:port").rpartition(":")
        return host, int(port)

    def ratio(self, name: str, default: str) -> float:
        value = self.environment.get(name, default)
        try:
            ratio = float(value)
        except ValueError:
            ratio = 0.0
        if not 0 < ratio <= MOST_COST_RATIO:
            self.problems.append(f"{name} is {value!r}; expected above 0, at most {MOST_COST_RATIO}")
        return ratio

    def _checked(self, name: str, stand_in: str, is_right: Callable[[str], bool], expected: str) -> str:
        value = self.text(name)
        if is_right(value):
            return value
        if value:
            self.problems.append(f"{name} is {value!r}; expected {expected}")
        return stand_in


def open_engine(slot: Slot, *, framebuffer_mib: int) -> Engine:
    """Attach to the slot and reserve the model's framebuffer.

    Raises `FramebufferExhausted` where the model does not fit, `EngineUnavailable` or `DeviceLost` where an emulated
    GPU is gone, `EngineRefused` where another process holds the slot.
    """
    if slot.emulator_socket is None:
        return DeviceEngine()
    client = EngineClient(slot.emulator_socket, slot.emulator_slot)
    try:
        client.allocate(framebuffer_mib)
    except (MemoryError, EngineUnavailable, DeviceLost):
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
