"""What the containers of head and worker become; tests/goldens/serving/starts.json is what the chart relies on."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving import head, slot, worker
from serving.ray_start import RAY, Start, StartRefused
from tests.unit.serving.build import free_port
from vgpu.core import allocation, names

GOLDEN = Path(__file__).parents[2] / "goldens" / "serving" / "starts.json"
POD = {
    "VGPU_NODE": "gpu-1",
    "VGPU_NAMESPACE": "serving",
    "VGPU_POD": "workers-1",
    "VGPU_WORKER": "workers-1",
    "POD_IP": "10.0.0.7",
}
FRACTION = {
    **POD,
    "VGPU_SLOT_ID": "gpu-1/serving.workers-1",
    "VGPU_SLOT_UNITS": "500",
    "VGPU_SLOT_FRAMEBUFFER_MIB": "20480",
    "NVIDIA_VISIBLE_DEVICES": "GPU-1",
}


@pytest.fixture
def token(tmp_path: Path) -> dict[str, str]:
    """A pod's environment with Ray's token."""
    (tmp_path / "token").write_text("word\n")
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}


def head_start(folder: Path, environment: dict[str, str], *arguments: str) -> Start:
    options = head.parser().parse_args(["--edge-directory", str(folder / "edge"), *arguments])
    return head.start(options, environment, haproxy_binary="/opt/haproxy")


def worker_start(environment: dict[str, str], *arguments: str) -> Start:
    options = worker.parser().parse_args(["--ray-address", "head.serving:6379", *arguments])
    return worker.start(options, environment)


def told(start: Start, folder: Path) -> dict[str, Any]:
    """A start without this machine's folders."""
    text = json.dumps({"command": start.command, "environment": start.environment})
    return dict(json.loads(text.replace(str(folder), "FOLDER").replace(str(RAY), "ray")))


def test_what_head_and_workers_become_is_what_is_written_down(tmp_path: Path, token: dict[str, str]) -> None:
    arguments = ("--host", "0.0.0.0", "--http-port", "8000")
    starts = {
        "head": head_start(tmp_path, {"POD_IP": "10.0.0.2", "PATH": "/bin", **token}, *arguments),
        "worker": worker_start({**POD, "PATH": "/bin", **token}, "--slot", "V100-8Q"),
        "fraction": worker_start({**FRACTION, **token}, "--slot", "fraction:500"),
    }
    assert {name: told(start, tmp_path) for name, start in starts.items()} == json.loads(GOLDEN.read_text())


def test_a_replica_finds_its_slot_in_what_its_worker_was_told() -> None:
    found = slot.from_environment(worker_start(POD, "--slot", "v100-8q-8GB").environment)
    assert (found.slot_id, found.units, found.framebuffer_mib, found.profile) == ("gpu-1/0", 500, 8192, "v100-8q-8GB")
    assert (found.device_kind, found.metrics_host, found.metrics_port) == ("real", "10.0.0.7", 9105)
    cut = slot.from_environment(worker_start(FRACTION, "--slot", "fraction-500").environment)
    assert (cut.slot_id, cut.units, cut.framebuffer_mib) == ("gpu-1/serving.workers-1", 500, 20480)


def test_a_fraction_hears_what_the_downward_api_says() -> None:
    """The names are those of the entries that a fraction's container gets."""
    entries = {entry["name"] for entry in allocation.environment("worker")}
    assert entries == {*FRACTION} - {"VGPU_WORKER", "POD_IP"}


def test_what_a_pod_says_of_its_slot_goes_before_what_follows_from_its_type() -> None:
    own = {names.ENV_SLOT_ID: "gpu-1/3", names.ENV_SLOT_POLICY: "equal-share", names.ENV_DEVICE_KIND: "emulated"}
    made = worker_start({**POD, **own}, "--slot", "v100-8q-8GB").environment
    assert {name: made[name] for name in own} == own


def test_an_operators_own_settings_of_ray_win(tmp_path: Path, token: dict[str, str]) -> None:
    own = {"OMP_NUM_THREADS": "4", "RAY_SERVE_HAPROXY_NBTHREAD": "8"}
    for made in (worker_start({**POD, **own}, "--slot", "v100-8q-8GB"), head_start(tmp_path, {**POD, **token, **own})):
        assert {name: made.environment[name] for name in own} == own


