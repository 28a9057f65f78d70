"""A server with a token: TLS, a kubeconfig for this user only, and nobody else let in."""

import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from autoscaler.embedded.apiserver.server import Options, start
from vgpu.adapters import kube


def test_a_token_brings_tls_and_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    server = start(Options(token="s3cret", with_controllers=False))
    try:
        server.write_kubeconfig(file)
        assert server.url.startswith("https://")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        client = kube.connect(file)
        assert client.list(kube.NODES) == ()
        client.close()
        kubectl = [str(Path(sys.executable).with_name("kubectl")), "--kubeconfig", str(file), "get", "namespaces"]
        assert "default" in subprocess.run(kubectl, check=True, capture_output=True, text=True, timeout=30).stdout
        for headers in ({}, {"Authorization": "Bearer other"}):
            answer = httpx.get(f"{server.url}/api/v1/nodes", headers=headers, verify=False)
            assert answer.status_code == 401
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/api/v1/nodes", headers={"Authorization": "Bearer s3cret"})
    finally:
        server.stop()
