"""Commands, ports and probes of the containers against the programs in them."""

import contextlib
import importlib
import io
import re
import runpy
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.helm import CHART, CI_VALUES, of_kind, render
from tests.chart.pods import PodTemplate, pod_templates

Json = Any
# The health of a Ray node is asked of Ray itself, on the port of its agent.
RAY_AGENT = 52365
SWITCHER = CHART / "ci" / "switcher-values.yaml"


def every_container() -> Iterator[tuple[PodTemplate, Json]]:
    """Of the default values and of every file of helm/ci."""
    for files in ((), *((path,) for path in CI_VALUES)):
        for pod in pod_templates(render(files=files)):
            for container in pod.containers:
                yield pod, container


def ours() -> dict[tuple[str, ...], Json]:
    """Each different command of a container of ours, with the container."""
    return {
        tuple(container["command"] + container.get("args", [])): container
        for _, container in every_container()
        if "/serving" in container["image"] or "vgpu-serve/" in container["image"]
    }


def test_every_container_says_what_it_runs() -> None:
    assert [pod.owner for pod, container in every_container() if "command" not in container] == []


def test_every_module_that_is_started_is_there() -> None:
    started = {command[2] for command in ours() if command[:2] == ("python", "-m")}
    assert started >= {
        "serving.head",
        "serving",
        "serving.worker",
        "vgpu.extender",
        "vgpu.deviceplugin",
        "vgpu.exporter",
        "vgpu.switcher",
    }
    for name in started:
        module = importlib.import_module(name)
        assert hasattr(module, "main") or importlib.util.find_spec(f"{name}.__main__"), name


def test_every_option_is_one_the_program_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the help of each program, asked for in this process: eleven of their own would import Ray each."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    for program, options in sorted(_options_by_program().items()):
        text = _help(program, monkeypatch)
        missing = {option for option in options if not re.search(rf"{re.escape(option)}(?![a-z-])", text)}
        assert missing == set(), f"{' '.join(program)} has no {missing}:\n{text}"


def _help(program: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> str:
    module, words = ("autoscaler.cli", program[1:]) if program[0] == "vgpu-serve" else (program[2], program[3:])
    monkeypatch.setattr(sys, "argv", [module, *words, "--help"])
    # runpy would run a module a second time that is imported already, and say so; of a package it runs the __main__,
    # and a package that was imported twice would lose its modules.
    if not hasattr(sys.modules.get(module), "__path__"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert not ended.value.code
    return said.getvalue()


def _options_by_program() -> dict[tuple[str, ...], set[str]]:
    found: dict[tuple[str, ...], set[str]] = {}
    for command in [*ours(), *_exec_commands()]:
        if command[0] not in ("python", "vgpu-serve"):
            continue
        words = 3 if command[0] == "python" else 2
        # serving.worker has words of its own before its options: drain, ready.
        if command[:3] == ("python", "-m", "serving.worker") and not command[3].startswith("-"):
            words = 4
        options = {word.partition("=")[0] for word in command[words:] if word.startswith("--")}
        found.setdefault(command[:words], set()).update(options)
    return found


def _exec_commands() -> set[tuple[str, ...]]:
    """What probes and hooks run inside containers of ours."""
    found = set()
    for _, container in every_container():
        hooks = [container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness", "startup")]
        hooks += container.get("lifecycle", {}).values()
        found |= {tuple(hook["exec"]["command"]) for hook in hooks if "exec" in hook}
    return found


def test_probes_and_services_name_ports_that_are_there() -> None:
    for pod, container in every_container():
        here = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        for kind in ("liveness", "readiness", "startup"):
            probe = container.get(f"{kind}Probe", {})
            action = probe.get("httpGet") or probe.get("tcpSocket")
            assert action is None or action["port"] in {*here, *here.values(), RAY_AGENT}, (
                f"{pod.owner} {container['name']} {kind}"
            )


@pytest.mark.parametrize("files", [(), *((path,) for path in CI_VALUES)], ids=str)
def test_services_reach_pods(files: Any) -> None:
    objects = render(files=files)
    pods = [(pod.metadata.get("labels", {}), _ports(pod)) for pod in pod_templates(objects)]
    for service in of_kind(objects, "Service"):
        selector = service["spec"].get("selector")
        assert selector, service["metadata"]["name"]
        reached = [ports for labels, ports in pods if selector.items() <= labels.items()]
        # KubeRay's operator makes the head's pod; its template is rendered all the same.
        assert reached, f"{service['metadata']['name']} selects no pod: {selector}"
        for port in service["spec"]["ports"]:
            assert all(port["targetPort"] in ports for ports in reached), (service["metadata"]["name"], port)


def _ports(pod: PodTemplate) -> set[Any]:
    ports = [port for container in pod.containers for port in container.get("ports", ())]
    return {port["name"] for port in ports} | {port["containerPort"] for port in ports}


def test_a_port_that_is_listened_on_is_declared() -> None:
    for pod, container in every_container():
        said = re.findall(r"--listen[= ](?:0\.0\.0\.0|\[::\]):(\d+)", " ".join(container.get("command", ())))
        declared = {str(port["containerPort"]) for port in container.get("ports", ())}
        assert {*said} <= declared, f"{pod.owner} {container['name']}"


def test_a_worker_has_time_to_drain() -> None:
    """preStop waits so long for the replica to be gone; Ray's own shutdown comes after it."""
    for pod, container in every_container():
        hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
        if "drain" in hook:
            waits_s = float(next(word for word in " ".join(hook).replace("=", " ").split() if word.isdigit()))
            assert pod.spec["terminationGracePeriodSeconds"] > waits_s
            return
    raise AssertionError("no worker drains")


@pytest.mark.parametrize("name", ["HOME", "OMP_NUM_THREADS", "NVIDIA_DRIVER_CAPABILITIES"])
def test_environment_of_the_values_takes_the_place_of_the_charts(name: str) -> None:
    """Server-side apply, as Helm 4 does it, refuses a name that stands there twice."""
    sections = ("modelsCheck", "workers", "autoscaler", "extender", "devicePlugin", "exporter", "switcher")
    given = {"extraEnv": [{"name": name, "value": "mine"}]}
    values: Json = dict.fromkeys(sections, given) | {"ray": {"head": given, "deployer": given}}
    for pod in pod_templates(render(values, files=(SWITCHER,))):
        for container in pod.containers:
            found = [entry["name"] for entry in container.get("env", ())]
            assert len(found) == len({*found}), f"{pod.owner} {container['name']}: {found}"
            if pod.entry["kind"] != "Pod" and container["name"] != "kube-scheduler":
                assert given["extraEnv"][0] in container["env"], f"{pod.owner} {container['name']}"
