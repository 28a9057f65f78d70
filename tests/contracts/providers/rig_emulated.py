"""The embedded cluster's hypervisor stand-in over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoscaler.embedded.fleet import Card, Fleet
from autoscaler.embedded.hypervisor import Hypervisor, Server
from autoscaler.embedded.machines import Action
from tests.contracts.providers.rigs import Rig
from vgpu.switcher.providers import emulated
from vgpu.switcher.providers.settings import Emulated

GOES_AWAY = True
TOKEN = "a-secret-of-this-rig"
FLEET = Fleet(cards=(Card(profile="v100-4q-4GB", nodes=("vm-1",), gpu="gpu-a"),))


@contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    hypervisor = Hypervisor(FLEET)
    hypervisor.host.pace_s.update(dict.fromkeys(Action, 0.1))
    running = [Server(hypervisor, port=0, token=TOKEN)]
    running[0].start()
    port = int(running[0].url.rpartition(":")[2])
    token_file = folder / "token"
    token_file.write_text(TOKEN)
    provider = emulated.open(Emulated(url=running[0].url, token_file=token_file))

    def away() -> None:
        running.pop().stop()

    def back() -> None:
        running.append(Server(hypervisor, port=port, token=TOKEN))
        running[0].start()

    yield Rig(
        provider=provider,
        machine="vm-1",
        can=frozenset({"suspend", "resume", "power_off", "power_on"}),
        cannot=dict.fromkeys(("snapshot", "live_migrate", "recuts_in_place"), "vm-1"),
        secret=TOKEN,
        away=away,
        back=back,
    )
    provider.close()
    for server in running:
        server.stop()
