"""Building and choosing the emulated NVML."""

from pathlib import Path

import pytest

from vgpu.emulator import nvml_library
from vgpu.emulator.nvml_python import PythonNvml


def test_without_a_compiler_the_python_object_takes_over(tmp_path: Path) -> None:
    assert isinstance(nvml_library.load(tmp_path, compilers=["no-such-compiler"]), PythonNvml)
    with pytest.raises(nvml_library.CompilerMissingError, match="none of no-such-compiler is installed; on Debian"):
        nvml_library.build(tmp_path, compilers=["no-such-compiler"])


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(nvml_library.BuildFailedError, match="false ended with 1"):
        nvml_library.build(tmp_path, compilers=["false"])
    assert isinstance(nvml_library.load(tmp_path, compilers=["false"]), PythonNvml)


def test_a_cache_that_cannot_be_written_does_not_stop_the_emulation(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert isinstance(nvml_library.load(tmp_path / "file" / "below", compilers=["true"]), PythonNvml)


def test_a_library_built_once_is_not_built_again(tmp_path: Path) -> None:
    with pytest.raises(nvml_library.BuildFailedError) as failed:
        nvml_library.build(tmp_path, compilers=["false"])
    assert failed.value
    folder = next(tmp_path.glob("fake-nvml-*"))
    (folder / nvml_library.SONAME).touch()
    assert nvml_library.build(tmp_path, compilers=["no-such-compiler"]) == folder / nvml_library.SONAME


def test_the_cache_is_under_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert nvml_library.default_cache_dir() == Path("/somewhere/vgpu-serve")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert nvml_library.default_cache_dir() == Path("/home/somebody/.cache/vgpu-serve")


def test_no_library_means_no_real_driver() -> None:
    assert not nvml_library.real_driver_answers("libno-such-library.so.1")


def test_the_emulation_gives_way_to_a_real_driver_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml_library, "real_driver_answers", lambda: True)
    with pytest.raises(nvml_library.RealDriverPresentError, match="a real NVIDIA driver answers on this machine"):
        nvml_library.load(tmp_path, compilers=[])
    assert isinstance(nvml_library.load(tmp_path, compilers=[], forced=True), PythonNvml)
