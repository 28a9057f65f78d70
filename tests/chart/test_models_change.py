"""A model is a value: what a changed `models` renders differently, and what every other object is spared."""

import re
from typing import Any

import pytest

from autoscaler.config import parse, pool_name
from tests.chart.helm import named, of_kind, render, title
from tests.chart.models_documents import SLOTS
from tests.chart.pods import pod_templates
from vgpu import yaml_document
from vgpu.core import names
from vgpu.core.slot_type import Fraction, parse_slot_type

Json = Any
MODEL = {"source": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200}
BEFORE = {"filetype": None, "one": MODEL}
FULLNAME = "r-vgpu-serve"


def by_title(models: Json, **others: Json) -> dict[str, Json]:
    return {title(entry): entry for entry in render({"models": models, **others})}


def changed(models: Json, **others: Json) -> set[str]:
    """Which objects another set of models adds, changes or removes; secrets are drawn anew without a cluster."""
    before, after = by_title(BEFORE), by_title(models, **others)
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} - {
        f"Secret {FULLNAME}-ray-token"
    }


FILES = {f"ConfigMap {FULLNAME}-models", f"ConfigMap {FULLNAME}-models-check"}


@pytest.mark.parametrize(
    "models",
    [
        {**BEFORE, "two": MODEL},
        {**BEFORE, "one": {**MODEL, "objective_p95_ms": 300}},
        {**BEFORE, "one": {**MODEL, "serving": {"max_batch_size": 16}, "autoscaling": {"max_replicas": 9}}},
        {"filetype": None, "other": MODEL},
    ],
    ids=["one more", "another objective", "other settings", "another instead"],
)
def test_models_on_the_same_slots_change_the_file_alone(models: Json) -> None:
    assert changed(models) == FILES


def test_settings_of_the_autoscaler_change_the_file_alone() -> None:
    assert changed(BEFORE, policy={"window_s": 20}, guardrails={"settle_up_s": 1}, card_costs={"v100": 2}) == FILES


def test_another_slot_type_adds_its_pool_and_what_belongs_to_it() -> None:
    new = "workers-a100-1-5cme-5gb"
    found = changed({**BEFORE, "two": {**MODEL, "slot": "NVIDIA A100-1-5CME"}})
    assert found - FILES == {f"Deployment {new}", f"PodDisruptionBudget {new}", f"Role {FULLNAME}-autoscaler"}


def test_a_pool_without_models_goes() -> None:
    assert "Deployment workers-v100-8q-8gb" in changed({"filetype": None, "one": {**MODEL, "slot": "fraction:500"}})


def test_the_file_is_what_the_values_say() -> None:
    given = {
        "models": {"filetype": None, "one": {**MODEL, "parameters": {"nested": [1, {"a": "yes"}]}, "tenant": "shop"}},
        "tenants": {"shop": {"max_slots": 4}},
        "policy": {"window_s": 20, "calm_ratio": 0.65},
        "guardrails": {"step_up_count": 3},
        "card_costs": {"v100": 2.5},
    }
    written = yaml_document.load(named(render(given), "ConfigMap", f"{FULLNAME}-models")["data"]["models.yaml"])
    assert written == {**given, "models": {"one": given["models"]["one"]}}
    assert [model.name for model in parse(written).models] == ["one"]


def test_large_numbers_stay_numbers() -> None:
    """Helm holds numbers as floats of 64 bits and writes some of them as text would be."""
    serving = {"max_body_bytes": 1 << 30, "max_queue": 100_000, "max_wait_ms": 0.5, "max_deadline_ms": 60_000}
    models = {"filetype": None, "one": {**MODEL, "serving": serving}}
    text = named(render({"models": models}), "ConfigMap", f"{FULLNAME}-models")["data"]["models.yaml"]
    assert yaml_document.load(text)["models"]["one"]["serving"] == serving


TEXTS = ("=", "<<", "yes", "1e-06", "1:30", "0o17", "1_000", "2001-01-01", "null", "{{ .Values }}", "- a", "", " a\n b")


