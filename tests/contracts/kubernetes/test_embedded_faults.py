"""A server in trouble, as only the embedded one can be made to be: refusals, lost connections, a short memory."""

import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest
from kubernetes import client, config
from kubernetes.informer import SharedInformer

from autoscaler.embedded.apiserver import ApiServer, Options, PortInUse, start
from tests.contracts.kubernetes import build, wire
from tests.contracts.kubernetes.test_adapter import following
from tests.contracts.kubernetes.wire import eventually
from vgpu.adapters import kube
from vgpu.adapters.kube_watch import Backoff, Surroundings

_PODS = kube.Selection(kind=kube.PODS, namespace="default")
_QUICK = Backoff(first_s=0.01, cap_s=0.05)


@pytest.fixture
def forgetful_server() -> Iterator[ApiServer]:
    """A server that remembers ten events, twenty at most."""
    made = start(Options(with_controllers=False, history_limit=10))
    yield made
    made.stop()


@pytest.fixture
def forgetful(forgetful_server: ApiServer, tmp_path: Path) -> Iterator[kube.Kube]:
    """Our adapter on it."""
    forgetful_server.write_kubeconfig(tmp_path / "forgetful")
    made = kube.connect(tmp_path / "forgetful", timeout_s=5.0)
    yield made
    made.close()


def _pods(cluster: kube.Kube, *names: str) -> None:
    for name in names:
        cluster.create(kube.PODS, build.pod(name), "default")


def _next(told: "Queue[tuple[str, str]]", count: int) -> list[tuple[str, str]]:
    return [told.get(timeout=5) for _ in range(count)]


def test_a_watch_from_a_forgotten_version_is_told_so_in_its_stream(forgetful: kube.Kube) -> None:
    _pods(forgetful, *(f"p{turn}" for turn in range(30)))
    with forgetful.open_watch(_PODS, "6") as stream, pytest.raises(kube.Expired, match="410"):
        next(iter(stream))


def test_our_reflector_lists_again_when_its_version_is_forgotten(
    forgetful_server: ApiServer, forgetful: kube.Kube
) -> None:
    """Between the cut of its watch and the next try, more happens than the server remembers."""
    missed = [f"p{place:02}" for place in range(25)]
    outage = iter([missed])

    def wait(_: float) -> None:
        forgetful_server.faults.drop_watches(None)
        _pods(forgetful, *next(outage, []))

    _pods(forgetful, "first")
    forgetful_server.faults.drop_watches(1)
    with following(forgetful.watch(_PODS, surroundings=Surroundings(wait=wait))) as told:
        assert _next(told, 2) == [("added", "first"), ("synced", "")]
        _pods(forgetful, "last-seen")
        assert _next(told, 1) == [("added", "last-seen")]
        assert _next(told, 26) == [*(("added", name) for name in missed), ("synced", "")]


def test_the_official_informer_survives_a_forgotten_version(forgetful: kube.Kube, tmp_path: Path) -> None:
    settings = client.Configuration()
    config.load_kube_config(str(tmp_path / "forgetful"), client_configuration=settings)
    with client.ApiClient(settings) as api:
        core = client.CoreV1Api(api)
        informer = SharedInformer(core.list_namespaced_pod, namespace="default")
        informer._resource_version = "6"  # what it knew before a long sleep
        _pods(forgetful, *(f"p{turn}" for turn in range(30)))
        informer.start()
        try:
            eventually(lambda: len(informer.cache.list()) == 30)
            _pods(forgetful, "last")  # seen only once its new watch is open; its stop() before that would be lost
            eventually(lambda: len(informer.cache.list()) == 31)
        finally:
            informer.stop()


def test_our_reflector_misses_nothing_when_every_watch_is_cut_after_two_events(
    server: ApiServer, cluster: kube.Kube
) -> None:
    server.faults.drop_watches(2)
    names = [f"p{turn:02}" for turn in range(20)]
    with following(cluster.watch(_PODS, backoff=_QUICK)) as told:
        assert _next(told, 1) == [("synced", "")]
        _pods(cluster, *names)
        assert _next(told, 20) == [("added", name) for name in names]


def test_our_reflector_gets_through_refusals_of_all_kinds(server: ApiServer, cluster: kube.Kube) -> None:
    _pods(cluster, "p")
    server.faults.refuse(500, times=3, verb="list", plural="pods")
    server.faults.refuse(429, times=2, verb="watch", plural="pods", retry_after_s=1)
    server.faults.refuse(410, times=1, verb="watch", plural="pods")
    with following(cluster.watch(_PODS, backoff=_QUICK)) as told:
        assert _next(told, 3) == [("added", "p"), ("synced", ""), ("synced", "")]
        _pods(cluster, "q")
        assert _next(told, 1) == [("added", "q")]
    assert server.faults.seen["list", "pods"] == 5


