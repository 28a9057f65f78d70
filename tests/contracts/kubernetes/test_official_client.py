"""The official client's own machinery, unmodified: its informer, its watch, its leader election."""

import threading
from collections import deque
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.api_client import ApiClient
from kubernetes.informer import ADDED, DELETED, MODIFIED, SharedInformer
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.watch import Watch

from tests.contracts.kubernetes import build
from tests.contracts.kubernetes.wire import eventually


def test_the_informer_keeps_its_cache_in_step(api: ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_pod(namespace, build.pod("before"))
    informer, heard = SharedInformer(core.list_namespaced_pod, namespace=namespace), deque[tuple[str, str]]()
    for kind in (ADDED, MODIFIED, DELETED):
        informer.add_event_handler(kind, lambda pod, kind=kind: heard.append((kind, pod.metadata.name)))
    informer.start()
    try:
        eventually(lambda: ("ADDED", "before") in heard)
        core.create_namespaced_pod(namespace, build.pod("p"))
        core.patch_namespaced_pod("p", namespace, {"metadata": {"labels": {"a": "b"}}})
        core.delete_namespaced_pod("p", namespace)
        eventually(lambda: ("DELETED", "p") in heard)
        assert list(heard) == [("ADDED", "before"), ("ADDED", "p"), ("MODIFIED", "p"), ("DELETED", "p")]
        assert [pod.metadata.name for pod in informer.cache.list()] == ["before"]
    finally:
        informer.stop()


def test_the_typed_watch_streams_until_its_time_is_up(api: ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_pod(namespace, build.pod("p"))
    events = Watch().stream(core.list_namespaced_pod, namespace=namespace, timeout_seconds=1)
    assert [(event["type"], event["object"].metadata.name) for event in events] == [("ADDED", "p")]


class _Candidate:
    """One process that wants to lead, as a thread. Its work ends when it is told to resign."""

    def __init__(self, name: str, namespace: str) -> None:
        self.leads, self.resign, self.stopped = threading.Event(), threading.Event(), threading.Event()
        lock = LeaseLock("leader", namespace, name)
        settings = Config(
            lock,
            lease_duration=3,
            renew_deadline=2,
            retry_period=1,
            onstarted_leading=self._work,
            onstopped_leading=self.stopped.set,
        )
        self.thread = threading.Thread(target=LeaderElection(settings).run, daemon=True)

    def _work(self) -> None:
        self.leads.set()
        self.resign.wait(30)
        raise InterruptedError  # how this library is told that the work has ended


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_leaders_follow_one_another_and_never_overlap(api: ApiClient, namespace: str) -> None:
    first, second = _Candidate("first", namespace), _Candidate("second", namespace)
    first.thread.start()
    assert first.leads.wait(5)
    second.thread.start()
    assert not second.leads.wait(2.5)  # two of its tries
    first.resign.set()
    assert first.stopped.wait(5)
    assert second.leads.wait(8)
    lease: Any = client.CoordinationV1Api(api).read_namespaced_lease("leader", namespace)
    assert lease.spec.holder_identity == "second"
    second.resign.set()
    assert second.stopped.wait(5)
