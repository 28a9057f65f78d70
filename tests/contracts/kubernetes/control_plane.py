"""A real control plane for the contract suite: etcd and kube-apiserver from the folder KUBEBUILDER_ASSETS names.

Only the API itself: no controllers, no scheduler, no kubelet. The server signs its own certificate into its
--cert-dir, which then is the authority clients check it against.
"""

import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

_TOKEN = "contract-suite"
_START_S = 60.0
_STOP_S = 10.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: list[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _etcd(assets: Path, folder: Path, url: str) -> list[str]:
    return [
        str(assets / "etcd"),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        "--listen-peer-urls=http://127.0.0.1:0",
        "--unsafe-no-fsync=true",
        "--log-level=error",
    ]


def _kube_apiserver(assets: Path, folder: Path, etcd: str, port: int) -> list[str]:
    key = folder / "service-account.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{_TOKEN},suite,suite,"system:masters"\n', encoding="utf-8")
    return [
        str(assets / "kube-apiserver"),
        f"--etcd-servers={etcd}",
        f"--cert-dir={folder / 'certs'}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://127.0.0.1",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        # Without the controller that makes service accounts, this plugin would refuse every pod.
        "--disable-admission-plugins=ServiceAccount",
    ]


def _is_ready(url: str, authority: Path) -> bool:
    try:
        context = ssl.create_default_context(cafile=str(authority))
        request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {_TOKEN}"})
        with urllib.request.urlopen(request, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):  # no certificate yet, no listener yet, or not ready
        return False


@contextmanager
def control_plane(assets: Path, folder: Path) -> Iterator[Path]:
    """Start both programs in a folder; give the kubeconfig once the server is ready."""
    etcd, port = f"http://127.0.0.1:{_free_port()}", _free_port()
    url, authority, log = f"https://127.0.0.1:{port}", folder / "certs" / "apiserver.crt", folder / "apiserver.log"
    apiserver = _kube_apiserver(assets, folder, etcd, port)
    with _running(_etcd(assets, folder, etcd), folder / "etcd.log"), _running(apiserver, log) as process:
        give_up_s = time.monotonic() + _START_S
        while not _is_ready(url, authority):
            if process.poll() is not None or time.monotonic() > give_up_s:
                tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
                raise RuntimeError(f"kube-apiserver did not become ready; the end of its log:\n{tail}")
            time.sleep(0.2)
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(_kubeconfig(url, authority)), encoding="utf-8")
        yield kubeconfig


def _kubeconfig(url: str, authority: Path) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "real", "cluster": {"server": url, "certificate-authority": str(authority)}}],
        "users": [{"name": "suite", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "real", "context": {"cluster": "real", "user": "suite"}}],
        "current-context": "real",
    }
