"""`python -m autoscaler.embedded.apiserver`: the server by itself, until it is told to stop."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from autoscaler.embedded.apiserver.server import Options, PortInUse, start


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m autoscaler.embedded.apiserver", description=__doc__)
    parser.add_argument(
        "--listen", default="127.0.0.1:6443", metavar="HOST:PORT", help="loopback address (%(default)s)"
    )
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="write a kubeconfig for this server here")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="ask clients for the token in this file")
    parser.add_argument("--no-controllers", action="store_true", help="only store objects; act on none of them")
    given = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server = start(_options(given))
    except (PortInUse, ValueError, OSError) as fault:
        sys.stderr.write(f"apiserver: {fault}\n")
        return 1
    if given.kubeconfig:
        server.write_kubeconfig(given.kubeconfig)
    sys.stderr.write(f"apiserver (emulated) on {server.url}\n")
    stopped.wait()
    server.stop()
    return 0


def _options(given: argparse.Namespace) -> Options:
    host, colon, port = given.listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(f"--listen: {given.listen} is not HOST:PORT")
    token = given.token_file.read_text(encoding="utf-8").strip() if given.token_file else ""
    return Options(host=host.strip("[]"), port=int(port), token=token, with_controllers=not given.no_controllers)


if __name__ == "__main__":
    sys.exit(main())