def test_every_value_is_read_as_it_was_written() -> None:
    """Helm writes YAML 1.2; the processes read its numbers as such."""
    parameters: Json = {f"p{place}": text for place, text in enumerate(TEXTS)} | {"list": list(TEXTS)}
    parameters |= {"small": [1e-06, -2e-08, 1.5e-07], "large": [1e21, 5e30], "counts": [1_000_000, 1 << 40]}
    models = {"filetype": None, "one": {**MODEL, "parameters": parameters}}
    text = named(render({"models": models}), "ConfigMap", f"{FULLNAME}-models")["data"]["models.yaml"]
    assert yaml_document.load(text)["models"]["one"]["parameters"] == parameters


def test_the_check_reads_the_same_file() -> None:
    objects = render({"models": BEFORE})
    of_check = named(objects, "ConfigMap", f"{FULLNAME}-models-check")
    assert of_check["data"] == named(objects, "ConfigMap", f"{FULLNAME}-models")["data"]
    hooks = of_check["metadata"]["annotations"]["helm.sh/hook"]
    assert {"pre-install", "pre-upgrade"} <= {hook.strip() for hook in hooks.split(",")}


def test_the_file_is_mounted_as_a_directory() -> None:
    """A file mounted by subPath never changes in a running pod."""
    mounts = {
        f"{pod.component} {container['name']}": mount
        for pod in pod_templates(render({"models": BEFORE}))
        for container in pod.containers
        for mount in container.get("volumeMounts", ())
        if mount["mountPath"].startswith("/etc/vgpu-serve/models")
    }
    assert len(mounts) >= 4, mounts
    assert {key: mount for key, mount in mounts.items() if "subPath" in mount} == {}
    assert {mount["mountPath"].rstrip("/") for mount in mounts.values()} == {"/etc/vgpu-serve/models"}


def test_no_pod_restarts_when_the_file_changes() -> None:
    """No pod carries a checksum of the models: the processes take changes up live."""
    one = {pod.owner: pod for pod in pod_templates(render({"models": BEFORE}))}
    other = {pod.owner: pod for pod in pod_templates(render({"models": {**BEFORE, "two": MODEL}}))}
    assert one.keys() == other.keys()
    assert [
        owner for owner in one if (one[owner].spec, one[owner].metadata) != (other[owner].spec, other[owner].metadata)
    ] == []


@pytest.mark.parametrize("backend", ["deployments", "kuberay"])
def test_pools_are_named_and_placed_as_the_autoscaler_reads_slot_types(backend: str) -> None:
    """Every spelling of a slot type; the chart derives pool and node label from it by itself."""
    models: Json = {f"m{place}": {**MODEL, "slot": text} for place, text in enumerate(SLOTS)}
    models |= {"filetype": None, "wide": {**MODEL, "slot": ["v100-8q-8GB", "l4-24c-24GB"]}}
    objects = render({"models": models, "workers": {"backend": backend}})
    shapes = {parse_slot_type(text) for text in SLOTS} | {parse_slot_type("l4-24c-24GB")}
    wanted = {
        pool_name(shape.label): (
            {names.RESOURCE_VGPU: str(shape.units)} if isinstance(shape, Fraction) else {names.RESOURCE_GPU: "1"},
            None if isinstance(shape, Fraction) else shape.label,
        )
        for shape in shapes
    }
    found = {}
    for pod in pod_templates(of_kind(objects, "Deployment", "RayCluster")):
        pool = pod.metadata.get("labels", {}).get(names.LABEL_POOL)
        if pool:
            [container] = [each for each in pod.spec["containers"] if _devices(each)]
            selector = pod.spec.get("nodeSelector", {}).get(names.LABEL_PROFILE)
            found[pool] = ({key: str(count) for key, count in _devices(container).items()}, selector)
    assert found == wanted
    assert {pool.name for pool in parse({"models": {k: v for k, v in models.items() if v}}).pools} == wanted.keys()


def _devices(container: Json) -> Json:
    limits = container.get("resources", {}).get("limits", {})
    return {key: count for key, count in limits.items() if re.match(r"nvidia\.com/", key)}


def test_the_autoscaler_owns_the_count_of_workers() -> None:
    pools = [
        entry
        for entry in of_kind(render({"models": BEFORE}), "Deployment")
        if names.LABEL_POOL in entry["spec"]["template"]["metadata"]["labels"]
    ]
    assert pools
    assert [title(pool) for pool in pools if "replicas" in pool["spec"]] == []
