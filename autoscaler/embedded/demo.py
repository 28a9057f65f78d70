"""Drives the load of a demo and watches: what clients feel from its own thread, what the autoscaler does from this."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import httpx

from autoscaler.embedded.installation import Installation
from autoscaler.embedded.timeline import Scene, Timeline
from autoscaler.load import client, schedule
from autoscaler.load.schedule import Step

WATCH_S = 1.0


def drive(
    installation: Installation,
    *,
    model: str,
    steps: tuple[Step, ...],
    seed: int,
    timeline: Timeline,
    show: Callable[[float], None],
) -> None:
    """Run the load to its end. Raises `ProcessFailed` when the installation breaks meanwhile."""
    stop = threading.Event()
    sending = client.drive(
        client.Target(installation.url, model),
        schedule.arrivals(steps, seed=seed),
        record=timeline.add_sample,
        texts=client.sentences(),
        stop=stop,
    )
    began_s = time.monotonic()
    sender = ThreadPoolExecutor(1, thread_name_prefix="load")
    load = sender.submit(asyncio.run, sending)
    try:
        while not load.done():
            wait([load], timeout=WATCH_S)
            installation.check()
            look(installation.autoscaler_url, timeline, time.monotonic() - began_s)
            show(time.monotonic() - began_s)
        load.result()
    finally:
        # Requests in flight are not waited for: the system that would answer them is being stopped.
        stop.set()
        sender.shutdown(wait=False)


def look(autoscaler_url: str, timeline: Timeline, at_s: float) -> None:
    """Take one look at the autoscaler; a look that fails is left out."""
    try:
        answer = httpx.get(f"{autoscaler_url}/v1/state", timeout=2, trust_env=False)
    except httpx.HTTPError:
        return
    if answer.status_code == httpx.codes.OK:
        timeline.add_scene(Scene(at_s, answer.json()))
