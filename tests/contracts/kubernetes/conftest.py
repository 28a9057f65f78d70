"""The servers the suite runs against: always the embedded one, and a real one where KUBEBUILDER_ASSETS names it."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kubernetes import client, config
from kubernetes.client.api_client import ApiClient

from autoscaler.embedded.apiserver import ApiServer, Options, start
from tests.contracts.kubernetes import wire
from tests.contracts.kubernetes.control_plane import control_plane
from vgpu.adapters import kube

_ASSETS = os.environ.get("KUBEBUILDER_ASSETS")


@contextmanager
def _embedded(folder: Path) -> Iterator[Path]:
    """Without controllers, as the real API server by itself is."""
    server = start(Options(with_controllers=False))
    try:
        server.write_kubeconfig(folder / "kubeconfig")
        yield folder / "kubeconfig"
    finally:
        server.stop()


def _real(folder: Path) -> AbstractContextManager[Path]:
    assert _ASSETS is not None
    return control_plane(Path(_ASSETS), folder)


_SERVERS: list[Any] = [pytest.param(_embedded, id="embedded")]
if _ASSETS:
    _SERVERS.append(pytest.param(_real, id="real", marks=pytest.mark.cluster))


@pytest.fixture(scope="session", params=_SERVERS)
def kubeconfig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running server without controllers."""
    with request.param(tmp_path_factory.mktemp("server")) as path:
        yield path


@pytest.fixture
def api(kubeconfig: Path) -> Iterator[ApiClient]:
    """The official client, also set as its own default, which its informer and leases use."""
    settings = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=settings)
    before = client.Configuration.get_default_copy()
    client.Configuration.set_default(settings)
    with ApiClient(settings) as made:
        yield made
    client.Configuration.set_default(before)


@pytest.fixture
def adapter(kubeconfig: Path) -> Iterator[kube.Kube]:
    """Our own adapter on the same server."""
    made = kube.connect(kubeconfig, timeout_s=5.0)
    yield made
    made.close()


@pytest.fixture
def namespace(api: ApiClient) -> str:
    """A namespace of the test's own. It stays: without controllers no namespace ends."""
    name = f"t-{uuid4().hex[:8]}"
    wire.ok(wire.call(api, "POST", "/api/v1/namespaces", {"metadata": {"name": name}}))
    return name


@pytest.fixture
def node(api: ApiClient, namespace: str) -> Iterator[str]:
    """A node of the test's own."""
    name = f"node-{namespace}"
    wire.ok(wire.call(api, "POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"test": namespace}}}))
    yield name
    wire.call(api, "DELETE", f"/api/v1/nodes/{name}")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """An embedded server with its controllers, for one test alone."""
    made = start()
    yield made
    made.stop()


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[kube.Kube]:
    """Our adapter on that server; its kubeconfig lies in `tmp_path`."""
    server.write_kubeconfig(tmp_path / "kubeconfig")
    made = kube.connect(tmp_path / "kubeconfig", timeout_s=5.0)
    yield made
    made.close()
