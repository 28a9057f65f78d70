"""Cards recut by node label, over the embedded API server, with an agent that takes up each change by itself."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.contracts.providers.rigs import CAPABILITIES, Rig
from tests.fakes.kubernetes import kubernetes
from tests.fakes.node_agent import NodeAgent
from vgpu.adapters.kube import Kube, Request, Unavailable
from vgpu.adapters.kube_verbs import Json, Verbs
from vgpu.switcher.providers.node_config import MIG_MANAGER, NodeConfig

GOES_AWAY = True
CONFIGS = ("all-1g.5gb", "all-7g.40gb")
_OTHERS = frozenset(CAPABILITIES) - {"recuts_in_place"}


class _Severable(Verbs):
    """A cluster's API behind a cable that can be pulled."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.is_severed = False

    def send(self, request: Request) -> Json:
        if self.is_severed:
            raise Unavailable(f"{request.method} {request.path}", "the cable is pulled")
        return self._kube.send(request)


@contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    with kubernetes(folder) as cluster:
        cluster.add_node("node-1")
        agent = NodeAgent(cluster.client, "node-1", MIG_MANAGER)
        over = threading.Event()
        runner = threading.Thread(target=_run, args=(agent, over), daemon=True)
        agent.start()
        runner.start()
        verbs = _Severable(cluster.client)
        try:
            yield Rig(
                provider=NodeConfig(MIG_MANAGER, verbs),
                machine="node-1",
                can=frozenset({"recuts_in_place"}),
                cannot=dict.fromkeys(_OTHERS, "node-1"),
                configs=CONFIGS,
                away=lambda: setattr(verbs, "is_severed", True),
                back=lambda: setattr(verbs, "is_severed", False),
            )
        finally:
            over.set()
            runner.join()
            agent.stop()


def _run(agent: NodeAgent, over: threading.Event) -> None:
    while not over.wait(0.01):
        if agent.is_woken():
            agent.take()
            if agent.at_work is not None:
                agent.end()
