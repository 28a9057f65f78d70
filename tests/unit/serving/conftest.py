"""What the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.serving.build import EmulatedGpu, emulated_gpu


@pytest.fixture
def gpu(tmp_path: Path) -> Iterator[EmulatedGpu]:
    with emulated_gpu(tmp_path) as running:
        yield running
