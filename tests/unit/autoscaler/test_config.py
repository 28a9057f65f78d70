"""The models file as the autoscaler reads it: defaults are the specification's, and every problem is said at once."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autoscaler import config
from autoscaler.about import ModelAbout
from autoscaler.core.spec import FleetSpec, GuardrailSettings, ModelSpec, PolicySettings, PoolSpec
from autoscaler.refusal import Refused
from serving import config as serving_config
from tests.fakes.models_files import NO_VALUES, NOT_JSON
from vgpu.core.profile import parse_profile

DEMO = Path(config.__file__).parent / "embedded" / "demo.yaml"
SLOT = "v100-8q-8GB"
MODEL = {"slot": SLOT, "objective_p95_ms": 200}
POOL = "workers-v100-8q-8gb"


def problems(document: Any) -> list[str]:
    with pytest.raises(config.ConfigError) as caught:
        config.parse(document)
    assert isinstance(caught.value, Refused)
    return str(caught.value).splitlines()


def test_what_is_left_out_takes_the_specifications_own_defaults() -> None:
    assert config.parse({"models": {"minilm": MODEL}}) == FleetSpec(
        pools=(PoolSpec(name=POOL, profile=parse_profile(SLOT)),),
        models=(ModelSpec(name="minilm", pool=POOL, objective_p95_ms=200, max_replicas=1, max_batch_size=8),),
        policy=PolicySettings(),
        guardrails=GuardrailSettings(),
    )


def test_every_setting_can_be_given() -> None:
    autoscaling: dict[str, Any] = {
        "min_replicas": 2, "max_replicas": 9, "priority": 3, "target_in_flight": 2.5,
        "target_utilization_ratio": 0.5, "scale_down_window_s": 60, "idle_s": 90,
    }  # fmt: skip
    read = config.parse({
        "models": {"minilm": {**MODEL, "autoscaling": autoscaling}},
        "policy": {"window_s": 20, "least_requests": 9},
        "guardrails": {"step_up_count": 4, "settle_up_s": 1},
    })  # fmt: skip
    assert read.models == (ModelSpec(name="minilm", pool=POOL, objective_p95_ms=200, max_batch_size=8, **autoscaling),)
    assert read.policy == PolicySettings(window_s=20.0, least_requests=9)
    assert read.guardrails == GuardrailSettings(step_up_count=4, settle_up_s=1.0)


def test_a_model_may_be_left_without_a_replica() -> None:
    read = config.parse({"models": {"minilm": {**MODEL, "autoscaling": {"min_replicas": 0}}}})
    assert (read.models[0].min_replicas, read.models[0].max_replicas, read.models[0].idle_s) == (0, 1, 300.0)


def test_a_field_of_the_specification_is_a_key_of_the_file() -> None:
    derived = {"name", "pool", "further_pools", "objective_p95_ms", "max_batch_size"}
    assert set(config.AutoscalingSection.model_fields) == {field.name for field in fields(ModelSpec)} - derived


@pytest.mark.parametrize("kind", [PolicySettings, GuardrailSettings])
def test_every_default_may_be_written_down(kind: type[PolicySettings | GuardrailSettings]) -> None:
    section = "policy" if kind is PolicySettings else "guardrails"
    defaults = {field.name: field.default for field in fields(kind)}
    assert getattr(config.parse({"models": {"m": MODEL}, section: defaults}), section) == kind()


def test_models_of_one_slot_type_share_a_pool_however_it_is_spelt() -> None:
    read = config.parse({"models": {"a": MODEL, "b": {**MODEL, "slot": "GRID V100-8Q"}}})
    assert [pool.name for pool in read.pools] == [POOL]
    assert [model.pool for model in read.models] == [POOL, POOL]


def test_each_slot_type_has_a_pool_of_its_own() -> None:
    read = config.parse({"models": {"a": MODEL, "b": {**MODEL, "slot": "v100-4q-4GB"}}})
    assert [pool.name for pool in read.pools] == [POOL, "workers-v100-4q-4gb"]


def test_every_problem_of_every_section_is_named_at_once() -> None:
    assert problems({
        "models": {
            "one": {"slot": "v100-8q-16GB", "objective_p95_ms": 200},
            "two": {"slot": SLOT, "objective_p95_ms": "soon", "autoscalling": {}},
            "three": {"slot": SLOT, "objective_p95_ms": 0, "autoscaling": {"min_replicas": 3, "max_replicas": 1}},
            "four": None,
            "five": {"autoscaling": {"max_replica": 2, "priority": "high"}},
        },
        "policy": {"window": 6, "recent_s": "abc", "max_age_s": -1},
        "guardrails": {"step_up_count": 1.5, "settle_up_s": True, "step_up_ratio": float("nan")},
    }) == [
        "models.one.slot: 'v100-8q-16GB' contradicts itself: '8q' means 8 GB and '16GB' says 16 GB; "
        "write v100-8q-8GB or v100-16q-16GB",
        "models.two.objective_p95_ms: should be a valid integer",
        "models.two.autoscalling: unknown key; remove it or correct its spelling",
        "models.three: objective_p95_ms is 0; at least 1",
        "models.three: max_replicas is 1; at least min_replicas, which is 3",
        "models.four: expected a mapping",
        "models.five.slot: missing; it has no default",
        "models.five.objective_p95_ms: missing; it has no default",
        "models.five.autoscaling.priority: should be a valid integer",
        "models.five.autoscaling.max_replica: unknown key; remove it or correct its spelling",
        "policy.window: unknown key; remove it or correct its spelling",
        "policy.recent_s: 'abc' is no number",
        "policy: max_age_s is -1.0; above 0",
        "guardrails.step_up_count: 1.5 is no whole number",
        "guardrails.settle_up_s: True is no number",
        "guardrails.step_up_ratio: nan is no number",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, ["the file: expected a mapping"]),
        ([1], ["the file: expected a mapping"]),
        ({}, ["models: missing; it has no default"]),
        ({"models": {}}, ["models: empty; name at least one model"]),
        ({"models": 3, "policy": 1}, ["models: expected a mapping", "policy: expected a mapping"]),
        ({"models": {"m": MODEL}, "model": {}}, ["model: unknown key; remove it or correct its spelling"]),
    ],
)
def test_a_file_that_is_none_is_said_to_be_so(document: Any, said: list[str]) -> None:
    assert problems(document) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"models: [", "not YAML: while parsing"),
        (b"models: {a: {}, a: {}}", "not YAML: the key 'a' is given twice; remove one of them"),
        (b"\xff\xfe\x00", "not YAML: "),
        (b"", "the file: expected a mapping"),
        *((content, "not YAML: ") for content in NO_VALUES),
    ],
)
def test_a_file_that_cannot_be_parsed_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(content)
    with pytest.raises(config.ConfigError) as caught:
        config.load(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: {said}")


def test_an_objective_that_the_data_plane_refuses_is_refused_here_too() -> None:
    document = {"models": {"m": {**MODEL, "objective_p95_ms": 600_001}}}
    assert problems(document) == ["models.m.objective_p95_ms: should be less than or equal to 600000"]
    with pytest.raises(serving_config.ConfigError, match=r"models\.m\.objective_p95_ms: should be less than"):
        serving_config.parse(document)


@pytest.mark.parametrize(("parameters", "said"), NOT_JSON)
def test_parameters_are_json(parameters: str, said: str) -> None:
    document = {"models": {"m": {**MODEL, "parameters": yaml.safe_load(parameters)}}}
    assert problems(document) == [f"models.m.parameters: {said}"]


def test_a_file_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(config.ConfigError) as caught:
        config.load(path)
    assert str(caught.value) == f"{path}: No such file or directory; give a readable models file"


def test_every_problem_of_a_file_carries_its_name(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("models: {a: 1, b: 2}")
    with pytest.raises(config.ConfigError) as caught:
        config.load(path)
    assert str(caught.value).splitlines() == [
        f"{path}: models.a: expected a mapping", f"{path}: models.b: expected a mapping",
    ]  # fmt: skip


def test_the_shipped_file_is_read_by_the_autoscaler_and_by_the_data_plane_alike() -> None:
    read, served = config.load(DEMO), serving_config.load(DEMO)
    assert [(model.name, model.objective_p95_ms) for model in read.models] == [
        (model.name, model.objective_p95_ms) for model in served.models
    ]
    assert [pool.name for pool in read.pools] == [POOL]
    assert all(model.max_replicas >= 2 for model in read.models)


def test_the_data_planes_own_keys_are_known_here() -> None:
    """A key that only one of the two knows would be refused by the other."""
    shared = {"name"}  # the key above the section
    assert set(serving_config.ModelConfig.model_fields) - shared == set(config.ModelSection.model_fields)
    assert set(serving_config.ServingConfig.model_fields) == set(config.File.model_fields)


def test_a_model_may_name_several_slot_types() -> None:
    listed = config.parse({"models": {"a": {**MODEL, "slot": [SLOT, "GRID T4-4Q"]}}, "card_costs": {"v100": 2.5}})
    assert [(model.pool, model.further_pools) for model in listed.models] == [(POOL, ("workers-t4-4q-4gb",))]
    assert [(pool.name, pool.profile.label, pool.card_cost) for pool in listed.pools] == [
        (POOL, SLOT, 2.5),
        ("workers-t4-4q-4gb", "t4-4q-4GB", 1.0),
    ]


def test_a_list_of_one_slot_type_is_that_slot_type() -> None:
    assert config.parse({"models": {"a": {**MODEL, "slot": [SLOT]}}}) == config.parse({"models": {"a": MODEL}})


@pytest.mark.parametrize(
    ("slot", "problem"),
    [
        ([], "the list is empty; name at least one slot type"),
        ([SLOT, SLOT], f"'{SLOT}' and '{SLOT}' are the same slot type; name it once"),
        ([SLOT, "GRID V100-8Q"], f"'{SLOT}' and 'GRID V100-8Q' are the same slot type; name it once"),
        (
            [SLOT, "tape"],
            "'tape' is no vGPU profile; write <board>-<GB><series>-<GB>GB such as v100-8q-8GB, or NVIDIA's name such "
            "as A100-1-5CME",
        ),
        ([8], "8 in the list is no slot type; write one such as v100-8q-8GB"),
        (8, "8 is no slot type; write one such as v100-8q-8GB, or a list of several"),
    ],
)
def test_a_list_of_slot_types_that_cannot_be_is_refused(slot: object, problem: str) -> None:
    assert problems({"models": {"a": {**MODEL, "slot": slot}}}) == [f"models.a.slot: {problem}"]


def test_what_fractions_are_cut_from_has_a_cost_of_its_own() -> None:
    models = {"a": {**MODEL, "slot": ["fraction:500", SLOT]}}
    made = config.parse({"models": models, "card_costs": {"fraction": 2, "v100": 3}})
    assert {pool.name: pool.slot_cost for pool in made.pools} == {
        "workers-fraction-500": 1.0,
        config.pool_name(SLOT): 1.5,
    }


def test_costs_are_of_boards_that_are_there() -> None:
    costs = {"t4": 1, "v100": 0}
    assert problems({"models": {"a": MODEL}, "card_costs": costs}) == [
        "card_costs.t4: no slot type of this file has that board; those here: v100",
        "card_costs.v100: 0 is no cost; above 0, and finite",
    ]
    assert problems({"models": {"a": MODEL}, "card_costs": {"v100": "dear"}}) == [
        "card_costs.v100: 'dear' is no number"
    ]


def test_what_the_file_says_beside_the_specification_is_kept() -> None:
    read = config.parse_file({
        "models": {
            "a": {**MODEL, "source": "synthetic", "tenant": "search"},
            "b": {**MODEL, "kind": "file_type"},
            "c": MODEL,
            "d": {**MODEL, "source": "onnx:https://user:word@host/m.onnx?signature=1"},
        },
        "tenants": {"search": {"max_slots": 1}},
    })  # fmt: skip
    assert read.about == (
        ModelAbout(name="a", source="synthetic", tenant="search"),
        ModelAbout(name="b", source="file_type"),
        ModelAbout(name="c", source=""),
        ModelAbout(name="d", source="onnx:https://host/m.onnx"),
    )


def test_the_old_name_of_source_is_refused_beside_the_new_one() -> None:
    assert problems({"models": {"a": {**MODEL, "source": "synthetic", "kind": "synthetic"}}}) == [
        "models.a: `kind` is the old name of `source`; keep `source` and remove `kind`"
    ]


def test_a_model_does_other_work_when_its_source_or_parameters_change() -> None:
    def work(**given: Any) -> str:
        return config.parse_file({"models": {"a": {**MODEL, **given}}}).work["a"]

    usual = work(source="synthetic", parameters={"b": 1, "a": 2})
    assert work(kind="synthetic", parameters={"a": 2, "b": 1}, objective_p95_ms=500) == usual
    assert work(source="file_type", parameters={"b": 1, "a": 2}) != usual
    assert work(source="synthetic", parameters={"b": 1}) != usual


def test_a_model_of_a_tenant_that_is_not_there_is_refused() -> None:
    assert problems({"models": {"a": {**MODEL, "tenant": "x"}}, "tenants": {"search": {"max_slots": 1}}}) == [
        "models.a.tenant: 'x' is none of tenants; add it there, or correct the name: the tenants here are search"
    ]
    assert problems({"models": {"a": {**MODEL, "tenant": "x"}}}) == [
        "models.a.tenant: 'x' is none of tenants; add it there, or correct the name: the file has no tenants"
    ]


def test_the_models_of_a_tenant_may_not_outgrow_its_slots_together() -> None:
    def of(tenant: str | None, most: int) -> dict[str, Any]:
        return {**MODEL, "autoscaling": {"max_replicas": most}, **({"tenant": tenant} if tenant else {})}

    models = {"a": of("search", 4), "b": of("search", 3), "c": of("shop", 2), "d": of(None, 9)}
    tenants = {"search": {"max_slots": 5}, "shop": {"max_slots": 2}, "empty": {"max_slots": 1}}
    assert problems({"models": models, "tenants": tenants}) == [
        "tenants.search.max_slots: 5, and the max_replicas of its models are 7 together (a 4, b 3); "
        "lower max_replicas, or give the tenant more slots"
    ]


@pytest.mark.parametrize(
    ("tenants", "problem"),
    [
        ({"t": {}}, "tenants.t.max_slots: missing; it has no default"),
        ({"t": None}, "tenants.t: expected a mapping"),
        ({"t": {"max_slots": 0}}, "tenants.t.max_slots: should be greater than or equal to 1"),
        ({"t": {"max_slots": "5"}}, "tenants.t.max_slots: should be a valid integer"),
        ({"t": {"max_slots": 1, "most": 1}}, "tenants.t.most: unknown key; remove it or correct its spelling"),
        (["t"], "tenants: expected a mapping"),
    ],
)
def test_a_tenant_that_cannot_be_is_refused(tenants: Any, problem: str) -> None:
    assert problems({"models": {"a": MODEL}, "tenants": tenants}) == [problem]


@given(
    most=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    slots=st.integers(1, 40),
)
def test_a_share_is_kept_exactly_when_the_sum_fits(most: list[int], slots: int) -> None:
    mine = {**MODEL, "tenant": "t"}
    models = {f"m{index}": {**mine, "autoscaling": {"max_replicas": count}} for index, count in enumerate(most)}
    document = {"models": models, "tenants": {"t": {"max_slots": slots}}}
    if sum(most) <= slots:
        assert len(config.parse(document).models) == len(most)
    else:
        (problem,) = problems(document)
        assert f"{slots}, and the max_replicas of its models are {sum(most)} together" in problem


@pytest.mark.parametrize("content", ["models: {minilm: {revision: 2024-13-01}}", "[" * 3000])
def test_what_the_yaml_parser_cannot_say_is_a_problem_of_the_file(content: str, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(content)
    for read, refusal in ((config.load, config.ConfigError), (serving_config.load, serving_config.ConfigError)):
        with pytest.raises(refusal, match="not YAML"):
            read(path)


def test_a_number_beyond_every_float_is_a_problem_of_the_file() -> None:
    huge = 10**400
    given = {"policy": {"window_s": huge}, "guardrails": {"settle_up_s": -huge}, "card_costs": {"v100": huge}}
    said = problems({"models": {"minilm": MODEL}, **given})
    assert [line.partition(":")[0] for line in said] == ["card_costs.v100", "policy.window_s", "guardrails.settle_up_s"]
