"""What every pod and every role of the chart keeps to. Exceptions stand in one table, each with its reason."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.chart.helm import CI_VALUES, of_kind, render, title
from tests.chart.pods import PodTemplate, pod_templates

Json = Any
# Rule -> owner -> why it may break it. An exception that nobody makes use of any more is a failure too.
EXCEPTIONS: dict[str, dict[str, str]] = {
    "not root": {
        "DaemonSet device-plugin": "the kubelet's directory of sockets is root's; no capability is needed",
        "DaemonSet exporter": "tells the tenants of a shared card apart by their processes' environment",
    },
    "no capability": {"DaemonSet exporter": "SYS_PTRACE, to read that environment"},
    "no host namespace": {"DaemonSet exporter": "the host's process ids, which NVML names"},
    "an account of its own": {"Deployment extender": "a file of helm/ci takes the namespace's own"},
    "no host path": {"DaemonSet device-plugin": "the kubelet's directory of sockets"},
}


def _context(pod: PodTemplate, container: Json) -> Json:
    return {**pod.spec.get("securityContext", {}), **container.get("securityContext", {})}


def _added(container: Json) -> Json:
    return container.get("securityContext", {}).get("capabilities", {}).get("add", [])


def _is_brief(pod: PodTemplate, container: Json) -> bool:
    return pod.entry["kind"] in ("Job", "Pod") or container in pod.spec.get("initContainers", ())


def _secrets(container: Json) -> list[Json]:
    """What is in the environment is in every process listing and crash report; what is mounted is not."""
    named = [entry for entry in container.get("env", ()) if "secretKeyRef" in entry.get("valueFrom", {})]
    return [*named, *(source for source in container.get("envFrom", ()) if "secretRef" in source)]


# Rule -> whether a container of a pod keeps to it.
CONTAINER_RULES: dict[str, Callable[[PodTemplate, Json], bool]] = {
    "not root": lambda pod, each: (
        _context(pod, each).get("runAsNonRoot") is True and _context(pod, each)["runAsUser"] > 0
    ),
    "not privileged": lambda _, each: not each.get("securityContext", {}).get("privileged"),
    "no escalation": lambda _, each: each.get("securityContext", {}).get("allowPrivilegeEscalation") is False,
    "drops all": lambda _, each: each.get("securityContext", {}).get("capabilities", {}).get("drop") == ["ALL"],
    "no capability": lambda _, each: _added(each) == [],
    "root file system read-only": lambda _, each: each.get("securityContext", {}).get("readOnlyRootFilesystem") is True,
    "seccomp": lambda pod, each: _context(pod, each).get("seccompProfile") == {"type": "RuntimeDefault"},
    "requests": lambda _, each: {"cpu", "memory"} <= each.get("resources", {}).get("requests", {}).keys(),
    "memory limit": lambda _, each: "memory" in each.get("resources", {}).get("limits", {}),
    "liveness probe": lambda pod, each: _is_brief(pod, each) or "livenessProbe" in each,
    "readiness probe": lambda pod, each: _is_brief(pod, each) or "readinessProbe" in each,
    "image has a version": lambda _, each: bool(re.search(r":[^:/@]+$|@sha256:[0-9a-f]{64}$", each["image"])),
    "image is not the latest": lambda _, each: not each["image"].endswith(":latest"),
    "no secret in the environment": lambda _, each: _secrets(each) == [],
    "ports have names": lambda _, each: all("name" in port for port in each.get("ports", ())),
}
POD_RULES: dict[str, Callable[[PodTemplate], bool]] = {
    "no host namespace": lambda pod: not any(pod.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
    "no host path": lambda pod: not any("hostPath" in volume for volume in pod.spec.get("volumes", ())),
    "writable directories are bounded": lambda pod: all(
        (volume["emptyDir"] or {}).get("sizeLimit") for volume in pod.spec.get("volumes", ()) if "emptyDir" in volume
    ),
    "an account of its own": lambda pod: pod.spec.get("serviceAccountName", "default") != "default",
    "no environment of services": lambda pod: pod.spec.get("enableServiceLinks") is False,
}


@pytest.fixture(scope="module")
def renders() -> dict[str, tuple[Json, ...]]:
    """Of the default values and of every file of helm/ci."""
    return {"values.yaml": render()} | {path.name: render(files=(path,)) for path in CI_VALUES}


def _pods(renders: dict[str, tuple[Json, ...]]) -> Iterator[PodTemplate]:
    for objects in renders.values():
        yield from pod_templates(objects)


@pytest.mark.parametrize("rule", CONTAINER_RULES)
def test_every_container(rule: str, renders: dict[str, tuple[Json, ...]]) -> None:
    keeps = CONTAINER_RULES[rule]
    against = {
        pod.component: container["name"]
        for pod in _pods(renders)
        for container in pod.containers
        if not keeps(pod, container)
    }
    assert against.keys() == EXCEPTIONS.get(rule, {}).keys(), f"{rule}: broken by {against}"


@pytest.mark.parametrize("rule", POD_RULES)
def test_every_pod(rule: str, renders: dict[str, tuple[Json, ...]]) -> None:
    against = {pod.component for pod in _pods(renders) if not POD_RULES[rule](pod)}
    assert against == EXCEPTIONS.get(rule, {}).keys(), f"{rule}: broken by {sorted(against)}"


def test_every_exception_belongs_to_a_rule() -> None:
    assert EXCEPTIONS.keys() <= {*CONTAINER_RULES, *POD_RULES}


def test_a_token_is_mounted_only_where_the_api_is_asked(renders: dict[str, tuple[Json, ...]]) -> None:
    """Whose account no role is bound to needs no token."""
    wrong = []
    for name, objects in renders.items():
        bound = {subject["name"] for binding in _bindings(objects) for subject in binding["subjects"]}
        for pod in pod_templates(objects):
            asks = pod.spec.get("serviceAccountName", "default") in bound
            if pod.spec.get("automountServiceAccountToken", True) != asks:
                wrong.append(f"{name}: {pod.owner}: asks the API: {asks}")
    assert wrong == []


def test_roles_say_verb_by_verb_what_they_need(renders: dict[str, tuple[Json, ...]]) -> None:
    roles = [role for objects in renders.values() for role in of_kind(objects, "Role", "ClusterRole")]
    rules = [(title(role), rule) for role in roles for rule in role.get("rules", ())]
    assert rules
    assert [(who, rule) for who, rule in rules if "*" in str(rule)] == []
    # Who may do these may become anybody.
    strong = {"escalate", "bind", "impersonate"}
    assert [(who, rule) for who, rule in rules if strong & {*rule["verbs"]}] == []
    assert [(who, rule) for who, rule in rules if "secrets" in rule.get("resources", ())] == []


def test_bindings_bind_our_accounts_to_our_roles(renders: dict[str, tuple[Json, ...]]) -> None:
    for objects in renders.values():
        roles = {(role["kind"], role["metadata"]["name"]) for role in of_kind(objects, "Role", "ClusterRole")}
        accounts = {account["metadata"]["name"] for account in of_kind(objects, "ServiceAccount")}
        for binding in _bindings(objects):
            reference = binding["roleRef"]
            built_in = reference["name"].startswith(("system:", "extension-apiserver-authentication-reader"))
            assert built_in or (reference["kind"], reference["name"]) in roles, title(binding)
            for subject in binding["subjects"]:
                assert subject["kind"] == "ServiceAccount"
                assert subject["namespace"], title(binding)
                assert subject["name"] in {*accounts, "default"}, title(binding)


def _bindings(objects: tuple[Json, ...]) -> tuple[Json, ...]:
    return of_kind(objects, "RoleBinding", "ClusterRoleBinding")


def test_the_smoke_test_outlives_its_success() -> None:
    """`helm test --logs` of Helm 3 asks for the logs of a pod after the hook's deletion."""
    [pod] = [entry for entry in of_kind(render(), "Pod") if "helm.sh/hook" in entry["metadata"]["annotations"]]
    assert pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"


BOUNDS = ("minAvailable", "maxUnavailable")


@pytest.mark.parametrize("files", [(), *((path,) for path in CI_VALUES)], ids=str)
def test_a_budget_says_one_of_two(files: Any) -> None:
    """The API refuses both."""
    for budget in of_kind(render(files=files), "PodDisruptionBudget"):
        assert len([bound for bound in BOUNDS if bound in budget["spec"]]) == 1, title(budget)


@pytest.mark.parametrize("given", [{"minAvailable": 1}, {"minAvailable": "50%"}, {"maxUnavailable": 2}], ids=str)
def test_a_budget_of_the_values_takes_the_place_of_the_charts(given: Json) -> None:
    """Though Helm merges the one into the other."""
    budgets = of_kind(
        render({"podDisruptionBudget": dict.fromkeys(("head", "workers", "autoscaler", "scheduler"), given)}),
        "PodDisruptionBudget",
    )
    assert len(budgets) == 4
    for budget in budgets:
        assert {bound: budget["spec"][bound] for bound in BOUNDS if bound in budget["spec"]} == given, title(budget)