def problems(environment: dict[str, str], *arguments: str) -> list[str]:
    with pytest.raises(StartRefused) as refused:
        worker_start(environment, *arguments)
    return str(refused.value).splitlines()


def test_a_worker_names_everything_that_it_was_not_told() -> None:
    assert problems(
        {"RAY_AUTH_TOKEN_PATH": "/none", "VGPU_SLOT_SCHEDULER_POLICY": "fair"}, "--slot", "v100-8q-8GB"
    ) == [
        "VGPU_SLOT_SCHEDULER_POLICY is 'fair'; write one of best-effort, equal-share, fixed-share",
        "VGPU_NODE is not set; the pod's downward API sets it",
        "VGPU_WORKER is not set; the pod's downward API sets it",
        "POD_IP is not set; the pod's downward API sets it",
        "RAY_AUTH_TOKEN_PATH: /none: No such file or directory; mount the Secret with Ray's token there, "
        "readable for this user",
    ]


def test_a_slot_that_is_none_is_refused() -> None:
    (said,) = problems(POD, "--slot", "v100-8q-16GB")
    assert said.startswith("--slot: 'v100-8q-16GB' contradicts itself")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"VGPU_SLOT_UNITS": "", "VGPU_SLOT_FRAMEBUFFER_MIB": ""}, "no units and no MiB"),
        ({"VGPU_SLOT_UNITS": "250"}, "250 units and 20480 MiB"),
    ],
)
def test_a_fraction_that_was_not_decided_as_asked_is_refused(given: dict[str, str], said: str) -> None:
    assert problems({**FRACTION, **given}, "--slot", "fraction:500") == [
        f"the pod was given {said}, the slot is fraction-500; "
        "let the scheduler with the extender place it, and ask for nvidia.com/vgpu: 500"
    ]


def test_a_head_names_everything_that_is_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(StartRefused) as refused:
        head_start(tmp_path, {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "empty")}, "--http-port", "9101", "--port", "8265")
    assert str(refused.value).splitlines() == [
        "POD_IP is not set; set it from the pod's status.podIP, or give --node-ip-address",
        f"RAY_AUTH_TOKEN_PATH: {tmp_path}/empty is empty; put Ray's token into it",
        "port 9101 is given to --http-port, --haproxy-metrics-port; give each its own",
        "port 8265 is given to --port, --dashboard-port; give each its own",
    ]
    assert not (tmp_path / "edge").exists()


def test_a_process_becomes_ray_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: dict[str, str]) -> None:
    became: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr("os.execve", lambda *given: became.append(given))
    for name, value in {**POD, **token}.items():
        monkeypatch.setenv(name, value)
    worker.main(["--ray-address", "head:6379", "--slot", "v100-8q-8GB"])
    worker.main(["run", "--ray-address", "head:6379", "--slot", "v100-8q-8GB"])
    head.main(["--edge-directory", str(tmp_path / "edge")])
    assert [program for program, *_ in became] == [str(RAY)] * 3
    first, again, started = (command for _, command, _ in became)
    assert first == again
    assert started[:3] == [str(RAY), "start", "--head"]


def test_a_process_that_cannot_start_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*POD, "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert head.main([]) == 2
    assert worker.main(["--ray-address", "head:6379", "--slot", "v100-8q-8GB"]) == 2
    assert worker.main(["drain"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "POD_IP is not set; set it from the pod's status.podIP, or give --node-ip-address",
        "VGPU_NODE is not set; the pod's downward API sets it",
        "VGPU_WORKER is not set; the pod's downward API sets it",
        "POD_IP is not set; the pod's downward API sets it",
        "POD_IP is not set; the pod's downward API sets it",
    ]


def test_a_probe_tells_why_a_node_has_not_joined(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POD_IP", "127.0.0.1")
    port = free_port()
    assert worker.main(["ready", "--agent-port", str(port)]) == 1
    said = f"Ray's agent on 127.0.0.1:{port} does not answer: ConnectionRefusedError: [Errno 111] Connection refused\n"
    assert capsys.readouterr().err == said
    assert worker.main(["drain", "--metrics-port", str(port)]) == 0
    assert capsys.readouterr().err == "no replica is here\n"
