"""Critical errors (XIDs) that the driver tells of, read through pynvml without waiting.

Where the driver has no such events (guests, older drivers, the emulation) there are none, and that is no error.
Rule: called from the one thread that reads NVML, and closed whenever NVML is to be initialised afresh: an open watch
holds a reference that would keep a lost device lost.
"""

from dataclasses import dataclass
from typing import Any

import pynvml

MOST_AT_ONCE = 64  # a card in a loop of errors must not keep the reader here
_NEVER = (
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalError:
    """One XID; uuid None where the driver did not say of which device."""

    uuid: str | None
    xid: int


class XidWatch:
    """Follows the critical errors of all devices."""

    def __init__(self) -> None:
        self._events: Any = None
        self._is_supported = True

    def poll(self) -> tuple[CriticalError, ...]:
        """What the driver told of since the last call."""
        if not self._is_supported or not self._open():
            return ()
        told: list[CriticalError] = []
        while len(told) < MOST_AT_ONCE:
            try:
                event = pynvml.nvmlEventSetWait_v2(self._events, 0)
            except pynvml.NVMLError as error:
                if error.value != pynvml.NVML_ERROR_TIMEOUT:  # the set died with its driver; open another
                    self.close()
                break
            if event.eventType == pynvml.nvmlEventTypeXidCriticalError:
                told.append(CriticalError(uuid=_uuid(event.device), xid=event.eventData))
        return tuple(told)

    def close(self) -> None:
        """Let go of NVML; the next poll begins anew."""
        if self._events is None:
            return
        for call, arguments in ((pynvml.nvmlEventSetFree, (self._events,)), (pynvml.nvmlShutdown, ())):
            try:
                call(*arguments)
            except pynvml.NVMLError:
                continue  # it was gone already
        self._events = None

    def _open(self) -> bool:
        if self._events is not None:
            return True
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return False
        try:
            self._events = pynvml.nvmlEventSetCreate()
            followed = [_follow(index, self._events) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            self._is_supported = error.value not in _NEVER
            followed = []
        if any(followed):
            return True
        if self._events is None:
            pynvml.nvmlShutdown()
        self.close()
        return False


def _follow(index: int, events: object) -> bool:
    """Whether the device at an index tells of its errors; one that is lost does not."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
    except pynvml.NVMLError:
        return False
    return True


def _uuid(handle: object) -> str | None:
    try:
        uuid: str = pynvml.nvmlDeviceGetUUID(handle)
    except pynvml.NVMLError:
        return None
    return uuid
