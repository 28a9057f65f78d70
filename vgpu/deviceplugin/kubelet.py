"""Keeps the plugin known to the kubelet, whatever restarts.

Three things make it register again: the kubelet's socket is another one, our own socket was removed, or the kubelet
has not followed the device list for a while although it accepted us (it ends an endpoint on any error of its own).
Rule: nothing here waits; `tick` looks at two files and at most makes one call with a deadline.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import grpc

from vgpu.deviceplugin import v1beta1_pb2 as api
from vgpu.deviceplugin.metrics import PluginMetrics
from vgpu.deviceplugin.roster import Roster
from vgpu.deviceplugin.socket_server import SocketIdentity, SocketServer, identify

KUBELET_SOCKET = "kubelet.sock"
API_VERSION = "v1beta1"
REGISTER_TIMEOUT_S = 5.0
UNFOLLOWED_S = 10.0  # the kubelet opens its stream at once after a registration
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # between failed registrations
OK, UNREACHABLE, REFUSED = "ok", "unreachable", "refused"
_log = logging.getLogger(__name__)


class RegistrationFailed(Exception):
    """The kubelet could not be asked (`unreachable`) or said no (`refused`)."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


def register(kubelet_socket: Path, request: api.RegisterRequest) -> None:
    """Announce the plugin; raise RegistrationFailed."""
    # A new channel each time: an old one would first sit out its own pause after a failure.
    options = [("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"unix:{kubelet_socket}", options=options) as channel:
        call = channel.unary_unary(
            "/v1beta1.Registration/Register",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=api.Empty.FromString,
        )
        try:
            call(request, timeout=REGISTER_TIMEOUT_S)
        except grpc.RpcError as fault:
            is_away = fault.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            raise RegistrationFailed(UNREACHABLE if is_away else REFUSED, str(fault.details())) from fault


class KubeletLink:
    """The plugin's standing with the kubelet of this node."""

    def __init__(
        self,
        *,
        server: SocketServer,
        directory: Path,
        request: Callable[[], api.RegisterRequest],
        roster: Roster,
        metrics: PluginMetrics,
    ) -> None:
        self._server = server
        self._kubelet_socket = directory / KUBELET_SOCKET
        self._request = request
        self._roster = roster
        self._metrics = metrics
        self._known_to: SocketIdentity | None = None
        self._followed_s = 0.0
        self._failures = 0
        self._next_try_s = 0.0
        self._said_missing = False

    @property
    def is_registered(self) -> bool:
        """Whether the kubelet that runs now has accepted us."""
        return self._known_to is not None

    def tick(self, now_s: float) -> None:
        """Look at both sockets and register where that is due; SocketUnusable ends the plugin."""
        if self._server.ensure():
            self._forget(now_s)
        kubelet = identify(self._kubelet_socket)
        if kubelet is None:
            self._report_missing()
            self._forget(now_s)
            return
        self._said_missing = False
        if self._known_to not in (None, kubelet):
            _log.info("the kubelet has a new socket")
            self._forget(now_s)
        self._check_followed(now_s)
        if self._known_to is None and now_s >= self._next_try_s:
            self._register(kubelet, now_s)

    def _check_followed(self, now_s: float) -> None:
        if self._known_to is None or self._roster.watchers:
            self._followed_s = now_s
        elif now_s - self._followed_s >= UNFOLLOWED_S:
            _log.warning("the kubelet accepted the plugin and has not followed it for %.0f s", UNFOLLOWED_S)
            self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        self._known_to = None
        self._failures, self._next_try_s = 0, now_s
        self._metrics.set_registered(False)

    def _register(self, kubelet: SocketIdentity, now_s: float) -> None:
        try:
            register(self._kubelet_socket, self._request())
        except RegistrationFailed as failure:
            pause_s = min(FIRST_PAUSE_S * 2**self._failures, LONGEST_PAUSE_S)
            self._failures = min(self._failures + 1, 10)
            self._next_try_s = now_s + pause_s
            self._metrics.count_registration(failure.outcome)
            _log.warning(
                "%s, registration %s: %s; again in %.0f s", self._kubelet_socket, failure.outcome, failure, pause_s
            )
            return
        self._known_to, self._followed_s, self._failures = kubelet, now_s, 0
        self._metrics.count_registration(OK)
        self._metrics.set_registered(True)
        _log.info("registered with the kubelet at %s", self._kubelet_socket)

    def _report_missing(self) -> None:
        if not self._said_missing:
            _log.warning("%s is not there; waiting for the kubelet", self._kubelet_socket)
        self._said_missing = True
