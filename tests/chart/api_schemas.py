"""What is wrong with an object by the API's own schemas, which kubernetes-validate carries, and by lists of our own.

That package's own check reads five megabytes of definitions for each object; here they are read once a version, and all
faults of an object are said at once. Kinds of operators have no such schema: of them, keys at the places where a
misspelt one would be passed over are held against lists of what their API has.
"""

import functools
import json
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.chart.custom_kinds import CUSTOM_KINDS, faults_of_custom

Json = Any


def faults(entry: Json, kubernetes: str) -> list[str]:
    """What the API server of that version would refuse or warn about: unknown keys, wrong types, missing fields."""
    if (entry["apiVersion"], entry["kind"]) in CUSTOM_KINDS:
        return [*faults_of_custom(entry), *_faults_of_templates(entry, kubernetes)]
    group_version = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", entry["apiVersion"])
    return _said(_validator(f"{entry['kind'].lower()}-{group_version}", kubernetes), entry)


def _faults_of_templates(entry: Json, kubernetes: str) -> Iterator[str]:
    if entry["kind"] == "RayCluster":
        for group in (entry["spec"]["headGroupSpec"], *entry["spec"].get("workerGroupSpecs", ())):
            yield from _said(_validator("podtemplatespec-v1", kubernetes), group["template"])


def _said(validator: Draft202012Validator, entry: Json) -> list[str]:
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(entry)]


@functools.cache
def _validator(name: str, kubernetes: str) -> Draft202012Validator:
    folder = _folder(kubernetes)
    try:
        schema = json.loads((folder / f"{name}.json").read_text())
    except FileNotFoundError:
        raise AssertionError(
            f"Kubernetes {kubernetes} has no {name}; is it a custom kind? list it in CUSTOM_KINDS"
        ) from None
    return Draft202012Validator(schema, registry=_definitions(kubernetes))


@functools.cache
def _definitions(kubernetes: str) -> Any:
    definitions = Resource.from_contents(json.loads((_folder(kubernetes) / "_definitions.json").read_text()))
    return definitions @ Registry()


def _folder(kubernetes: str) -> Any:
    return resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{kubernetes}-local-strict"
