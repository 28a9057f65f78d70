"""One system for nearly all integration tests: starting it costs half a minute."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import system as systems
from tests.integration.system import START_TIMEOUT_S, System

# They have a system of their own, whose exporters would listen on the same addresses as those of the one for all.
FIRST = ("test_cards.py", "test_drain.py", "test_switch.py", "test_zero.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those with a system of their own end before the one for all begins."""
    items.sort(key=lambda item: item.path.name not in FIRST)


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
