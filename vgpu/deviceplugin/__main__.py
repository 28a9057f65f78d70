"""The device plugin of one node: `python -m vgpu.deviceplugin --node NAME`."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from http.server import ThreadingHTTPServer

from prometheus_client import CollectorRegistry

from vgpu.adapters import kube, nvml
from vgpu.adapters.nvml_events import XidWatch
from vgpu.adapters.probes import make_server
from vgpu.core import names
from vgpu.deviceplugin.metrics import PluginMetrics
from vgpu.deviceplugin.node_writer import NodeWriter
from vgpu.deviceplugin.plugin import TICK_S, Plugin
from vgpu.deviceplugin.roster import Roster
from vgpu.deviceplugin.sampling import Sampler
from vgpu.deviceplugin.service import Mode
from vgpu.deviceplugin.settings import Parser, Settings, make_parser, parse
from vgpu.deviceplugin.socket_server import SocketUnusable
from vgpu.emulator import nvml_library

_log = logging.getLogger("vgpu.deviceplugin")
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or ctrl-C; 2 if it cannot start, 1 if its socket is taken from it."""
    parser = make_parser()
    settings, given = parse(parser, arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if given.fake_nvml:
        _use_emulated_nvml(parser, forced=given.forced)
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)  # before any thread, so that all inherit it
    registry = CollectorRegistry()
    metrics = PluginMetrics(registry, settings.node)
    roster = Roster(settings.units_per_device)
    sampler = Sampler(
        nvml.NvmlReader(), XidWatch(), ignored_xids=settings.ignored_xids, period_s=settings.sample_period_s
    )
    plugin = Plugin(settings, sampler=sampler, roster=roster, metrics=metrics)
    writer = _make_writer(parser, settings, roster, metrics)
    web = _make_web(parser, settings, registry, plugin, writer)
    try:
        plugin.start()
    except SocketUnusable as problem:
        parser.error(str(problem))
    sampler.start()
    if writer is not None:
        writer.start()
    threading.Thread(target=web.serve_forever, name="http", daemon=True).start()
    _log.info(
        "node %s, %s, %s devices; metrics at http://%s:%d/metrics",
        settings.node,
        settings.mode,
        settings.device_kind,
        *web.server_address[:2],
    )
    status = _tick_until_told(plugin)
    if writer is not None:
        writer.stop()
    plugin.stop()
    web.shutdown()
    return status


def _tick_until_told(plugin: Plugin) -> int:
    while signal.sigtimedwait(_STOP_SIGNALS, TICK_S) is None:
        try:
            plugin.tick(time.monotonic())
        except SocketUnusable as problem:
            _log.error("%s", problem)
            return 1
    return 0


def _make_writer(parser: Parser, settings: Settings, roster: Roster, metrics: PluginMetrics) -> NodeWriter | None:
    if not settings.asks_kubernetes:
        return None
    try:
        api = kube.connect(settings.kubeconfig)
    except kube.Unavailable as problem:
        parser.error(str(problem))
    resource = settings.resource if settings.mode is Mode.NODE_STATUS else ""
    return NodeWriter(api=api, node=settings.node, roster=roster, metrics=metrics, resource=resource)


def _make_web(
    parser: Parser, settings: Settings, registry: CollectorRegistry, plugin: Plugin, writer: NodeWriter | None
) -> ThreadingHTTPServer:
    host, port = settings.listen

    def unready() -> str:
        wrong = plugin.unready(time.monotonic())
        if not wrong and settings.mode is Mode.NODE_STATUS and writer is not None and not writer.has_written:
            return "the node's status is not written"
        return wrong

    checks = {"/healthz": lambda: plugin.unhealthy(time.monotonic()), "/readyz": unready}
    try:
        return make_server(host, port, registry, checks)
    except OSError as problem:
        parser.error(f"cannot listen on {host}:{port} ({problem.strerror}); free it or choose another with --listen")


def _use_emulated_nvml(parser: Parser, *, forced: bool) -> None:
    if not os.environ.get(names.ENV_FAKE_NVML_STATE):
        parser.error(f"--fake-nvml needs {names.ENV_FAKE_NVML_STATE}: the path of an emulated node's state file")
    try:
        nvml.use_library(nvml_library.load(forced=forced))
    except nvml_library.RealDriverPresentError as refusal:
        parser.error(str(refusal))


if __name__ == "__main__":
    sys.exit(main())
