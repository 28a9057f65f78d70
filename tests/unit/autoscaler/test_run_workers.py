"""`vgpu-serve run --workers`: what it takes, and the autoscaler's own process on the worker groups of a RayCluster."""

import signal
from pathlib import Path

import pytest

from autoscaler import process
from autoscaler.embedded import addresses
from autoscaler.process import Settings
from tests.fakes import kuberay, web
from tests.fakes.kuberay import StandInOperator
from tests.fakes.kubernetes import NAMESPACE, kubernetes
from tests.fakes.ray import RayDashboard
from tests.fakes.serving import FakeServing
from tests.fakes.waiting import eventually
from tests.unit.autoscaler.test_cli import run
from tests.unit.autoscaler.test_process import MODELS, POOL, started, state
from vgpu.adapters import kube


@pytest.mark.parametrize(
    ("option", "ray_cluster"),
    [((), None), (("--workers", "deployments"), None), (("--workers", "kuberay:my-serve-2"), "my-serve-2")],
    ids=["default", "deployments", "kuberay"],
)
def test_the_option_names_who_makes_the_workers(
    option: tuple[str, ...], ray_cluster: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, seen = tmp_path / "models.yaml", list[Settings]()
    models.write_text(MODELS)
    monkeypatch.setattr(process, "run", lambda _, settings: seen.append(settings))
    arguments = ("run", "--models", str(models), "--ray-url", "http://127.0.0.1:1", *option)
    assert run(*arguments, monkeypatch=monkeypatch) == 0
    assert [settings.ray_cluster for settings in seen] == [ray_cluster]


@pytest.mark.parametrize(
    "workers", ["", "kuberay", "kuberay:", "kuberay:Serve", "kuberay:a/b", "ray:serve", f"kuberay:{'a' * 64}"]
)
def test_anything_else_is_used_wrongly(
    workers: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(MODELS)
    arguments = ("run", "--models", str(models), "--ray-url", "http://127.0.0.1:1", "--workers", workers)
    assert run(*arguments, monkeypatch=monkeypatch) == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "--workers" in said
    assert "is neither deployments nor kuberay:NAME" in said


def test_the_process_sees_the_worker_groups_of_the_cluster_it_is_given(tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(MODELS)
    port = addresses.choose({}).autoscaler
    with kubernetes(tmp_path) as running:
        running.add_node("n1")
        running.client.create(kube.RAYCLUSTERS, kuberay.manifest({POOL: 1}), NAMESPACE)
        running.operators.append(StandInOperator(running.client).reconcile)
        running.settle()
        (worker,) = running.nodes_of_pods()
        memory = FakeServing(lambda: [f"{NAMESPACE}/{worker}"], targets={"minilm": 1})
        with (
            web.serve(RayDashboard(memory).routes()) as ray,
            started(
                "--models", str(models), "--kubeconfig", str(running.kubeconfig), "--ray-url", ray.url,
                "--listen", f"127.0.0.1:{port}", "--interval-s", "0.2", "--workers", f"kuberay:{kuberay.NAME}",
            ) as child,
        ):  # fmt: skip
            seen = eventually(lambda: state(port))
            child.send_signal(signal.SIGTERM)
            assert child.wait(10) == 0, child.communicate()[0]
    assert seen["nodes"][0]["slots"][0]["worker"] == f"{NAMESPACE}/{worker}"
    assert [model["replicas_running"] for model in seen["models"]] == [1]
    assert seen["problems"] == []
