"""Critical errors through the real pynvml, over a library that has events, lacks them, or fails."""

import ctypes
from collections.abc import Iterator
from functools import partial
from typing import Any

import pynvml
import pytest

from vgpu.adapters import nvml
from vgpu.adapters.nvml_events import MOST_AT_ONCE, CriticalError, XidWatch

XID = pynvml.nvmlEventTypeXidCriticalError
Event = tuple[int, int, int]  # device, type, value


class EventLibrary:
    """The functions that the watch calls, for two devices; `answers` overrides the code of a call."""

    def __init__(self) -> None:
        self.references = 0
        self.sets = 0
        self.followed: list[int] = []
        self.events: list[Event] = []
        self.answers: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)
        return partial(self._call, name)

    def _call(self, name: str, *arguments: Any) -> int:
        if code := self.answers.get(name):
            return code
        code: int = getattr(self, f"_{name}")(*arguments) or 0
        return code

    def _nvmlInitWithFlags(self, _flags: int) -> None:  # noqa: N802  # NVML's own name
        self.references += 1

    def _nvmlShutdown(self) -> None:  # noqa: N802  # NVML's own name
        self.references -= 1

    def _nvmlEventSetCreate(self, made: Any) -> None:  # noqa: N802  # NVML's own name
        self.sets += 1

    def _nvmlEventSetFree(self, _events: Any) -> None:  # noqa: N802  # NVML's own name
        self.sets -= 1

    def _nvmlDeviceGetCount_v2(self, count: Any) -> None:  # noqa: N802  # NVML's own name
        count._obj.value = 2

    def _nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> None:  # noqa: N802  # NVML's own name
        ctypes.cast(ctypes.byref(handle._obj), ctypes.POINTER(ctypes.c_void_p))[0] = 16 * (index.value + 1)

    def _nvmlDeviceRegisterEvents(self, handle: Any, kinds: Any, _events: Any) -> None:  # noqa: N802  # NVML's own name
        assert kinds.value == XID
        self.followed.append(_device(handle))

    def _nvmlEventSetWait_v2(self, _events: Any, data: Any, timeout_ms: Any) -> int:  # noqa: N802  # NVML's own name
        assert timeout_ms.value == 0
        if not self.events:
            return int(pynvml.NVML_ERROR_TIMEOUT)
        device, data._obj.eventType, data._obj.eventData = self.events.pop(0)
        data._obj.device = ctypes.cast(16 * (device + 1), type(data._obj.device))
        return 0

    def _nvmlDeviceGetUUID(self, handle: Any, text: Any, _size: Any) -> None:  # noqa: N802  # NVML's own name
        text.value = f"GPU-{_device(handle)}".encode()


def _device(handle: Any) -> int:
    return (ctypes.cast(handle, ctypes.c_void_p).value or 0) // 16 - 1


@pytest.fixture
def library() -> Iterator[EventLibrary]:
    made = EventLibrary()
    nvml.use_library(made)
    yield made
    made.answers.clear()
    while made.references > 0:
        pynvml.nvmlShutdown()
    nvml.use_library(None)


def test_critical_errors_are_told_with_their_device_and_once(library: EventLibrary) -> None:
    watch = XidWatch()
    assert watch.poll() == ()
    assert library.followed == [0, 1]
    library.events = [(1, XID, 79), (0, pynvml.nvmlEventTypePState, 2), (0, XID, 48)]
    assert watch.poll() == (CriticalError(uuid="GPU-1", xid=79), CriticalError(uuid="GPU-0", xid=48))
    assert watch.poll() == ()


def test_a_card_that_no_longer_says_its_name_is_told_without(library: EventLibrary) -> None:
    watch = XidWatch()
    watch.poll()
    library.answers["nvmlDeviceGetUUID"] = pynvml.NVML_ERROR_GPU_IS_LOST
    library.events = [(1, XID, 79)]
    assert watch.poll() == (CriticalError(uuid=None, xid=79),)


def test_a_flood_leaves_the_rest_for_the_next_time(library: EventLibrary) -> None:
    watch = XidWatch()
    library.events = [(0, XID, 48)] * (MOST_AT_ONCE + 1)
    assert (len(watch.poll()), len(watch.poll())) == (MOST_AT_ONCE, 1)


def test_closing_lets_go_of_nvml_and_the_next_poll_begins_anew(library: EventLibrary) -> None:
    watch = XidWatch()
    watch.poll()
    assert (library.references, library.sets) == (1, 1)
    watch.close()
    watch.close()
    assert (library.references, library.sets) == (0, 0)
    library.events = [(0, XID, 48)]
    assert watch.poll() == (CriticalError(uuid="GPU-0", xid=48),)
    assert (library.references, library.sets) == (1, 1)


def test_a_set_that_died_is_replaced(library: EventLibrary) -> None:
    watch = XidWatch()
    watch.poll()
    library.answers["nvmlEventSetWait_v2"] = pynvml.NVML_ERROR_UNKNOWN
    assert watch.poll() == ()
    assert library.references == 0
    library.answers.clear()
    library.events = [(0, XID, 48)]
    assert watch.poll() == (CriticalError(uuid="GPU-0", xid=48),)


@pytest.mark.parametrize("call", ["nvmlEventSetCreate", "nvmlDeviceGetCount_v2", "nvmlDeviceRegisterEvents"])
def test_where_there_are_no_events_nothing_is_told_and_nvml_is_let_go(library: EventLibrary, call: str) -> None:
    library.answers[call] = pynvml.NVML_ERROR_NOT_SUPPORTED
    watch = XidWatch()
    library.events = [(0, XID, 48)]
    assert (watch.poll(), watch.poll()) == ((), ())
    assert (library.references, library.sets) == (0, 0)


def test_without_a_driver_it_is_tried_again(library: EventLibrary) -> None:
    library.answers["nvmlInitWithFlags"] = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    watch = XidWatch()
    assert watch.poll() == ()
    library.answers.clear()
    library.events = [(0, XID, 48)]
    assert watch.poll() == (CriticalError(uuid="GPU-0", xid=48),)
