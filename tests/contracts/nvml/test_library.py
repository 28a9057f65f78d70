"""The built library beside the driver's own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from vgpu.emulator import nvml_library

DRIVER = "int nvmlInit_v2(void) { return %d; } int nvmlShutdown(void) { return 0; }"


@pytest.mark.parametrize(
    ("answer", "present"),
    [pytest.param(0, True, id="a driver that initialises"), pytest.param(9, False, id="a library without its driver")],
)
def test_a_driver_is_there_when_it_initialises(c_library: Path, tmp_path: Path, answer: int, present: bool) -> None:
    compiler = next(filter(None, map(shutil.which, nvml_library.COMPILERS)))
    driver = tmp_path / "driver.so"
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-o", str(driver), "-"]
    subprocess.run(command, input=DRIVER % answer, text=True, check=True)
    assert nvml_library.real_driver_answers(str(driver)) is present


def test_the_emulation_does_not_take_itself_for_a_driver(c_library: Path) -> None:
    assert not nvml_library.real_driver_answers(str(c_library))


def test_a_layout_that_differs_from_the_writers_does_not_build(
    c_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml_library.nvml_state, "MAX_SAMPLES", 65)
    with pytest.raises(nvml_library.BuildFailedError, match=r"Device differs from nvml_state\.DeviceRecord"):
        nvml_library.build(tmp_path)
