"""values.schema.json accepts of the models file what its two readers accept, and refuses misspelt values everywhere."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from jsonschema import Draft7Validator

from helm.generate.values import VALUES, parameters
from tests.chart.helm import CHART, VERSIONS, named, render, template
from tests.chart.models_documents import (
    BEYOND,
    SLOTS,
    SOURCES,
    WRONG_SLOTS,
    WRONG_SOURCES,
    documents,
    is_beyond,
    problems,
)

Json = Any
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALIDATOR = Draft7Validator(SCHEMA)
MODEL = {"source": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200}


def document(*, others: Json = None, **changes: Json) -> Json:
    """A models file with one model; a change of None removes the key."""
    model = {key: value for key, value in {**MODEL, **changes}.items() if value is not None}
    return {"models": {"m": model}, **(others or {})}


def tenants(most: int) -> Json:
    return document(tenant="shop", autoscaling={"max_replicas": 3}, others={"tenants": {"shop": {"max_slots": most}}})


def test_it_is_a_draft_07_schema() -> None:
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(SCHEMA)
    # Words of later drafts, which Helm 3 passes over without a word.
    later = {
        "$defs",
        "unevaluatedProperties",
        "unevaluatedItems",
        "dependentRequired",
        "dependentSchemas",
        "minContains",
    }
    assert _words(SCHEMA) & later == set()


@settings(max_examples=250, deadline=None)
@given(documents())
@example(document(kind="synthetic"))
@example(document(source=None))
@example({"models": {}})
@example(document(objective_p95_ms=200.0))
@example(document(objective_p95_ms=200.5))
@example(document(autoscaling={"min_replicas": "1"}))
@example(document(autoscaling={"min_replicas": True}))
@example(document(serving={"max_batch_size": True}))
@example({"models": {"gateway": MODEL}})
def test_the_schema_accepts_what_both_readers_accept(given: Json) -> None:
    found = problems(given)
    refused = [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(given)]
    if refused:
        assert found != [], f"the readers take it, the schema does not: {refused}"
    else:
        assert [problem for problem in found if not is_beyond(problem)] == []


@pytest.mark.parametrize("text", [*SLOTS, *WRONG_SLOTS])
def test_slot_types(text: str) -> None:
    assert VALIDATOR.is_valid(document(slot=text)) == (problems(document(slot=text)) == [])


@pytest.mark.parametrize("text", [*SOURCES, *WRONG_SOURCES])
def test_sources(text: str) -> None:
    assert VALIDATOR.is_valid(document(source=text)) == (problems(document(source=text)) == [])


BEYOND_EXAMPLES = (
    document(autoscaling={"min_replicas": 3, "max_replicas": 2}),
    document(others={"card_costs": {"a100": 2}}),
    document(slot=["v100-8q-8GB", "V100-8Q"]),
    document(slot=["fraction:500", "fraction:250"]),
    document(others={"policy": {"recent_s": 11}}),
    document(tenant="shop"),
    tenants(2),
    document(source="onnx:https://example.com:99999/m.onnx"),
)


@pytest.mark.parametrize("given", BEYOND_EXAMPLES, ids=[pattern.pattern for pattern in BEYOND])
def test_what_is_beyond_the_schema_is_refused_by_the_readers(given: Json) -> None:
    [pattern] = [pattern for pattern, one in zip(BEYOND, BEYOND_EXAMPLES, strict=True) if one is given]
    assert VALIDATOR.is_valid(given)
    found = problems(given)
    assert found
    assert all(pattern.search(problem) for problem in found), found


WRONG_VALUES = {
    "a misspelt key of a model": {"models": {"m": {**MODEL, "objektive": 1}}},
    "a model without a slot": {"models": {"m": {"source": "synthetic", "objective_p95_ms": 200}}},
    "a profile larger than its card": {"models": {"m": {**MODEL, "slot": "v100-32q-32GB"}}},
    "a number as text": {"models": {"m": {**MODEL, "objective_p95_ms": "200"}}},
    "a source that is none": {"models": {"m": {**MODEL, "source": "https://example.com/m.onnx"}}},
    "an upper-case model": {"models": {"Model": MODEL}},
    "a ratio above 1": {"policy": {"saturated_ratio": 1.5}},
    "a misspelt setting": {"guardrails": {"settle_up": 1}},
    "a misspelt section": {"autoscalar": {}},
    "a misspelt key deep inside": {"ray": {"head": {"service": {"prot": 80}}}},
    "a backend that is none": {"workers": {"backend": "statefulset"}},
    "a pull policy that is none": {"image": {"pullPolicy": "Sometimes"}},
    "a digest that is none": {"autoscaler": {"image": {"digest": "latest"}}},
    "a misspelt override of a pool": {"workers": {"slots": {"v100-8q-8GB": {"toleration": []}}}},
    "a wrong quantity": {"autoscaler": {"resources": {"limits": {"memory": "512 MB"}}}},
    "environment without a name": {"extender": {"extraEnv": [{"value": "1"}]}},
    "a budget with both bounds": {"podDisruptionBudget": {"head": {"minAvailable": 1, "maxUnavailable": 1}}},
    "a tenant without a share": {"tenants": {"shop": {}}},
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_both_majors_refuse_wrong_values(values: Json, version: str) -> None:
    outcome = template(json.dumps(values), version=version)
    assert outcome.status != 0
    assert "schema" in outcome.said, outcome.said
    assert outcome.objects == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_helm_reads_the_patterns_as_python_does(version: str) -> None:
    """Go's regular expressions against Python's, on every spelling of the lists, all right ones in one render."""
    right = {f"s{place}": {**MODEL, "slot": text} for place, text in enumerate(SLOTS)}
    right |= {f"t{place}": {**MODEL, "source": text} for place, text in enumerate(SOURCES)}
    assert template(json.dumps({"models": right}), version=version).status == 0
    wrong = {f"s{place}": {**MODEL, "slot": text} for place, text in enumerate(WRONG_SLOTS)}
    wrong |= {f"t{place}": {**MODEL, "source": text} for place, text in enumerate(WRONG_SOURCES)}
    said = template(json.dumps({"models": wrong}), version=version).said
    assert [name for name in wrong if f"{name}.s" not in said and f"{name}/s" not in said] == []


def test_the_default_values_fit() -> None:
    errors = [
        f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(yaml.safe_load(VALUES.read_text()))
    ]
    assert errors == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_other_bound_of_a_budget_replaces_the_default(version: str) -> None:
    """Helm merges maps: were the default in the values, both would come together, and the API refuses that."""
    values = {"podDisruptionBudget": {"head": {"maxUnavailable": 1}, "workers": {"minAvailable": "50%"}}}
    objects = render(values, version=version)
    bounds = {
        name: {
            key: word for key, word in named(objects, "PodDisruptionBudget", name)["spec"].items() if "vailable" in key
        }
        for name in ("r-vgpu-serve-head", "workers-v100-8q-8gb", "r-vgpu-serve-autoscaler")
    }
    assert bounds == {
        "r-vgpu-serve-head": {"maxUnavailable": 1},
        "workers-v100-8q-8gb": {"minAvailable": "50%"},
        "r-vgpu-serve-autoscaler": {"maxUnavailable": 1},
    }


def test_every_value_is_described_in_the_schema() -> None:
    for parameter in parameters(VALUES.read_text()):
        at = SCHEMA
        for key in parameter.path.split("."):
            at = at["properties"][key]
        assert at["description"] == parameter.description


def test_a_chart_above_may_set_what_is_global() -> None:
    assert VALIDATOR.is_valid({"global": {"imageRegistry": "example.com"}})


def _words(schema: Json) -> set[str]:
    if isinstance(schema, dict):
        return {*schema} | {word for entry in schema.values() for word in _words(entry)}
    return {word for entry in schema for word in _words(entry)} if isinstance(schema, list) else set()
