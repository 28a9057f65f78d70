"""`python -m autoscaler.embedded.nodes`: the emulated nodes in one process: host, kubelet, scheduler."""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from autoscaler.adapters.ray_serve import RayServe
from autoscaler.embedded import fleet
from autoscaler.embedded.addresses import RAY_HOST
from autoscaler.embedded.exporters import Exporters
from autoscaler.embedded.extension import Extension
from autoscaler.embedded.guard import end_descendants
from autoscaler.embedded.hypervisor import Hypervisor, Server
from autoscaler.embedded.kubelet import Kubelet, Machine
from autoscaler.embedded.processes import Children
from autoscaler.embedded.scheduler import Scheduler
from vgpu.adapters import kube


def main(arguments: list[str] | None = None) -> int:
    """Schedule pods and run them until SIGTERM; ends every process it started."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    client = kube.connect(options.kubeconfig)
    serving = RayServe(options.ray_url, token_file=options.ray_token_file, namespace=options.namespace)
    cards, exporters = fleet.load(options.fleet), Children(options.logs)
    machine = Machine(
        fleet=cards,
        hypervisor=Hypervisor(cards),
        scratch=options.scratch,
        volume=options.volume,
        ray_ip=RAY_HOST,
        children=Children(options.logs),
        exporters=Exporters(cards, scratch=options.scratch, children=exporters),
    )
    if options.hypervisor_token_file is not None:
        token = options.hypervisor_token_file.read_text().strip()
        Server(machine.hypervisor, port=options.hypervisor_port, token=token).start()
    extension = Extension(options.extender_url) if options.extender_url else None
    scheduler, kubelet = Scheduler(client, extension), Kubelet(client, serving, machine)
    threading.Thread(target=scheduler.run, daemon=True).start()

    def stop(*_: object) -> None:
        scheduler.stop()
        kubelet.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    kubelet.run()
    # The installation ends, so nothing is left to drain to.
    machine.children.stop(grace_s=0)
    exporters.stop(grace_s=0)
    end_descendants()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m autoscaler.embedded.nodes", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--fleet", type=Path, required=True, help="the fleet file")
    parser.add_argument("--scratch", type=Path, required=True, help="folder of the emulated GPUs' sockets and of Ray's")
    parser.add_argument("--volume", type=Path, required=True, help="folder that plays the volume of training pods")
    parser.add_argument("--logs", type=Path, required=True, help="folder for the pods' logs")
    parser.add_argument("--ray-url", required=True, help="Ray's dashboard")
    parser.add_argument("--ray-token-file", type=Path, required=True)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--extender-url", help="the scheduler extender, for pods that ask for units of a card")
    parser.add_argument("--hypervisor-port", type=int, default=0, help="where the hypervisor stand-in listens")
    parser.add_argument("--hypervisor-token-file", type=Path, help="without it, nobody can ask the hypervisor")
    return parser


if __name__ == "__main__":
    sys.exit(main())
