"""Added latency of our replica: against a plain Ray Serve deployment of the same model, on the same Ray, in turn.

The emulated GPU is made a thousand times faster than the reference engine: what is left of it is its round trip.
"""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from autoscaler.embedded.addresses import RAY_HOST
from autoscaler.embedded.installation import NAMESPACE, Installation
from tests.bench.installed import install
from vgpu.adapters import kube

ROUNDS = 20
REQUESTS = 30
CLIENTS = 8
BUSY_S = 4.0
BODY = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["How do I reset my password?"]}]}
OURS, PLAIN = "/v2/models/minilm/infer", "/plain"


def measure(directory: Path) -> dict[str, Any]:
    """Medians of each, and of the ratio round by round."""
    print("overhead against a plain Ray Serve deployment", file=sys.stderr)
    with install(directory / "overhead", cost_ratio=0.001) as installation:
        deploy_plain(installation)
        with httpx.Client(base_url=installation.url, timeout=30) as client:
            for path in (OURS, PLAIN):
                lone_ms(client, path, 50)
            rounds = [(lone_ms(client, OURS, REQUESTS), lone_ms(client, PLAIN, REQUESTS)) for _ in range(ROUNDS)]
        busy = [(throughput(installation.url, OURS), throughput(installation.url, PLAIN)) for _ in range(5)]
    return {
        "lone request, p50 in ms: ours": summary([ours for ours, _ in rounds]),
        "lone request, p50 in ms: plain": summary([plain for _, plain in rounds]),
        "lone request: ours / plain": summary([ours / plain for ours, plain in rounds]),
        f"{CLIENTS} clients, requests/s: ours": summary([ours for ours, _ in busy]),
        f"{CLIENTS} clients, requests/s: plain": summary([plain for _, plain in busy]),
        f"{CLIENTS} clients, requests/s: ours / plain": summary([ours / plain for ours, plain in busy]),
    }


def deploy_plain(installation: Installation) -> None:
    """Give the peer a worker of its own, of the same kind."""
    client = kube.connect(installation.kubeconfig)
    pool = installation.pools[0]
    client.set_replicas(pool, NAMESPACE, client.read_replicas(pool, NAMESPACE) + 1)
    client.close()
    command = [sys.executable, "-m", "tests.bench.plain", f"{RAY_HOST}:{installation.ports.gcs}"]
    subprocess.run(command, check=True, env={**os.environ, **installation.environment}, timeout=120)


def lone_ms(client: httpx.Client, path: str, requests: int) -> float:
    """Median of requests sent one after the other."""
    times_ms = []
    for _ in range(requests):
        began_s = time.perf_counter()
        client.post(path, json=BODY).raise_for_status()
        times_ms.append((time.perf_counter() - began_s) * 1000)
    return median(times_ms)


def throughput(url: str, path: str) -> float:
    """Requests/s of a few clients that each send the next when the last is answered."""
    answered = [0] * CLIENTS
    end_s = time.perf_counter() + BUSY_S

    def send(number: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while time.perf_counter() < end_s:
                client.post(path, json=BODY).raise_for_status()
                answered[number] += 1

    senders = [threading.Thread(target=send, args=(number,)) for number in range(CLIENTS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return sum(answered) / BUSY_S


def summary(values: list[float]) -> dict[str, float]:
    """Least, median and most of several runs."""
    return {"min": round(min(values), 3), "median": round(median(values), 3), "max": round(max(values), 3)}
