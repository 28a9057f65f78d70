"""The chart renders on both majors of Helm, and what it renders is accepted by Kubernetes 1.30 to 1.37."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.chart.api_schemas import faults
from tests.chart.helm import (
    CHART,
    CI_VALUES,
    KUBERNETES,
    ROOT,
    VERSIONS,
    render,
    run,
    template,
    title,
)

Json = Any
CASES: tuple[tuple[Path, ...], ...] = ((), *((path,) for path in CI_VALUES))
NAMES = ["values.yaml", *(path.name for path in CI_VALUES)]
# Kinds that belong to no namespace.
CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "PriorityClass", "MutatingWebhookConfiguration", "Namespace")


def test_there_are_values_to_render() -> None:
    assert len(CI_VALUES) >= 3


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("files", CASES, ids=NAMES)
def test_lint_finds_nothing(files: tuple[Path, ...], version: str) -> None:
    outcome = run(version, "lint", "--strict", CHART, *(part for path in files for part in ("--values", path)))
    assert outcome.status == 0, outcome.said
    assert "[WARNING]" not in outcome.said
    assert "[ERROR]" not in outcome.said


@pytest.mark.parametrize("files", CASES, ids=NAMES)
def test_both_majors_render_the_same(files: tuple[Path, ...]) -> None:
    by_version = [template(files=files, version=version) for version in VERSIONS]
    assert [outcome.status for outcome in by_version] == [0, 0], [outcome.said[-2000:] for outcome in by_version]
    one, other = (
        {(entry["kind"], entry["metadata"]["name"]): _steady(entry) for entry in outcome.objects}
        for outcome in by_version
    )
    assert one == other


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("files", CASES, ids=NAMES)
def test_the_api_knows_every_field(files: tuple[Path, ...], kubernetes: str) -> None:
    objects = render(files=files, kubernetes=kubernetes)
    wrong = {title(entry): found for entry in objects if (found := faults(entry, kubernetes))}
    assert wrong == {}


@pytest.mark.parametrize("files", CASES, ids=NAMES)
def test_no_object_is_rendered_twice(files: tuple[Path, ...]) -> None:
    objects = render(files=files)
    keys = [(entry["kind"], entry["metadata"].get("namespace"), entry["metadata"]["name"]) for entry in objects]
    assert sorted(key for key in keys if keys.count(key) > 1) == []


@pytest.mark.parametrize("files", CASES, ids=NAMES)
def test_every_object_says_where_it_belongs(files: tuple[Path, ...]) -> None:
    objects = [entry for entry in render(files=files) if "helm.sh/chart" in entry["metadata"].get("labels", {})]
    without = [
        title(entry)
        for entry in objects
        if entry["kind"] not in CLUSTER_WIDE and not entry["metadata"].get("namespace")
    ]
    assert without == [], "an object without a namespace lands where kubectl happens to point"
    standard = {"name", "instance", "managed-by", "version"}
    for entry in objects:
        assert {f"app.kubernetes.io/{label}" for label in standard} <= entry["metadata"]["labels"].keys(), title(entry)


def test_an_older_kubernetes_is_refused() -> None:
    for version in VERSIONS:
        outcome = template(kubernetes="1.29.9", version=version)
        assert outcome.status != 0
        assert "1.29.9" in outcome.said


def test_the_chart_has_the_versions_of_the_project() -> None:
    lines = (CHART / "Chart.yaml").read_text().splitlines()
    said = dict(line.split(": ", 1) for line in lines if ": " in line)
    [version] = [
        line.partition("=")[2].strip().strip('"')
        for line in (ROOT / "pyproject.toml").read_text().splitlines()
        if line.startswith("version = ")
    ]
    assert said["appVersion"].strip('"') == version
    assert said["version"].strip('"') == version, "raise both together: chart and processes are released as one"


def _steady(entry: Json) -> Json:
    """Without what is drawn at each render: Ray's token, and the webhook's certificate wherever it stands."""
    if entry["kind"] == "Secret":
        return {**entry, "data": sorted(entry.get("data", {})), "stringData": sorted(entry.get("stringData", {}))}
    text = re.sub(r"LS0tLS1[A-Za-z0-9+/=]+", "certificate", json.dumps(entry))
    return json.loads(re.sub(r'"checksum/[a-z]+": "[0-9a-f]{64}"', '"checksum": "of it"', text))
