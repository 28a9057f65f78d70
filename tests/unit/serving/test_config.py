"""The models file: what it may say, and everything that is wrong with one said at once."""

import re
from pathlib import Path
from typing import Any

import pytest

from serving import config
from serving.config import ConfigError, ModelConfig, ServingConfig, ServingLimits
from tests.fakes.models_files import NO_VALUES, NOT_JSON

ROOT = Path(__file__).parents[3]
MODEL = {"source": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200}


def problems(document: object) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        config.parse(document)
    return str(refused.value).splitlines()


def test_a_model_needs_a_source_a_slot_and_an_objective_and_the_rest_has_defaults() -> None:
    (model,) = config.parse({"models": {"echo": MODEL}}).models
    assert model == ModelConfig(
        name="echo", source="synthetic", parameters={}, slot="v100-8q-8GB", objective_p95_ms=200, replicas=1,
        serving=ServingLimits(
            max_batch_size=8, max_wait_ms=4, max_queue=64, max_body_bytes=1 << 20, max_deadline_ms=10_000
        ),
    )  # fmt: skip


def test_the_defaults_are_those_that_the_readme_tells() -> None:
    table = re.findall(r"^\| `(?P<key>\w+)` \| (?P<default>[\d.]+) \|", (ROOT / "serving/README.md").read_text(), re.M)
    assert {key: float(default) for key, default in table} == ServingLimits.model_validate({}).model_dump()


def test_the_demos_models_file_can_be_served() -> None:
    loaded = config.load(ROOT / "autoscaler/embedded/demo.yaml")
    assert [model.name for model in loaded.models] == ["minilm", "filetype"]


def test_what_belongs_to_the_autoscaler_is_passed_over() -> None:
    extra = {"policy": {"window_s": 6}, "guardrails": {"settle_up_s": 8}, "tenants": {"search": {"max_slots": 2}}}
    document = {"models": {"echo": {**MODEL, "autoscaling": {"max_replicas": 4}}}, **extra}
    assert config.parse(document).model_dump() == config.parse({"models": {"echo": MODEL}}).model_dump()


@pytest.mark.parametrize(
    ("given", "replicas", "may_sleep"),
    [
        ({}, 1, False),
        ({"autoscaling": {"max_replicas": 3}}, 1, False),
        ({"autoscaling": {"min_replicas": 0}}, 0, True),
        ({"autoscaling": {"min_replicas": 0}, "replicas": 2}, 2, True),
        ({"replicas": 0}, 0, False),
    ],
)
def test_a_model_that_may_sleep_begins_asleep_unless_told_otherwise(
    given: dict[str, Any], replicas: int, may_sleep: bool
) -> None:
    (model,) = config.parse({"models": {"echo": {**MODEL, **given}}}).models
    assert (model.replicas, model.may_sleep) == (replicas, may_sleep)


def test_a_config_survives_the_way_to_its_replica() -> None:
    limits = {"max_queue": 9, "max_wait_ms": 0}
    sent = config.parse({"models": {"echo": {**MODEL, "parameters": {"base_us": 5}, "serving": limits}}})
    assert ServingConfig.model_validate(sent.model_dump()) == sent


def test_all_problems_are_listed_at_once_with_their_keys() -> None:
    document: dict[str, Any] = {
        "models": {
            "one": {"source": "synthetic", "slot": "v100-8q-16GB", "objective_p95_ms": -1, "colour": "red"},
            "two": {"objective_p95_ms": "200", "serving": {"max_queue": 0, "max_batch": 4}, "replicas": True},
            "three": None,
        },
        "polcy": {},
    }
    assert problems(document) == [
        "models.one.slot: 'v100-8q-16GB' contradicts itself: '8q' means 8 GB and '16GB' says 16 GB;"
        " write v100-8q-8GB or v100-16q-16GB",
        "models.one.objective_p95_ms: should be greater than 0",
        "models.one.colour: unknown key; remove it or correct its spelling",
        "models.two.source: missing; it has no default",
        "models.two.slot: missing; it has no default",
        "models.two.objective_p95_ms: should be a valid number",
        "models.two.replicas: should be a valid integer",
        "models.two.serving.max_queue: should be greater than or equal to 1",
        "models.two.serving.max_batch: unknown key; remove it or correct its spelling",
        "models.three: expected a mapping",
        "polcy: unknown key; remove it or correct its spelling",
    ]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (None, "the file holds no mapping; write one with the key `models`"),
        ([1], "the file holds no mapping; write one with the key `models`"),
        ({}, "models: missing; it has no default"),
        ({"models": None}, "models: expected a mapping"),
        ({"models": [MODEL]}, "models: expected a mapping"),
        ({"models": {}}, "models: empty; name at least one model"),
        ({"models": {"echo": "synthetic"}}, "models.echo: expected a mapping"),
        (
            {"models": {"echo": {**MODEL, "name": "other"}}},
            "models.echo.name: unknown key; the name is the key above it",
        ),
        ({"models": {7: MODEL}}, "models.7.name: should be a valid string"),
        ({"models": {"echo": {**MODEL, "serving": [1]}}}, "models.echo.serving: expected a mapping"),
        ({"models": {"echo": {**MODEL, "parameters": "fast"}}}, "models.echo.parameters: expected a mapping"),
        (
            {"models": {"echo": {**MODEL, "objective_p95_ms": float("nan")}}},
            "models.echo.objective_p95_ms: should be less than or equal to 600000",
        ),
    ],
)
def test_a_file_of_the_wrong_form_is_refused(document: object, problem: str) -> None:
    assert problems(document) == [problem]


