"""`python -m tests.bench.extender`: what the extender's answers cost over HTTP, medians of several runs.

The extender is a process of its own, as it is deployed; one client asks one question after the other, as kube-scheduler
does. The API server stands in on the same machine, so that Bindings per second are those of the pair, not ours alone.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from tests.unit.extender import build
from vgpu.adapters import kube
from vgpu.adapters.kube import Kube

RESULT = Path(__file__).with_name("extender.md")
UNITS = (100, 250, 320, 470, 500, 650, 810, 1000)  # in turn; about the sizes that OpenB's pods have
CPUS = ("1", "4", "8")
GPUS_PER_NODE = 8
BINDERS = 16
Json = dict[str, Any]


def main() -> int:
    """Measure and write; the figures go to standard output as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.extender", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1000, help="filter requests of one run")
    parser.add_argument("--binds", type=int, default=300, help="Bindings of one run")
    options = parser.parse_args()
    results = {str(count): measure(count, options) for count in options.nodes}
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    RESULT.write_text(render(results, options))
    return 0


def measure(nodes: int, options: argparse.Namespace) -> Json:
    """One cluster of so many nodes."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api_port, port = free_port(), free_port()
        kubeconfig = directory / "kubeconfig"
        api = ["autoscaler.embedded.apiserver", "--no-controllers", "--listen", f"127.0.0.1:{api_port}"]
        stack.enter_context(process(*api, "--kubeconfig", str(kubeconfig)))
        wait_for(lambda: kubeconfig.exists() and get(api_port, "/version"))
        client = kube.connect(kubeconfig)
        names = add_nodes(client, nodes)
        print(f"{nodes} nodes are there", file=sys.stderr)
        began_s = time.perf_counter()
        stack.enter_context(process("vgpu.extender", "--listen", f"127.0.0.1:{port}", "--kubeconfig", str(kubeconfig)))
        wait_for(lambda: get(port, "/readyz"))
        ready_s = time.perf_counter() - began_s
        connection = HTTPConnection("127.0.0.1", port)
        runs = []
        for run in range(options.runs):
            print(f"run {run + 1} of {options.runs}", file=sys.stderr)
            runs.append(one_run(connection, port, client, names, run, options))
        client.close()
    figures = {key: median(run[key] for run in runs) for key in runs[0]}
    return {"ready_s": round(ready_s, 2)} | {key: round(value, 3) for key, value in figures.items()}


def one_run(
    connection: HTTPConnection, port: int, client: Kube, names: Sequence[str], run: int, options: argparse.Namespace
) -> dict[str, float]:
    """Each measurement once."""
    quiet = [ask(pod(f"f{run}-{number}", number), names) for number in range(options.requests)]
    filters_ms = sorted(timed_ms(connection, "/filter", body) for body in quiet)
    nowhere = ask(build.share("nowhere", 16 * 1000), names)
    refusals_ms = sorted(timed_ms(connection, "/filter", nowhere) for _ in range(50))
    whole = ask_with_nodes(pod(f"w{run}", run), client.list(kube.NODES))
    nodes_ms = sorted(timed_ms(connection, "/filter", whole) for _ in range(10))
    alone_s = bind_all(make_pods(client, f"a{run}", options.binds), lambda given: bind_directly(client, given), 1)
    many_alone_s = bind_all(
        make_pods(client, f"b{run}", options.binds), lambda given: bind_directly(client, given), BINDERS
    )
    one_s = bind_all(make_pods(client, f"c{run}", options.binds), Asker(port, names), 1)
    many_s = bind_all(make_pods(client, f"d{run}", options.binds), Asker(port, names), BINDERS)
    return {
        "filter_p50_ms": filters_ms[len(filters_ms) // 2],
        "filter_p99_ms": filters_ms[len(filters_ms) * 99 // 100],
        "filter_most_ms": filters_ms[-1],
        "refusal_p50_ms": refusals_ms[len(refusals_ms) // 2],
        "nodes_form_p50_ms": nodes_ms[len(nodes_ms) // 2],
        "nodes_form_mb": len(whole) / 1e6,
        "binds_per_s": options.binds / one_s,
        "binds_per_s_16_at_once": options.binds / many_s,
        "api_server_alone_binds_per_s": options.binds / alone_s,
        "api_server_alone_binds_per_s_16_at_once": options.binds / many_alone_s,
    }


class Asker:
    """What the scheduler does with a pod: filter, then bind."""

    def __init__(self, port: int, names: Sequence[str]) -> None:
        self._port, self._names = port, names

    def __call__(self, given: Json) -> None:
        connection = HTTPConnection("127.0.0.1", self._port)
        node = orjson.loads(post(connection, "/filter", ask(given, self._names)))["NodeNames"][0]
        about = given["metadata"]
        body = {"PodName": about["name"], "PodNamespace": "default", "PodUID": about["uid"], "Node": node}
        answer = orjson.loads(post(connection, "/bind", orjson.dumps(body)))
        assert answer == {"Error": ""}, answer
        connection.close()


def bind_directly(client: Kube, given: Json) -> None:
    """The peer: a Binding of the same size, with nobody deciding."""
    about = given["metadata"]
    client.bind_pod(about["name"], "default", node="elsewhere", annotations={"a": "x" * 200}, uid=about["uid"])


def bind_all(pods: Sequence[Json], bind: Callable[[Json], None], at_once: int) -> float:
    """Seconds until all are bound."""
    began_s = time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(bind, pods))
    return time.perf_counter() - began_s


def pod(name: str, number: int) -> Json:
    """One of a few dozen shapes."""
    made = build.share(name, UNITS[number % len(UNITS)])
    resources = made["spec"]["containers"][0]["resources"]
    resources["requests"] = resources["limits"] | {"cpu": CPUS[number % len(CPUS)], "memory": "8Gi"}
    return made


def make_pods(client: Kube, prefix: str, count: int) -> list[Json]:
    """Pods that wait."""
    return [client.create(kube.PODS, created(pod(f"{prefix}-{number}", number)), "default") for number in range(count)]


def created(made: Json) -> Json:
    """As a client sends it: what the server gives is left out."""
    about = {key: made["metadata"][key] for key in ("name", "namespace")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": made["spec"]}


def ask(given: Json, names: Sequence[str]) -> bytes:
    return orjson.dumps({"Pod": given, "Nodes": None, "NodeNames": names})


def ask_with_nodes(given: Json, nodes: Sequence[Json]) -> bytes:
    """Full nodes, as big as real ones: images and conditions make them some 8 KB."""
    images = [{"names": [f"registry.example/image-{n}@sha256:{n:064x}"], "sizeBytes": 1 << 30} for n in range(50)]
    items = [node | {"status": node["status"] | {"images": images}} for node in nodes]
    return orjson.dumps({"Pod": given, "Nodes": {"metadata": {}, "items": items}, "NodeNames": None})


def add_nodes(client: Kube, count: int) -> list[str]:
    names = [f"node-{number:05}" for number in range(count)]
    for name in names:
        node = build.node(name, *[16384 if hash(name) % 2 else 32768] * GPUS_PER_NODE)
        client.create(kube.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": node["metadata"]})
        amounts = node["status"]["allocatable"] | {"cpu": "96", "memory": "512Gi"}
        client.set_node_status(name, {"allocatable": amounts, "capacity": amounts})
    return names


def timed_ms(connection: HTTPConnection, path: str, body: bytes) -> float:
    began_s = time.perf_counter()
    post(connection, path, body)
    return (time.perf_counter() - began_s) * 1000


def post(connection: HTTPConnection, path: str, body: bytes) -> bytes:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    assert response.status == 200, text
    return text


def get(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def wait_for(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "it has not come up; its log is above"
        time.sleep(0.05)


@contextmanager
def process(module: str, *arguments: str) -> Iterator[None]:
    """A process of ours, ended at the end."""
    with tempfile.TemporaryFile() as log:
        started = subprocess.Popen([sys.executable, "-m", module, *arguments], stderr=log, env={**os.environ})
        try:
            yield
        finally:
            started.terminate()
            started.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def render(results: dict[str, Json], options: argparse.Namespace) -> str:
    """The figures as a page."""
    columns = list(results)
    rows = [
        f"| {key.replace('_', ' ')} | " + " | ".join(f"{results[column][key]:,}" for column in columns) + " |"
        for key in results[columns[0]]
    ]
    return "\n".join(
        [
            "# The scheduler extender over HTTP",
            "",
            f"`python -m tests.bench.extender`: medians of {options.runs} runs of {options.requests} filter requests",
            f"and {options.binds} Bindings on a machine of {os.cpu_count()} cores, which client, extender and the API",
            "server's stand-in share. Nodes of 8 GPUs; `NodeNames` unless it says Nodes form. Every filter request",
            "places its pod, so the next one finds another cluster. A refusal names a reason for every node.",
            "",
            "| nodes | " + " | ".join(f"{int(column):,}" for column in columns) + " |",
            "| --- |" + " ---: |" * len(columns),
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
