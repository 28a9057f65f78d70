"""What somebody else does at the vCenter meanwhile, over a connection of their own."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim

from tests.vcenter.server import PASSWORD, VCenter


class Operator:
    """A person at the vCenter."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def machine(self, path: str) -> Any:
        return self.content.searchIndex.FindByInventoryPath(path)

    def misbehave(self, path: str, **how: object) -> None:
        """Make a machine of the simulator fail or take its time, as main.go says; given nothing, behave again."""
        self.machine(path).ReconfigVM_Task(vim.vm.ConfigSpec(annotation=json.dumps(how)))

    def end_other_sessions(self) -> int:
        sessions = self.content.sessionManager
        others = [one.key for one in sessions.sessionList if one.key != sessions.currentSession.key]
        sessions.TerminateSession(others)
        return len(others)


@contextmanager
def operator(vcenter: VCenter) -> Iterator[Operator]:
    context = ssl.create_default_context(cafile=str(vcenter.certificates.authority))
    service = SmartConnect(host="127.0.0.1", port=vcenter.port, user=vcenter.user, pwd=PASSWORD, sslContext=context)
    try:
        yield Operator(service.RetrieveContent())
    finally:
        Disconnect(service)
