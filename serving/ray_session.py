"""`python -m serving.ray_session ADDRESS HOST PORT FD`: joins Ray, reads its applications and carries out steps.

Started by `serving.session`, which asks over the file descriptor and ends with it. Each answer is (failure, result).
"""

import contextlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.exceptions import RayServeException

from serving import app, deployed
from serving.changes import Delete, Deploy, Step
from serving.deployed import Deployed
from serving.session import Ingress

CALL_S = 30.0
FAILURES = (RayError, RayServeException, ConnectionError, RuntimeError, TimeoutError, ValueError)


class RaySession:
    """This process, joined to a Ray cluster with a Serve controller."""

    def __init__(self, ray_address: str, ingress: Ingress) -> None:
        """Join; the first one starts Serve. Raises one of `FAILURES`."""
        self._ingress = ingress
        ray.init(address=ray_address, namespace="serve", log_to_driver=False, logging_level="warning")
        serve.start(proxy_location="HeadOnly", http_options={"host": ingress.host, "port": ingress.port})

    def read(self) -> Mapping[str, Deployed]:
        """Every application, by name."""
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        details = ray.get(controller.get_serve_instance_details.remote(), timeout=CALL_S)
        return deployed.read(json.loads(json.dumps(details)))  # words in place of Ray's enumerations

    def apply(self, steps: Sequence[Step]) -> None:
        """Hand the steps to Ray; it carries them out by itself."""
        targets = [app.target(step, self._ingress) for step in steps if isinstance(step, Deploy)]
        if targets:
            # Ray's own waits want a live replica behind every application, which a model asleep has not (2.60).
            serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        for step in steps:
            if isinstance(step, Delete):
                serve.delete(step.name, _blocking=False)


def converse(pipe: "Connection[Any, Any]", ray_address: str, ingress: Ingress) -> None:
    """Answer what is asked until the other end is gone."""
    session: RaySession | None = None
    while True:
        question, argument = pipe.recv()
        try:
            session = session or RaySession(ray_address, ingress)
            answer = None
            if question == "read":
                answer = session.read()
            else:
                session.apply(argument)
        except FAILURES as error:
            pipe.send((f"{type(error).__name__}: {error}", None))
            return
        pipe.send((None, answer))


def main(arguments: Sequence[str]) -> None:
    """Join Ray and answer."""
    ray_address, host, port, descriptor = arguments
    # At each deployment Ray says that Serve runs already; what becomes of the steps, the deployer says.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with Connection(int(descriptor)) as pipe, contextlib.suppress(EOFError, BrokenPipeError):
        converse(pipe, ray_address, Ingress(host=host, port=int(port)))


if __name__ == "__main__":
    main(sys.argv[1:])
