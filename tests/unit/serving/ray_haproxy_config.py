"""HAProxy configurations as Ray 2.60 itself renders them, so that a change of its template is met here first."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, HAProxyManager, ServerConfig
from ray.serve.config import HTTPOptions

from tests.unit.serving.build import free_port

FALLBACK = "SERVE_PROXY_ACTOR-head"


def render(
    folder: Path, applications: Mapping[str, Sequence[int]], *, host: str = "0.0.0.0", port: int = 8000,
    fallback_port: int | None = None,
) -> HAProxyApi:  # fmt: skip
    """Have Ray write `folder/haproxy.cfg` for applications whose replicas listen on these ports."""
    config = HAProxyConfig(
        http_options=HTTPOptions(host=host, port=port),
        socket_path=str(folder / "admin.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "server-state"),
        metrics_socket_path=str(folder / "metrics.sock"),
        stats_port=free_port(),
        metrics_port=free_port(),
        nbthread=1,
        retry_on="conn-failure empty-response",  # these two as autoscaler/embedded/installation.py sets them
        retries=2,
        has_received_routes=True,
        has_received_servers=True,
        is_head=True,
    )
    backends = [_backend(name, ports, fallback_port or free_port()) for name, ports in applications.items()]
    api = HAProxyApi(config, {backend.name: backend for backend in backends}, str(folder / "haproxy.cfg"))
    api._generate_config_file_internal()
    return api


def _backend(application: str, ports: Sequence[int], fallback_port: int) -> BackendConfig:
    """As Ray's `HAProxyManager` names things; the replica ids are made up."""
    safe = HAProxyManager.get_safe_name
    servers = [
        ServerConfig(name=safe(f"SERVE_REPLICA::{application}#replica#id{index}"), host="127.0.0.1", port=port)
        for index, port in enumerate(ports)
    ]
    return BackendConfig(
        name=safe(f"http-{application}"),
        path_prefix="/" if application == "gateway" else f"/v2/models/{application}",
        app_name=application,
        ingress_deployment_name="replica",
        servers=servers,
        fallback_server=ServerConfig(name=FALLBACK, host="127.0.0.1", port=fallback_port),
    )