def test_a_server_that_answers_500_to_every_watch_gets_few_requests(server: ApiServer, cluster: kube.Kube) -> None:
    """One minute of virtual time over real connections. The official informer makes about 1,060 requests a second."""
    server.faults.refuse(500, times=1_000_000, verb="watch", plural="pods")
    now_s, dice = [0.0], random.Random(7)

    def wait(delay_s: float) -> None:
        now_s[0] += delay_s
        if now_s[0] >= 60:
            reflector.stop()

    around = Surroundings(clock=lambda: now_s[0], wait=wait, draw=dice.random)
    reflector = cluster.watch(_PODS, surroundings=around)
    assert [delta.kind.value for delta in reflector.deltas()] == ["synced"]
    assert 9 <= server.faults.seen["watch", "pods"] <= 14
    assert server.faults.seen["list", "pods"] == 1


def test_a_slow_answer_is_given_up_and_called_unavailable(server: ApiServer, tmp_path: Path) -> None:
    server.write_kubeconfig(tmp_path / "kubeconfig")
    hasty = kube.connect(tmp_path / "kubeconfig", timeout_s=0.2)
    server.faults.delay(1.0, verb="list", plural="nodes")
    with pytest.raises(kube.Unavailable, match="ReadTimeoutError"):
        hasty.list(kube.NODES)
    assert hasty.list(kube.NODES) == ()
    hasty.close()


def test_a_refusal_is_told_once_and_not_retried_behind_our_back(server: ApiServer, cluster: kube.Kube) -> None:
    server.faults.refuse(429, retry_after_s=1)
    with pytest.raises(kube.Unavailable, match="429 fault injected"):
        cluster.list(kube.NODES)
    assert server.faults.seen["list", "nodes"] == 1


def test_a_server_that_is_gone_is_unavailable_and_one_that_comes_back_is_used(
    server: ApiServer, cluster: kube.Kube
) -> None:
    server.stop()
    with pytest.raises(kube.Unavailable, match="refused"):
        cluster.list(kube.NODES)
    again = start(Options(port=server.port))
    assert cluster.list(kube.NODES) == ()
    again.stop()


def test_an_answer_does_not_wait_for_an_acknowledgement(cluster: kube.Kube) -> None:
    """With Nagle's algorithm on, each takes 44 ms; without, 1 ms."""
    took_s = []
    for _ in range(21):
        began_s = time.monotonic()
        cluster.list(kube.NODES)
        took_s.append(time.monotonic() - began_s)
    assert statistics.median(took_s) < 0.02


def test_a_stopping_server_ends_its_watches_at_once(server: ApiServer, cluster: kube.Kube) -> None:
    with cluster.open_watch(_PODS, "4") as stream:
        server.stop()
        assert list(stream) == []


def test_a_port_in_use_is_said_in_one_line(server: ApiServer) -> None:
    with pytest.raises(PortInUse, match=rf"^cannot listen on 127\.0\.0\.1:{server.port}: Address already in use$"):
        start(Options(port=server.port))


def test_with_a_token_nobody_comes_in_without_it(tmp_path: Path) -> None:
    guarded = start(Options(token="secret"))
    try:
        guarded.write_kubeconfig(tmp_path / "with")
        assert (tmp_path / "with").stat().st_mode & 0o777 == 0o600
        known = kube.connect(tmp_path / "with", timeout_s=5.0)
        assert len(known.list(kube.Kind("/api/v1", "namespaces"))) == 4
        # A stranger may trust the certificate, and is still not let in.
        settings = client.Configuration(host=guarded.url)
        settings.verify_ssl = False
        stranger = kube.Kube(client.ApiClient(settings), timeout_s=5.0)
        with pytest.raises(kube.Unavailable, match="401 Unauthorized"):
            stranger.list(kube.NODES)
        known.close()
        stranger.close()
    finally:
        guarded.stop()


def test_a_body_that_is_no_json_or_far_too_long_is_refused(server: ApiServer) -> None:
    api = client.ApiClient(client.Configuration(host=server.url))
    path = "/api/v1/namespaces/default/configmaps"
    for body, content_type, expected in (
        ("{", "text/plain", (415, "UnsupportedMediaType")),
        ({"data": "x" * (3 * 1024 * 1024)}, "application/json", (413, "RequestEntityTooLarge")),
        ([1], "application/json", (400, "BadRequest")),
    ):
        assert wire.refusal(wire.call(api, "POST", path, body, content_type=content_type)) == expected
    assert wire.call(api, "GET", path)[1]["items"] == []
    api.close()
