"""The exporter of one node: `python -m vgpu.exporter --node NAME --listen HOST:PORT`."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from prometheus_client import CollectorRegistry

from vgpu.adapters import nvml
from vgpu.core import names
from vgpu.emulator import nvml_library
from vgpu.exporter.metrics import SlotCollector
from vgpu.exporter.sampler import Sampler
from vgpu.exporter.server import make_server

_log = logging.getLogger("vgpu.exporter")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line; `--help` has the rest."""
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or ctrl-C; 2 if it cannot start."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if options.fake_nvml:
        _use_emulated_nvml(parser, forced=options.forced)
    sampler = Sampler(nvml.NvmlReader())
    registry = CollectorRegistry()
    device_kind = "emulated" if options.fake_nvml else "real"
    registry.register(SlotCollector(sampler=sampler, node=options.node, device_kind=device_kind))
    host, port = options.listen
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)  # before any thread, so that all inherit it
    try:
        server = make_server(host, port, registry, sampler)
    except OSError as problem:
        parser.error(f"cannot listen on {host}:{port} ({problem.strerror}); free it or choose another with --listen")
    sampler.start()
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    _log.info("%s devices of node %s at http://%s:%d/metrics", device_kind, options.node, *server.server_address[:2])
    signal.sigwait(stop_signals)
    sampler.stop()
    server.shutdown()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m vgpu.exporter", description="Exports what NVML says of this node's slots.")
    parser.add_argument("--node", required=True, help="name of the Kubernetes node")
    parser.add_argument("--listen", default=("127.0.0.1", 9400), type=_address, help="HOST:PORT of /metrics")
    parser.add_argument(
        "--fake-nvml",
        action="store_true",
        help=f"read the emulated device whose state file {names.ENV_FAKE_NVML_STATE} names",
    )
    parser.add_argument("--forced", action="store_true", help="emulate even where a real driver answers")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def _use_emulated_nvml(parser: argparse.ArgumentParser, *, forced: bool) -> None:
    if not os.environ.get(names.ENV_FAKE_NVML_STATE):
        parser.error(f"--fake-nvml needs {names.ENV_FAKE_NVML_STATE}: the path of an emulated node's state file")
    try:
        nvml.use_library(nvml_library.load(forced=forced))
    except nvml_library.RealDriverPresentError as refusal:
        parser.error(str(refusal))


if __name__ == "__main__":
    sys.exit(main())
