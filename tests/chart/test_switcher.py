"""The switcher in the chart: off unless asked for, its file passed on as it is, credentials in Secrets alone."""

import json
from copy import deepcopy
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from helm.generate.switcher_file import config as schema_of_file
from tests.chart.helm import CHART, RELEASE, VERSIONS, named, of_kind, render, template, title
from tests.chart.pods import pod_templates
from vgpu import yaml_document
from vgpu.switcher.config import ConfigError, parse

Json = Any
NAME = f"{RELEASE}-vgpu-serve"
VALUES = CHART / "ci" / "switcher-values.yaml"
GIVEN = yaml.safe_load(VALUES.read_text())["switcher"]
FOLDER = "/etc/vgpu-serve/credentials"
DEFINITIONS = json.loads((CHART / "values.schema.json").read_text())["definitions"]
VALIDATOR = Draft7Validator({**schema_of_file(), "definitions": DEFINITIONS})
LEAST: Json = {
    "gpus": {"gpu-a": {"board": "v100", "provider": "lab"}},
    "layouts": {"day": {"gpu-a": [{"node": "node-1", "profile": "v100-4q-4GB"}]}},
    "providers": {"lab": {"kind": "libvirt", "uri": "test:///default"}},
}
VSPHERE: Json = {
    "kind": "vsphere",
    "host": "vcenter.example.com",
    "user_file": f"{FOLDER}/lab/user",
    "password_file": f"{FOLDER}/lab/password",
}
EMULATED: Json = {"kind": "emulated", "url": "http://host:8080", "token_file": f"{FOLDER}/lab/token"}
NODES = ("node-1", "node-2", "node-5", "node-6", "node-7", "node-8")


def with_config(config: Json, **settings: Json) -> Json:
    return {"switcher": {"enabled": True, "config": config, **settings}}


