"""The embedded API server as a cluster that asks who one is, and the real kubectl on it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autoscaler.embedded.apiserver import ApiServer, Options, start
from vgpu.adapters import kube
from vgpu.adapters.kube import Kube

Json = Any


@dataclass(frozen=True)
class Cluster:
    """A running server, its administrator, and the folder of the kubeconfigs, each under its user's name."""

    server: ApiServer
    admin: Kube
    folder: Path

    def kubectl(self, *words: str, user: str = "admin") -> str:
        """Run kubectl; return what it prints, fail where it fails."""
        command = [str(Path(sys.executable).with_name("kubectl")), "--kubeconfig", str(self.folder / user), *words]
        settings = {"HOME": str(self.folder), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, objects: tuple[Json, ...], *options: str) -> dict[str, list[str]]:
        """Apply what Helm rendered; return which objects were created, configured and unchanged."""
        manifest = self.folder / "chart.yaml"
        manifest.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        found: dict[str, list[str]] = {}
        for line in self.kubectl("apply", *options, "-f", str(manifest)).splitlines():
            name, _, word = line.partition(" ")
            found.setdefault(word, []).append(name)
        return found

    def log_in(self, account: str, namespace: str) -> None:
        """Write a kubeconfig for a service account, with a token of an hour, under its name."""
        token = self.kubectl("create", "token", account, "--namespace", namespace).strip()
        self.server.write_kubeconfig(self.folder / account, token)


@contextmanager
def cluster(folder: Path, *namespaces: str) -> Iterator[Cluster]:
    """A server that asks for a token, with some namespaces."""
    server = start(Options(token="the administrator's"))
    server.write_kubeconfig(folder / "admin")
    admin = kube.connect(folder / "admin")
    try:
        made = Cluster(server, admin, folder)
        for namespace in namespaces:
            made.kubectl("create", "namespace", namespace)
        yield made
    finally:
        admin.close()
        server.stop()
