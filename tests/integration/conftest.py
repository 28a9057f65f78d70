"""One system for all integration tests: starting it costs half a minute."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import system as systems
from tests.integration.system import START_TIMEOUT_S, System


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running `up` with three models; at the end, nothing of it may be left."""
    started = systems.start(Path(tmp_path_factory.mktemp("up")))
    started.wait("the system", started.is_ready, timeout_s=START_TIMEOUT_S)
    yield started
    family = started.family()
    assert systems.stop(started) == 0, started.log.read_text()
    assert systems.left_over(family, within_s=10) == []
    assert not (started.directory / "up.json").exists()
