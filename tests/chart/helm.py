"""Helm as the tests use it: renders of the chart, each made once."""

import functools
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
CI_VALUES = tuple(sorted((CHART / "ci").glob("*-values.yaml")))
VERSIONS = ("3.17.3", "4.3.1")
NEWEST = VERSIONS[-1]
KUBERNETES = ("1.30.0", "1.34.0", "1.37.0")
NAMESPACE = "serving"
RELEASE = "r"
# What the operators behind the chart's optional objects add to the API.
API_VERSIONS = ("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1", "ray.io/v1")

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended."""

    status: int
    said: str
    """Both of its streams."""
    objects: tuple[Json, ...] = ()


def binary(version: str = NEWEST) -> Path:
    path = ROOT / ".tools" / f"helm-{version}"
    assert path.is_file(), f"{path} is missing; run make tools"
    return path


def run(version: str, *arguments: str | Path) -> Outcome:
    """Any command of Helm, away from the settings of whoever runs the tests."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [binary(version), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env={"HOME": home, "HELM_NO_PLUGINS": "1"},
        )
    return Outcome(status=done.returncode, said=done.stdout + done.stderr)


@functools.cache
def template(
    values: str = "", *, files: tuple[Path, ...] = (), version: str = NEWEST, kubernetes: str = KUBERNETES[-1]
) -> Outcome:
    """`helm template` with values as YAML text on top of files of values."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as given:
        given.write(values)
        given.flush()
        outcome = run(
            version,
            *("template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", kubernetes),
            *(part for api in API_VERSIONS for part in ("--api-versions", api)),
            *(part for path in (*files, Path(given.name)) for part in ("--values", path)),
        )
    if outcome.status:
        return outcome
    return Outcome(status=0, said=outcome.said, objects=tuple(_objects(outcome.said)))


def render(values: Json = None, *, files: tuple[Path, ...] = (), **about: str) -> tuple[Json, ...]:
    """The objects of a render that must succeed."""
    outcome = template(json.dumps(values or {}), files=files, **about)
    assert outcome.status == 0, outcome.said
    return outcome.objects


def of_kind(objects: tuple[Json, ...], *kinds: str) -> tuple[Json, ...]:
    return tuple(entry for entry in objects if entry["kind"] in kinds)


def named(objects: tuple[Json, ...], kind: str, name: str) -> Json:
    """The one object of that kind and name."""
    found = [entry for entry in objects if entry["kind"] == kind and entry["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind} {name}: {len(found)} of {[e['metadata']['name'] for e in of_kind(objects, kind)]}"
    return found[0]


def title(entry: Json) -> str:
    return f"{entry['kind']} {entry['metadata']['name']}"


def _objects(text: str) -> list[Json]:
    return [entry for entry in yaml.load_all(text, Loader=yaml.CSafeLoader) if entry]
