"""Each test of this folder runs once for each provider that has a rig."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.providers import rigs


@pytest.fixture(params=rigs.kinds())
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[rigs.Rig]:
    with rigs.module(request.param).rig(tmp_path) as made:
        yield made


@pytest.fixture(params=rigs.kinds(that_go_away=True))
def remote_rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[rigs.Rig]:
    """A provider whose server can be taken away."""
    with rigs.module(request.param).rig(tmp_path) as made:
        yield made
