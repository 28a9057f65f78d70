"""A Prometheus for a running `up`: its configuration, and the list of what to scrape kept up to date until ctrl-C.

    python -m autoscaler.embedded.prometheus .run --rules helm/rules     # writes .run/prometheus.yml, .run/targets.json
    prometheus --config.file .run/prometheus.yml

On a cluster the chart's PodMonitors do this. Here workers and exporters are read from the API server stand-in and told
to Prometheus by a file, which it reads again as it changes: Debian builds it without Kubernetes discovery. Every target
has the label `namespace`, as those of a PodMonitor have.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autoscaler.adapters.cluster import EXPORTER_METRICS_PORT, WORKER_METRICS_PORT
from vgpu.adapters import kube
from vgpu.core import names

Json = Any
NAMESPACE = "default"
POLL_S = 1.0
STATE_FILE = "up.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraping:
    """What to scrape, how often, and by which rules to judge it."""

    targets: Path
    """The file that lists what comes and goes."""
    rules: Sequence[Path] = ()
    interval_s: int = 5
    """Also how often rules are evaluated."""


def render(scraping: Scraping) -> str:
    """The configuration file."""
    every = f"{scraping.interval_s}s"
    document: dict[str, Json] = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(path.resolve()) for path in scraping.rules],
        "scrape_configs": [
            {"job_name": "vgpu-serve", "file_sd_configs": [{"files": [str(scraping.targets.resolve())]}]}
        ],
    }
    return yaml.safe_dump(document, sort_keys=False)


def fixed_targets(state: Mapping[str, Json]) -> list[Json]:
    """The processes that keep their address, as a running `up` tells them in `up.json`."""
    host = state["autoscaler_url"].removeprefix("http://").rpartition(":")[0]
    ports = state["ports"]
    processes = {
        "autoscaler": "autoscaler",
        "ingress": "haproxy_metrics",
        "deployer": "deployer",
        "extender": "extender",
    }
    found = [_target(process, f"{host}:{ports[port]}") for process, port in processes.items() if port in ports]
    # There is one only where cards are switched.
    switcher = state.get("switcher_url")
    return found if switcher is None else [*found, _target("switcher", switcher.removeprefix("http://"))]


def found_targets(pods: Iterable[Json], nodes: Iterable[Json]) -> list[Json]:
    """The workers that have an address, and the exporter of each node."""
    workers = [
        _target("worker", f"{address}:{WORKER_METRICS_PORT}", pod=pod["metadata"]["name"])
        for pod in pods
        if names.LABEL_POOL in (pod["metadata"].get("labels") or {}) and (address := pod.get("status", {}).get("podIP"))
    ]
    exporters = [
        _target("exporter", f"{entry['address']}:{EXPORTER_METRICS_PORT}")
        for node in nodes
        for entry in node.get("status", {}).get("addresses", ())
        if entry["type"] == "InternalIP"
    ]
    return workers + exporters


def write(path: Path, text: str) -> None:
    """Replace a file at once: Prometheus must not read half of it."""
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def follow(directory: Path, state: Mapping[str, Json]) -> None:
    """Keep the targets of a run directory up to date; ends when its `up` does."""
    client = kube.connect(Path(state["kubeconfig"]))
    written = ""
    while (directory / STATE_FILE).exists():
        try:
            found = found_targets(client.list(kube.PODS, NAMESPACE), client.list(kube.NODES))
        except kube.Unavailable as away:
            sys.stderr.write(f"{away}\n")
        else:
            text = json.dumps([*fixed_targets(state), *found], indent=1)
            if text != written:
                write(directory / "targets.json", text)
                written = text
        time.sleep(POLL_S)
    client.close()


def _target(job: str, address: str, **labels: str) -> Json:
    return {"targets": [address], "labels": {"job": job, "namespace": NAMESPACE, **labels}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both files and keep the second one; exit status 2 where nothing is up."""
    parser = argparse.ArgumentParser(prog="python -m autoscaler.embedded.prometheus", description=__doc__)
    parser.add_argument("directory", type=Path, help="the --run-dir of a running up")
    parser.add_argument("--rules", type=Path, help="a folder of rule files")
    parser.add_argument("--interval-s", type=int, default=5, help="between scrapes, and between evaluations")
    given = parser.parse_args(arguments)
    try:
        state = json.loads((given.directory / STATE_FILE).read_text(encoding="utf-8"))
        if "url" not in state:
            raise ValueError("it is still starting")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{given.directory}: nothing is up there ({error}); start it with `vgpu-serve up`\n")
        return 2
    scraping = Scraping(
        targets=given.directory / "targets.json",
        rules=sorted(given.rules.glob("*.yaml")) if given.rules else (),
        interval_s=given.interval_s,
    )
    write(given.directory / "prometheus.yml", render(scraping))
    try:
        follow(given.directory, state)
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
