"""Names: numbers, long ones, and such as Kubernetes does not take."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import API_VERSIONS, CHART, CI_VALUES, VERSIONS, Outcome, run, title

Json = Any
TENANTS = {"tenants": {"123": {"max_slots": 3}}, "tenantQuotas": {"123": {"namespace": "1e5", "hard": {"pods": "3"}}}}


def rendered(
    release: str, namespace: str, values: Json = None, *, files: tuple[Path, ...] = (), version: str = VERSIONS[-1]
) -> Outcome:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as given:
        json.dump(values or {}, given)
        given.flush()
        return run(
            version,
            *("template", release, CHART, "--namespace", namespace, "--kube-version", "1.34.0"),
            *(part for api in API_VERSIONS for part in ("--api-versions", api)),
            *(part for path in (*files, Path(given.name)) for part in ("--values", path)),
        )


def objects(outcome: Outcome) -> list[Json]:
    assert outcome.status == 0, outcome.said
    return [entry for entry in yaml.load_all(outcome.said, Loader=yaml.CSafeLoader) if entry]


def not_text(found: Json, path: str = "") -> Iterator[str]:
    """Names, namespaces and labels that YAML reads as something else."""
    if isinstance(found, list):
        for entry in found:
            yield from not_text(entry, path)
    elif isinstance(found, dict):
        for key, value in found.items():
            where = f"{path}.{key}"
            if key in ("name", "namespace") and not isinstance(value, str):
                yield where
            elif key in ("labels", "annotations", "matchLabels") and isinstance(value, dict):
                yield from (f"{where}.{label}" for label, text in value.items() if not isinstance(text, str))
            elif key == "matchNames":
                yield from (where for name in value if not isinstance(name, str))
            else:
                yield from not_text(value, where)


@pytest.mark.parametrize("files", [(), *((path,) for path in CI_VALUES)], ids=str)
def test_a_namespace_that_is_a_number_stays_text(files: tuple[Path, ...]) -> None:
    """Such as that of a pull request, or the beginning of a commit's hash."""
    values = {**TENANTS, "fullnameOverride": "v"}
    wrong = [
        f"{title(entry)}: {where}"
        for namespace in ("4711", "1e5")
        for entry in objects(rendered("123", namespace, values, files=files))
        for where in not_text(entry)
    ]
    assert wrong == []


@pytest.mark.parametrize("namespace", ["default", "kube-node-lease"])
def test_no_two_objects_have_one_name_whatever_release_and_namespace_are_called(namespace: str) -> None:
    found = objects(rendered("vgpu-serve", namespace, files=(CHART / "ci" / "switcher-values.yaml",)))
    about = [(entry["kind"], entry["metadata"].get("namespace"), entry["metadata"]["name"]) for entry in found]
    assert {each for each in about if about.count(each) > 1} == set()


@pytest.mark.parametrize("release", ["2nd", "v1.2"])
def test_a_release_that_no_service_can_be_named_after_is_refused(release: str) -> None:
    for version in VERSIONS:
        outcome = rendered(release, "serving", version=version)
        assert outcome.status != 0
        assert "fullnameOverride: Services would be named after" in outcome.said
        assert rendered(release, "serving", {"fullnameOverride": "v"}, version=version).status == 0


def test_the_longest_names_fit() -> None:
    release = "r" * 53
    for entry in objects(rendered(release, "n" * 63, {"extender": {"tls": {"enabled": True}}})):
        longest = 253 if "namespace" not in entry["metadata"] else 63
        assert len(entry["metadata"]["name"]) <= longest, title(entry)
        assert all(len(text) <= 63 for text in entry["metadata"].get("labels", {}).values()), title(entry)


def twice(node: yaml.Node) -> Iterator[str]:
    """Keys that stand twice in one mapping."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        yield from {key for key in keys if keys.count(key) > 1}
        for _, value in node.value:
            yield from twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from twice(entry)


def test_labels_of_the_values_take_the_place_of_the_charts() -> None:
    """A key that stands twice is refused by kustomize, through which Flux sends every chart."""
    given = {"app.kubernetes.io/part-of": "platform", "team": "serving"}
    others = {**given, "app.kubernetes.io/name": "other"}
    values = {
        "commonLabels": others,
        "ray": {"head": {"podLabels": others}},
        "workers": {"podLabels": others},
        "serviceMonitor": {"enabled": True, "additionalLabels": others},
        "prometheusRule": {"enabled": True, "additionalLabels": others},
        "grafanaDashboards": {"enabled": True, "labels": others},
    }
    outcome = rendered("r", "serving", values)
    assert [key for node in yaml.compose_all(outcome.said, Loader=yaml.CSafeLoader) for key in twice(node)] == []
    for entry in objects(outcome):
        labels = entry["metadata"]["labels"]
        assert given.items() <= labels.items(), title(entry)
        assert (labels["app.kubernetes.io/name"], labels["app.kubernetes.io/managed-by"]) == ("vgpu-serve", "Helm")


def test_helm_refuses_a_second_installation_in_a_namespace() -> None:
    """By an object that both would have: the two autoscalers have one Lease, and one of them would never lead."""
    off: Json = {name: {"enabled": False} for name in ("extender", "scheduler", "devicePlugin", "exporter")}
    slots = {"a": "v100-8q-8GB", "b": "a40-8q-8GB"}
    one, other = (
        {title(entry) for entry in objects(rendered(name, "serving", {**off, "models": {"filetype": {"slot": slot}}}))}
        for name, slot in slots.items()
    )
    assert one & other
