"""One emulated GPU as a process: `python -m vgpu.emulator --config FILE.json`."""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vgpu.emulator.arbiter import Arbiter
from vgpu.emulator.config import ConfigError, parse_config
from vgpu.emulator.server import Server, SocketInUseError

_log = logging.getLogger("vgpu.emulator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or ctrl-C; 2 if the config cannot be served."""
    parser = argparse.ArgumentParser(prog="python -m vgpu.emulator", description="Emulates one shared GPU.")
    parser.add_argument("--config", required=True, type=Path, help="JSON file that describes the GPU and its slots")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        config = parse_config(options.config.read_text())
        server = Server(config.socket)  # before the arbiter, whose start replaces the NVML state files
    except ConfigError as refusal:
        return _refuse(options.config, refusal.problems)
    except (OSError, UnicodeDecodeError, SocketInUseError) as problem:
        return _refuse(options.config, [str(problem)])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.stop)
    arbiter = Arbiter(config, now_ns=time.monotonic_ns())
    _log.info("emulated %s with %d slots on %s", config.gpu_name, len(config.slots), config.socket)
    server.serve(arbiter)
    return 0


def _refuse(path: Path, problems: Sequence[str]) -> int:
    for problem in problems:
        sys.stderr.write(f"{path}: {problem}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
