"""Getting at the emulated NVML: the C library built on demand, or the Python object where nothing can build it.

Rule: the emulation is asked for, never implied, and gives way to a real driver unless it is forced.
"""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from vgpu.emulator import nvml_state
from vgpu.emulator.nvml_python import PythonNvml

SONAME = "libnvidia-ml.so.1"
COMPILERS = ("cc", "gcc", "clang")
SOURCE = Path(__file__).with_name("fake_nvml.c")
BUILD_TIMEOUT_S = 60  # 0.3 s on an idle machine

_log = logging.getLogger(__name__)


class CompilerMissingError(RuntimeError):
    """No C compiler is installed, so the library cannot be built."""


class BuildFailedError(RuntimeError):
    """The C compiler refused the library."""


class RealDriverPresentError(RuntimeError):
    """A real NVIDIA driver answers here, so emulating one would hide it."""


def default_cache_dir() -> Path:
    """Where built libraries are kept: $XDG_CACHE_HOME/vgpu-serve, or the same under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vgpu-serve"


def build(cache_dir: Path | None = None, *, compilers: Sequence[str] = COMPILERS) -> Path:
    """Build libnvidia-ml.so.1 if this source was not built yet and return its path.

    Its directory holds nothing else and suits LD_LIBRARY_PATH, which reaches child processes too.
    """
    flags = ["-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", f"-Wl,-soname,{SONAME}", *_layout_flags()]
    key = hashlib.sha256("\0".join([SOURCE.read_text(), os.uname().machine, *flags]).encode()).hexdigest()[:16]
    library = (cache_dir or default_cache_dir()) / f"fake-nvml-{key}" / SONAME
    if library.exists():
        return library
    compiler = next(filter(None, map(shutil.which, compilers)), None)
    if compiler is None:
        raise CompilerMissingError(f"none of {', '.join(compilers)} is installed; on Debian: apt-get install gcc")
    library.parent.mkdir(parents=True, exist_ok=True)
    partial = library.with_name(f".{os.getpid()}.so")  # renamed when whole: two processes may build at once
    command = [compiler, *flags, "-o", str(partial), str(SOURCE)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    if result.returncode:
        raise BuildFailedError(f"{compiler} ended with {result.returncode} on {SOURCE}:\n{result.stderr}")
    partial.rename(library)
    return library


def load(
    cache_dir: Path | None = None, *, compilers: Sequence[str] = COMPILERS, forced: bool = False
) -> ctypes.CDLL | PythonNvml:
    """Return the emulated NVML, to be handed to `vgpu.adapters.nvml.use_library`.

    RealDriverPresentError where a real driver answers, unless `forced`.
    """
    if not forced and real_driver_answers():
        raise RealDriverPresentError(
            "a real NVIDIA driver answers on this machine; run without the emulated NVML, or force it"
        )
    try:
        library = build(cache_dir, compilers=compilers)
    except (CompilerMissingError, BuildFailedError, subprocess.TimeoutExpired, OSError) as problem:
        _log.warning("emulated NVML: Python object in this process only (%s)", problem)
        return PythonNvml()
    _log.warning("emulated NVML: %s", library)
    return ctypes.CDLL(str(library))


def real_driver_answers(soname: str = SONAME) -> bool:
    """Whether the system's own NVML can be loaded and initialised."""
    try:
        library = ctypes.CDLL(soname)
    except OSError:
        return False
    if hasattr(library, "vgpuFakeNvmlLayoutVersion") or not hasattr(library, "nvmlInit_v2"):
        return False
    if library.nvmlInit_v2() != 0:
        return False
    library.nvmlShutdown()
    return True


def _layout_flags() -> list[str]:
    """The layout's numbers for the C source, so that they are written once."""
    sizes = {
        "PROCESS_SIZE": nvml_state.ProcessRecord,
        "SAMPLE_SIZE": nvml_state.SampleRecord,
        "DEVICE_SIZE": nvml_state.DeviceRecord,
        "FAULT_SIZE": nvml_state.FaultRecord,
        "STATE_SIZE": nvml_state.StateRecord,
    }
    counts = {
        "LAYOUT_VERSION": nvml_state.LAYOUT_VERSION,
        "MAX_DEVICES": nvml_state.MAX_DEVICES,
        "MAX_PROCESSES": nvml_state.MAX_PROCESSES,
        "MAX_SAMPLES": nvml_state.MAX_SAMPLES,
        "MAX_FAULTS": nvml_state.MAX_FAULTS,
        "COPY_TRIES": nvml_state.COPY_TRIES,
    }
    numbers = counts | {name: ctypes.sizeof(record) for name, record in sizes.items()}
    return [f"-D{name}={number}" for name, number in numbers.items()]
