"""Reads NVML in a thread of its own, so that a hung driver call delays neither the kubelet nor the verdict on health.

Rule: whoever looks gets the last sample at once and judges its age.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vgpu.adapters.nvml import DeviceReading, Missing
from vgpu.adapters.nvml_events import CriticalError
from vgpu.deviceplugin.survey import Strike


class Reader(Protocol):
    """What is asked of NVML."""

    def read_devices(self) -> tuple[DeviceReading, ...] | Missing:
        """Read every device, or say why there is none."""


class ErrorWatch(Protocol):
    """Where critical errors come from."""

    def poll(self) -> tuple[CriticalError, ...]:
        """What the driver told of since the last call."""

    def close(self) -> None:
        """Let go of NVML; the next poll begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """All devices at one moment, and the last critical error of each."""

    taken_s: float
    readings: tuple[DeviceReading, ...] | Missing
    strikes: tuple[Strike, ...]


class Sampler:
    """Keeps the latest sample. XIDs in `ignored_xids` are an application's own fault and say nothing of the card."""

    def __init__(
        self,
        reader: Reader,
        errors: ErrorWatch,
        *,
        ignored_xids: frozenset[int],
        period_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._errors = errors
        self._ignored_xids = ignored_xids
        self._period_s = period_s
        self._now_s = now_s
        self._strikes: dict[str | None, Strike] = {}
        self._stopping = threading.Event()
        self._latest: Sample | None = None

    @property
    def latest(self) -> Sample | None:
        """The last sample, None before the first."""
        return self._latest

    def sample(self) -> None:
        """Read the devices once."""
        readings = self._reader.read_devices()
        for error in self._errors.poll():
            if error.xid not in self._ignored_xids:
                self._strikes[error.uuid] = Strike(uuid=error.uuid, xid=error.xid, at_s=self._now_s())
        if isinstance(readings, Missing) or any(not reading.healthy for reading in readings):
            self._errors.close()  # or the driver would not be initialised afresh
        self._latest = Sample(taken_s=self._now_s(), readings=readings, strikes=tuple(self._strikes.values()))

    def start(self) -> None:
        """Sample from now on. The thread ends with the process, even when it hangs in the driver."""
        threading.Thread(target=self._sample_for_ever, name="nvml-sampler", daemon=True).start()

    def stop(self) -> None:
        """Take no further sample."""
        self._stopping.set()

    def _sample_for_ever(self) -> None:
        while not self._stopping.is_set():
            self.sample()
            self._stopping.wait(self._period_s)
