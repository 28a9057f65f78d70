"""Reads the devices once a second in a thread of its own, so that a hung driver call blocks nobody else.

Rule: whoever looks gets the last sample and its age at once, whatever the driver does.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from vgpu.adapters.nvml import DeviceReading, Missing
from vgpu.exporter.attribution import Attribution, Tenant, by_environment

PERIOD_S = 1.0  # the driver renews its figures every 1/6 s to 1 s
STALE_AFTER_S = 5.0  # so many seconds without a new sample make every reading unknown


class Reader(Protocol):
    """What the sampler asks of NVML."""

    @property
    def error_counts(self) -> Mapping[int, int]:
        """NVML error codes met so far and how often."""

    def read_devices(self) -> tuple[DeviceReading, ...] | Missing:
        """Read every device, or say why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """All devices at one moment. `taken_s` is on the clock that ages are measured with, `unix_s` the calendar's."""

    taken_s: float
    unix_s: float
    devices: tuple[DeviceReading, ...] | Missing
    error_counts: Mapping[int, int]
    tenants: Mapping[int, Tenant]
    """By process id, those that have a slot of a card."""


class Sampler:
    """Keeps the latest sample of one node."""

    def __init__(
        self,
        reader: Reader,
        *,
        attribution: Attribution = by_environment,
        now_s: Callable[[], float] = time.monotonic,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._reader = reader
        self._attribution = attribution
        self._now_s = now_s
        self._unix_s = unix_s
        self._stopping = threading.Event()
        self._latest: Sample | None = None

    @property
    def latest(self) -> Sample | None:
        """The last sample, None before the first."""
        return self._latest

    def age_s(self) -> float | None:
        """Seconds since the last sample, None before the first."""
        sample = self._latest
        return None if sample is None else self._now_s() - sample.taken_s

    def sample(self) -> None:
        """Read the devices once."""
        devices = self._reader.read_devices()
        self._latest = Sample(
            taken_s=self._now_s(),
            unix_s=self._unix_s(),
            devices=devices,
            error_counts=dict(self._reader.error_counts),  # a copy: the reader goes on counting
            tenants=self._tenants(devices),
        )

    def _tenants(self, devices: tuple[DeviceReading, ...] | Missing) -> dict[int, Tenant]:
        """Ask whose each process is. Anew each time: process ids come round."""
        if isinstance(devices, Missing):
            return {}
        pids = [
            process.pid
            for device in devices
            if not isinstance(device.processes, Missing)
            for process in device.processes
        ]
        found = {pid: self._attribution(pid) for pid in pids}
        return {pid: tenant for pid, tenant in found.items() if tenant is not None}

    def start(self) -> None:
        """Sample once a second from now on. The thread ends with the process, even when it hangs in the driver."""
        threading.Thread(target=self._sample_for_ever, name="nvml-sampler", daemon=True).start()

    def stop(self) -> None:
        """Take no further sample."""
        self._stopping.set()

    def _sample_for_ever(self) -> None:
        while not self._stopping.is_set():
            self.sample()
            self._stopping.wait(PERIOD_S)
