"""The metrics as text: public interface, see tests/goldens/extender/metrics.txt.

Rewrite it with `python -m tests.unit.extender.test_metrics`.
"""

import threading
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from tests.unit.extender import build
from vgpu.core import request
from vgpu.extender.desk import Desk
from vgpu.extender.metrics import LedgerCollector, Outcome, Tally

GOLDEN = Path(__file__).parents[2] / "goldens" / "extender" / "metrics.txt"


def render() -> str:
    """Two nodes, one pod bound and one promised 7 s ago."""
    desk, tally = Desk(), Tally(CollectorRegistry())
    desk.see_node(build.node("n0", 16384, 16384))
    desk.see_node({"metadata": {"name": "plain"}})
    first, second = build.share("a", 700), build.share("b", 1000)
    for pod in (first, second):
        desk.decide(request.parse_request(pod), ["n0"], 100.0)
    desk.begin("uid-a", "n0", 100.0)
    desk.ledger.confirm("uid-a", 101.0)
    tally.count(Outcome.PLACED)
    tally.took("filter", 0.003)
    tally.compared(0, unix_s=1.5e9)
    tally.registry.register(
        LedgerCollector(ledger=desk.ledger, lock=threading.Lock(), clock=lambda: 107.0, is_ready=lambda: True)
    )
    return generate_latest(tally.registry).decode()


def test_the_text_is_as_it_was() -> None:
    assert render() == GOLDEN.read_text()


if __name__ == "__main__":
    GOLDEN.write_text(render())