def changed(path: str, value: Json) -> Json:
    """The least file with one thing changed or, for None, taken out."""
    made = deepcopy(LEAST)
    *holders, last = path.split(".")
    at = made
    for holder in holders:
        at = at[int(holder)] if isinstance(at, list) else at.setdefault(holder, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return made


def test_its_file_is_read_before_anything_changes() -> None:
    objects = render(with_config(LEAST))
    data = named(objects, "ConfigMap", f"{NAME}-models-check")["data"]
    assert data["switcher.yaml"] == named(objects, "ConfigMap", f"{NAME}-switcher")["data"]["switcher.yaml"]
    (job,) = of_kind(objects, "Job")
    (command,) = (
        each["command"] for each in job["spec"]["template"]["spec"]["containers"] if each["name"] == "switcher"
    )
    assert command == ["python", "-m", "vgpu.switcher", "--check", "/etc/vgpu-serve/models/switcher.yaml"]


def test_it_is_off_by_default() -> None:
    labelled = "app.kubernetes.io/component"
    assert [title(entry) for entry in render() if entry["metadata"]["labels"].get(labelled) == "switcher"] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_switcher_reads_what_was_written(version: str) -> None:
    """Though Helm takes times of day and dates for something else on the way."""
    data = named(render(files=(VALUES,), version=version), "ConfigMap", f"{NAME}-switcher")["data"]
    read = parse(yaml_document.load(data["switcher.yaml"]), interval_s=2)
    assert read == parse(GIVEN["config"], interval_s=2)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_small_number_stays_a_number(version: str) -> None:
    given = changed("policy", {"announce_s": 1e-06, "late_s": 1_000_000})
    data = named(render(with_config(given), version=version), "ConfigMap", f"{NAME}-switcher")["data"]
    assert parse(yaml_document.load(data["switcher.yaml"]), interval_s=2) == parse(given, interval_s=2)


def test_a_change_of_the_file_restarts_nothing() -> None:
    one, other = (
        named(render(with_config(config)), "Deployment", f"{NAME}-switcher")
        for config in (LEAST, changed("schedule", [{"layout": "day", "at": "07:00"}]))
    )
    assert one == other


def test_secrets_are_mounted_where_the_file_says() -> None:
    [pod] = [pod for pod in pod_templates(render(files=(VALUES,))) if pod.component == "Deployment switcher"]
    mounts = {mount["mountPath"]: mount for mount in pod.container("switcher")["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    for name, secret in GIVEN["credentials"].items():
        mount = mounts[f"{FOLDER}/{name}"]
        held = {"name": mount["name"], "secret": {"secretName": secret["secretName"], "defaultMode": 0o440}}
        assert (mount["readOnly"], volumes[mount["name"]]) == (True, held)
    assert mounts["/etc/vgpu-serve/switcher"]["readOnly"]
    assert "subPath" not in mounts["/etc/vgpu-serve/switcher"], "a file by itself would never change"


REFUSED = {
    "no GPUs": (changed("gpus", {}), "switcher.config.gpus: missing"),
    "no providers": (changed("providers", None), "switcher.config.providers: missing"),
    "a password": (
        changed("providers.lab", {**VSPHERE, "password": "hunter2"}),
        "switcher.config.providers.lab.password: values are no place for credentials",
    ),
    "a token": (
        changed("providers.lab", {**EMULATED, "token": "hunter2"}),
        f"and give token_file: {FOLDER}/NAME/token",
    ),
    "a file of the image": (
        changed("providers.lab", {**VSPHERE, "ca_file": "/etc/ssl/ca.crt"}),
        "providers.lab.ca_file: /etc/ssl/ca.crt lies in none of switcher.credentials (lab)",
    ),
    "a Secret that is not named": (
        changed("providers.lab", {**VSPHERE, "user_file": f"{FOLDER}/other/user"}),
        f"providers.lab.user_file: {FOLDER}/other/user lies in none",
    ),
    "a way out of the folder": (
        changed("providers.lab", {**VSPHERE, "user_file": f"{FOLDER}/lab/../../x"}),
        "providers.lab.user_file: ",
    ),
    "a folder that begins like one": (
        changed("providers.lab", {**VSPHERE, "user_file": f"{FOLDER}/lab2/user"}),
        "providers.lab.user_file: ",
    ),
    "a password in a URI": (
        changed("providers.lab.uri", "qemu+libssh2://root:hunter2@host/system"),
        "switcher.config.providers.lab.uri: has a password in it",
    ),
    "TLS without certificates": (
        changed("providers.lab.uri", "qemu+tls://host/system"),
        "switcher.config.providers.lab.uri: names no certificates",
    ),
    "certificates of the image": (
        changed("providers.lab.uri", "qemu+tls://host/system?no_tty=1&pkipath=/etc/pki"),
        "switcher.config.providers.lab.uri, pkipath: /etc/pki lies in none of switcher.credentials (lab)",
    ),
    "a key of the image": (
        changed("providers.lab.uri", "qemu+libssh2://root@host/system?keyfile=/root/.ssh/id"),
        "switcher.config.providers.lab.uri, keyfile: /root/.ssh/id lies in none",
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("config", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_place_for_secrets_is_refused_with_the_remedy(config: Json, said: str, version: str) -> None:
    outcome = template(json.dumps(with_config(config, credentials={"lab": {"secretName": "vcenter"}})), version=version)
    assert outcome.status != 0
    assert said in outcome.said
    assert "hunter2" not in outcome.said, "what is refused is told to everybody who reads the log"


WRONG = {
    "a misspelt section": changed("layout", {}),
    "a misspelt key of a GPU": changed("gpus.gpu-a.bord", "v100"),
    "an unknown board": changed("gpus.gpu-a.board", "z9"),
    "an unknown policy": changed("gpus.gpu-a.policy", "fair"),
    "no provider": changed("gpus.gpu-a.provider", None),
    "no card": changed("gpus.gpu-a.cards", 0),
    "a name with capitals": changed("gpus.GPU", {"board": "v100", "provider": "lab"}),
    "a layout's name with capitals": changed("layouts.Day", {}),
    "a slot type that is none": changed("gpus.gpu-a.allowed", ["v100-5x"]),
    "a guest without a node": changed("layouts.day.gpu-a.0.node", None),
    "a profile larger than its card": changed("layouts.day.gpu-a.0.profile", "v100-32q-32GB"),
    "a guest that is none": changed("layouts.day.gpu-a", ["node-1"]),
    "a time that is none": changed("schedule", [{"layout": "day", "at": "7:00"}]),
    "a time after midnight": changed("schedule", [{"layout": "day", "at": "24:00"}]),
    "a day that is none": changed("schedule", [{"layout": "day", "at": "07:00", "days": ["monday"]}]),
    "no day": changed("schedule", [{"layout": "day", "at": "07:00", "days": []}]),
    "a date that is none": changed("schedule", [{"layout": "day", "at": "07:00", "dates": ["24.12.2026"]}]),
    "a node that cannot be": changed("layouts.day.gpu-a.0.node", "../node-1"),
    "a configuration that is no label": changed("layouts.day.gpu-a.0.config", "all 1g"),
    "an unknown way": changed("policy.way", "kill"),
    "an unknown step": changed("policy.timeouts_s", {"uncordon": 5}),
    "no time": changed("policy.timeouts_s", {"ready": 0}),
    "negative seconds": changed("policy.announce_s", -1),
    "a number as text": changed("on_demand.after_s", "120"),
    "an unknown kind": changed("providers.lab.kind", "xen"),
    "no kind": changed("providers.lab.kind", None),
    "a key of another kind": changed("providers.lab.host", "h"),
    "a port that is none": changed("providers.lab", {**VSPHERE, "port": 0}),
}
RIGHT = {
    "the least": LEAST,
    "another case": changed("gpus.gpu-a.board", "V100"),
    "NVIDIA's spelling": changed("layouts.day.gpu-a.0.profile", "GRID V100-4Q"),
    "vSphere": changed("providers.lab", {**VSPHERE, "verify": False, "port": 8443, "datacenter": "lab"}),
    "whole seconds": changed("policy.timeouts_s", {"ready": 600}),
    "seconds of a time": changed("schedule", [{"layout": "day", "at": "23:59:59", "days": ["mon"]}]),
}


@pytest.mark.parametrize("config", WRONG.values(), ids=WRONG)
def test_the_schema_refuses_what_the_switcher_refuses(config: Json) -> None:
    with pytest.raises(ConfigError):
        parse(config, interval_s=2)
    assert not VALIDATOR.is_valid(config)


@pytest.mark.parametrize("config", [*RIGHT.values(), GIVEN["config"]], ids=[*RIGHT, "the values of ci"])
def test_the_schema_accepts_what_the_switcher_accepts(config: Json) -> None:
    parse(config, interval_s=2)
    as_json = json.loads(json.dumps(config, default=str))
    assert [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(as_json)] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["a misspelt key of a GPU", "no time", "an unknown kind", "a key of another kind"])
def test_both_majors_refuse_a_wrong_file(name: str, version: str) -> None:
    outcome = template(json.dumps(with_config(WRONG[name])), version=version)
    assert outcome.status != 0
    assert "schema" in outcome.said, outcome.said


def test_it_keeps_off_the_nodes_that_it_switches() -> None:
    """On one of them it would wait for its own pod to leave."""
    spec = named(render(files=(VALUES,)), "Deployment", f"{NAME}-switcher")["spec"]["template"]["spec"]
    [term] = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in NODES]}


def test_an_affinity_of_the_values_stands_instead() -> None:
    mine: Json = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    other: Json = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    found = [
        named(render(with_config(LEAST, affinity=given)), "Deployment", f"{NAME}-switcher")["spec"]["template"]["spec"]
        for given in (mine, other)
    ]
    assert found[0]["affinity"] == mine
    assert found[1]["affinity"].keys() == {"nodeAffinity", "podAntiAffinity"}


def policies(objects: tuple[Json, ...]) -> dict[str, Json]:
    return {entry["metadata"]["name"]: entry["spec"] for entry in of_kind(objects, "NetworkPolicy")}


def test_the_autoscaler_hears_the_switcher_and_nobody_else() -> None:
    assert f"{NAME}-autoscaler" not in policies(render())
    spec = policies(render(with_config(LEAST)))[f"{NAME}-autoscaler"]
    [rule] = spec["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 9106}]
    [peer] = rule["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "switcher"


def test_where_it_may_go_is_bounded_where_the_values_say_so() -> None:
    assert f"{NAME}-switcher-egress" not in policies(render(with_config(LEAST)))
    spec = policies(render(files=(VALUES,)))[f"{NAME}-switcher-egress"]
    assert spec["policyTypes"] == ["Egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [9106], [6443], [443]]


def test_two_switchers_in_a_cluster_are_refused() -> None:
    """By an object that both would have: of two, neither would know what the other cuts."""
    others = {"fullnameOverride": "other"}
    one, other = ({title(entry) for entry in render(with_config(LEAST) | more)} for more in ({}, others))
    assert "ClusterRole vgpu-serve-switcher" in one & other


def test_who_may_ask_for_switches_may_nothing_else() -> None:
    role = named(render(files=(VALUES,)), "Role", f"{NAME}-switch-operator")
    records = [f"vgpu-switch-{gpu}" for gpu in sorted(GIVEN["config"]["gpus"])]
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": records, "verbs": ["get", "patch"]}
    ]
    roles = of_kind(render(with_config(LEAST)), "Role")
    assert not any("operator" in entry["metadata"]["name"] for entry in roles)
