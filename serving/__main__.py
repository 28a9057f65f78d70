"""`python -m serving MODELS.yaml --ray-address …`: deploys the models file onto a running Ray cluster.

Exits when every application is up. With `--watch` it stays: takes up changes of the file, deploys again what Ray has
lost, and tells how it stands at `/metrics`, `/healthz` and `/readyz`.
"""

import argparse
import logging
import random
import signal
import sys
import threading
import time
from pathlib import Path

from serving import changes, check, config, deployer_metrics
from serving.changes import Deploy, Step
from serving.deployed import State
from serving.deployer import Deployer, checker
from serving.session import Ingress, RayAway, Session, SessionProcess, ray_session
from vgpu.adapters import probes

POLL_S = 0.2
LOOK_S = 1.0
# A check of models may take 300 s, an answer from Ray 60 s.
STALLED_S = 600.0


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every application is up, 1 when one failed, 2 for a models file that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("models", type=Path, help="the models file")
    parser.add_argument("--ray-address", required=True, help="host:port of the Ray head")
    parser.add_argument("--http-host", default="127.0.0.1")
    parser.add_argument("--http-port", type=int, default=8000)
    parser.add_argument("--watch", action="store_true", help="stay, and take up every change of the file")
    parser.add_argument("--listen", default="127.0.0.1:9107", help="with --watch: host:port of /metrics and the probes")
    parser.add_argument(
        "--cost-ratio",
        type=float,
        default=1.0,
        help="with --watch: how many times longer the GPU takes than the reference engine",
    )
    options = parser.parse_args(arguments)
    ingress = Ingress(host=options.http_host, port=options.http_port)
    if options.watch:
        return _watch(options, ingress)
    try:
        loaded = check.load(options.models)
    except config.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    session = SessionProcess(ray_session(options.ray_address, ingress))
    try:
        deploy(loaded, session)
    except (RayAway, RuntimeError) as error:
        sys.stderr.write(f"not every application came up: {error}\n")
        return 1
    finally:
        session.close()
    return 0


def deploy(wanted: config.ServingConfig, session: Session) -> None:
    """Deploy every application and wait until all run that do not begin asleep; HAProxy learns of them a little later.

    Applications that the file does not name stay. Raises `RuntimeError` with Ray's reason, or `RayAway`.
    """
    steps: list[Step] = [step for step in changes.difference(session.read(), wanted) if isinstance(step, Deploy)]
    session.apply(steps)
    awaited = [config.GATEWAY, *(model.name for model in wanted.models if model.replicas > 0)]
    while True:
        seen = session.read()
        for name in awaited:
            if name in seen and seen[name].state is State.DEPLOY_FAILED:
                raise RuntimeError(f"{name}: {seen[name].message}")
        if all(name in seen and seen[name].state is State.RUNNING for name in awaited):
            return
        time.sleep(POLL_S)


def _watch(options: argparse.Namespace, ingress: Ingress) -> int:
    """Until SIGTERM or ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    host, _, port = options.listen.rpartition(":")
    if not host or not port.isdecimal():
        sys.stderr.write(f"--listen is {options.listen!r}; give host:port\n")
        return 2
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    metrics = deployer_metrics.create()
    session = SessionProcess(ray_session(options.ray_address, ingress))
    deployer = Deployer(
        file=options.models,
        session=session,
        check=checker(options.models, cost_ratio=options.cost_ratio),
        metrics=metrics,
        jitter=random.random,
    )
    began_s = time.monotonic()

    def stalled() -> str:
        idle_s = time.monotonic() - began_s
        return f"the last step began {idle_s:.0f} s ago" if idle_s > STALLED_S else ""

    checks = {"/healthz": stalled, "/readyz": deployer.not_ready}
    server = probes.make_server(host, int(port), metrics.registry, checks)
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    try:
        while not stopped.is_set():
            began_s = time.monotonic()
            deployer.step(began_s)
            stopped.wait(LOOK_S)
    finally:
        session.close()
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
