"""What can be said of the server without starting it."""

import random
from pathlib import Path

import pytest
import yaml

from autoscaler.embedded.apiserver.server import Options, kubeconfig


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::"])
def test_the_server_listens_on_loopback_or_not_at_all(host: str) -> None:
    with pytest.raises(ValueError, match="not a loopback address"):
        Options(host=host, randomness=random.Random(1))


def test_a_kubeconfig_names_one_cluster_one_user_and_one_context(tmp_path: Path) -> None:
    written = yaml.safe_load(yaml.safe_dump(kubeconfig("http://127.0.0.1:1", "secret")))
    assert written["current-context"] == written["contexts"][0]["name"]
    assert written["clusters"][0]["cluster"] == {"server": "http://127.0.0.1:1"}
    assert written["users"][0]["user"] == {"token": "secret"}
    assert kubeconfig("http://127.0.0.1:1")["users"] == [{"name": "vgpu-serve-embedded", "user": {}}]
