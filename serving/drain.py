"""Drains the Ray node that a worker runs on, at the autoscaler's request: the door that Ray's REST API does not have.

A drained node takes no replica any more. Ray Serve (2.60) stops the replica there before any other when the target
falls, and starts a substitute elsewhere if the target does not fall. It cannot be undone: Ray ends the node once it is
empty. There is no deadline, so that a replica whose target never falls goes on serving until its substitute runs.
"""

from typing import Protocol

import ray
from ray._private.authentication import authentication_utils
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled; its stub leaves it out
from ray.core.generated import autoscaler_pb2
from ray.exceptions import RayError

from vgpu.core import names

NO_DEADLINE = 0


class DrainRefused(Exception):
    """Ray did not drain the node; the message says why."""


class Drain(Protocol):
    """What drains a worker's node, and who may ask for it."""

    def allows(self, authorization: str) -> bool:
        """Whether a request with this Authorization header (empty for none) may drain."""

    def drain(self) -> None:
        """Drain; a second call changes nothing. Raises `DrainRefused`."""


class RayDrain:
    """The Ray node of this process. Who may talk to Ray may drain: without its token authentication, anybody may."""

    def allows(self, authorization: str) -> bool:
        """Check Ray's own token, as Ray's dashboard does."""
        if not authentication_utils.is_token_auth_enabled():
            return True
        return bool(authentication_utils.validate_request_token(authorization))

    def drain(self) -> None:
        """Tell Ray's control store, as Ray's own `drain-node` command does. Raises `DrainRefused`."""
        try:
            about = ray.get_runtime_context()
            accepted, why = GcsClient(address=about.gcs_address).drain_node(
                about.get_node_id(),
                # The other reason, idle termination, is refused by a node that holds a replica.
                autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION,
                names.RAY_DRAINED,
                NO_DEADLINE,
            )
        except (RayError, RuntimeError) as error:
            raise DrainRefused(f"Ray could not be asked: {type(error).__name__}: {error}") from error
        if not accepted:
            raise DrainRefused(f"Ray refused: {why}")