@pytest.mark.parametrize("name", ["Echo", "1st", "a_b", "a/b", "", "a" * 64, "é"])
def test_a_name_that_cannot_be_a_path_segment_is_refused(name: str) -> None:
    expected = "a name has 1 to 63 lower-case letters, digits and dashes, a letter first; rename the model"
    assert problems({"models": {name: MODEL}}) == [f"models.{name}.name: {expected}"]


def test_no_model_may_take_the_gateways_name() -> None:
    expected = "gateway is the name of what answers the paths of no single model; rename the model"
    assert problems({"models": {"gateway": MODEL}}) == [f"models.gateway.name: {expected}"]


def test_kind_is_the_old_name_of_source() -> None:
    old = {"kind" if key == "source" else key: value for key, value in MODEL.items()}
    assert config.parse({"models": {"echo": old}}) == config.parse({"models": {"echo": MODEL}})
    both = {**MODEL, "kind": "synthetic", "replicas": -1}
    assert problems({"models": {"echo": both}}) == [
        "models.echo.kind: the old name of source, which is given too; remove kind",
        "models.echo.replicas: should be greater than or equal to 0",
    ]


@pytest.mark.parametrize(
    "source", ["python:shop.prices:Price", "onnx:/models/m.onnx", "onnx:https://host/m.onnx", "any_built_in"]
)
def test_every_form_of_a_source_is_taken(source: str) -> None:
    (model,) = config.parse({"models": {"echo": {**MODEL, "source": source}}}).models
    assert model.source == source


def test_a_source_that_names_nothing_is_refused_without_its_secrets() -> None:
    source = "onnx:http://user:word@host/m.onnx?sig=1"
    said = "'onnx:http://host/m.onnx' is not https; write onnx:https://host/model.onnx"
    assert problems({"models": {"echo": {**MODEL, "source": source}}}) == [f"models.echo.source: {said}"]
    assert problems({"models": {"echo": {**MODEL, "source": 5}}}) == ["models.echo.source: should be a valid string"]


def test_a_models_tenant_is_one_of_the_file() -> None:
    mine = {**MODEL, "tenant": "search"}
    tenants = {"search": {"max_slots": 4}, "shop": {"whatever": "the autoscaler reads"}}
    (model,) = config.parse({"models": {"echo": mine}, "tenants": tenants}).models
    assert model.tenant == "search"
    document = {"models": {"echo": mine, "other": {**MODEL, "colour": "red"}}, "tenants": {"shop": {}, "post": {}}}
    assert problems(document) == [
        "models.echo.tenant: 'search' is none of tenants; add it there, or correct the name: "
        "the tenants here are shop, post",
        "models.other.colour: unknown key; remove it or correct its spelling",
    ]
    assert problems({"models": {"echo": mine}}) == [
        "models.echo.tenant: 'search' is none of tenants; add it there, or correct the name: the file has no tenants"
    ]
    assert problems({"models": {"echo": mine}, "tenants": ["search"]}) == ["tenants: expected a mapping"]
    assert problems({"models": {"echo": {**MODEL, "tenant": 5}}}) == ["models.echo.tenant: should be a valid string"]


@pytest.mark.parametrize(("parameters", "said"), NOT_JSON)
def test_parameters_are_json(tmp_path: Path, parameters: str, said: str) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(
        f"models: {{echo: {{source: a, slot: v100-8q-8GB, objective_p95_ms: 9, parameters: {parameters}}}}}"
    )
    with pytest.raises(ConfigError) as refused:
        config.load(file)
    assert str(refused.value) == f"{file}: models.echo.parameters: {said}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file or directory; give a readable models file"):
        config.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "content",
    [b"models: [", b"\tmodels: 1", b"\xff\xfe\x00", b"models: {[]: 1}", b"a: b: c", b"a: 1\na: 2", *NO_VALUES],
)
def test_a_file_that_is_no_yaml_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "models.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        config.load(file)
    assert str(refused.value).startswith(f"{file}: not YAML: ")
    assert len(str(refused.value).splitlines()) == 1


def test_every_problem_of_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("models: {one: {}}\ncolour: red\n")
    with pytest.raises(ConfigError) as refused:
        config.load(file)
    assert str(refused.value).splitlines() == [
        f"{file}: models.one.source: missing; it has no default",
        f"{file}: models.one.slot: missing; it has no default",
        f"{file}: models.one.objective_p95_ms: missing; it has no default",
        f"{file}: colour: unknown key; remove it or correct its spelling",
    ]


def test_a_model_may_name_several_slot_types() -> None:
    listed = {**MODEL, "slot": ["v100-8q-8GB", "T4-4Q"]}
    read = config.parse({"models": {"echo": listed}, "card_costs": {"t4": 0.4}})
    assert read.models[0].slot == ("v100-8q-8GB", "t4-4q-4GB")
    assert config.ModelConfig.model_validate(read.models[0].model_dump()) == read.models[0]
    with pytest.raises(config.ConfigError) as caught:
        config.parse({"models": {"echo": {**listed, "slot": ["T4-4Q", "t4-4q-4GB"]}}})
    assert str(caught.value) == "models.echo.slot: 'T4-4Q' and 't4-4q-4GB' are the same slot type; name it once"
