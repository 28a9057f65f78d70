"""The wire format, key by key: tests/goldens/extender has what kube-scheduler sends and what it gets.

Rewrite the answers with `python -m tests.unit.extender.test_wire`.
"""

import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from tests.unit.extender import build
from tests.unit.extender.cluster import MemoryCluster
from vgpu.core import allocation
from vgpu.extender import webhook, wire
from vgpu.extender.desk import Desk
from vgpu.extender.metrics import Tally
from vgpu.extender.readiness import Readiness
from vgpu.extender.service import Extender

GOLDENS = Path(__file__).parents[2] / "goldens" / "extender"
NODES = ("small", "large", "plain")


def extender() -> Extender:
    """Three nodes: one GPU, two GPUs, none; ready."""
    readiness = Readiness(clock=time.monotonic, synced={"nodes", "pods"}, leads_until_s=1e18, is_rebuilt=True)
    cluster = MemoryCluster()
    made = Extender(Desk(), cluster, readiness=readiness, tally=Tally(CollectorRegistry()), tell=cluster.told.append)
    for node in nodes():
        made.desk.see_node(node)
    return made


def nodes() -> list[Any]:
    return [build.node("small", 16384), build.node("large", 16384, 32768), {"metadata": {"name": "plain"}}]


def filter_body(pod: Any, *, with_nodes: bool = False) -> bytes:
    if with_nodes:
        return orjson.dumps({"Pod": pod, "Nodes": {"metadata": {}, "items": nodes()}, "NodeNames": None})
    return orjson.dumps({"Pod": pod, "Nodes": None, "NodeNames": list(NODES)})


def answers() -> dict[str, Any]:
    """Every answer that is a golden."""
    fits, wrong = build.share("fits", 500), build.share("wrong", 1500)
    large, plain = build.share("large", 3000), build.pod("plain", build.container("main"))
    admission = {"request": {"uid": "r-1", "namespace": "default", "object": fits}}
    refused = {"request": {"uid": "r-2", "namespace": "default", "object": wrong}}
    made = extender()
    found = {
        "filter": made.filter(wire.parse_filter(filter_body(fits))),
        "filter_nodes": extender().filter(wire.parse_filter(filter_body(fits, with_nodes=True))),
        "filter_nowhere": made.filter(wire.parse_filter(filter_body(large))),
        "filter_refused": made.filter(wire.parse_filter(filter_body(wrong))),
        "filter_plain": made.filter(wire.parse_filter(filter_body(plain))),
        "filter_error": wire.render_filter_error("why"),
        "prioritize": made.prioritize(wire.parse_filter(filter_body(fits))),
        "prioritize_unpromised": extender().prioritize(wire.parse_filter(filter_body(fits))),
        "bind": wire.render_bind(),
        "bind_error": wire.render_bind("why"),
        "preempt": wire.render_preempt({"small": (("uid-a",), 1)}),
        "mutate": webhook.review(orjson.dumps(admission)),
        "mutate_refused": webhook.review(orjson.dumps(refused)),
    }
    return {name: json.loads(text) for name, text in found.items()}


@pytest.mark.parametrize("name", sorted(answers()))
def test_the_answer_is_as_it_was(name: str) -> None:
    assert answers()[name] == json.loads((GOLDENS / f"{name}.json").read_text())


def test_no_list_of_an_answer_is_ever_null() -> None:
    def nulls(value: Any) -> bool:
        if isinstance(value, dict):
            return any(nulls(item) for item in value.values())
        return any(nulls(item) for item in value) if isinstance(value, list) else value is None

    assert [name for name, answer in answers().items() if nulls(answer)] == []


def test_keys_are_read_in_any_case() -> None:
    pod = build.share("p", 500)
    expected = wire.FilterRequest(pod=pod, names=["n"], nodes=None)
    for spelling in (str, str.lower, str.upper):
        body = {spelling("Pod"): pod, spelling("NodeNames"): ["n"]}
        assert wire.parse_filter(orjson.dumps(body)) == expected
    bind = {"podname": "p", "podnamespace": "default", "poduid": "u", "node": "n"}
    assert wire.parse_bind(orjson.dumps(bind)) == wire.BindRequest(name="p", namespace="default", uid="u", node="n")


def test_victims_come_as_uids_or_as_pods() -> None:
    pod = build.share("p", 500)
    expected = wire.PreemptRequest(pod=pod, victims={"n": (("u",), 2)})
    meta = {"Pod": pod, "NodeNameToMetaVictims": {"n": {"Pods": [{"UID": "u"}], "NumPDBViolations": 2}}}
    full = {"Pod": pod, "NodeNameToVictims": {"n": {"Pods": [{"metadata": {"uid": "u"}}], "NumPDBViolations": 2}}}
    assert [wire.parse_preempt(orjson.dumps(body)) for body in (meta, full)] == [expected, expected]


MALFORMED = {
    "no JSON": (b"{", "the body is no JSON"),
    "no object": (b"[]", "the body must be an object"),
    "no pod": (b'{"NodeNames": []}', "Pod must be an object"),
    "no uid": (b'{"Pod": {"metadata": {"name": "p"}}, "NodeNames": []}', "Pod.metadata.uid is missing"),
    "no nodes": (
        b'{"Pod": {"metadata": {"name": "p", "uid": "u"}}}',
        "NodeNames and Nodes are both missing; the scheduler's extender configuration decides which",
    ),
    "names of another kind": (
        b'{"Pod": {"metadata": {"name": "p", "uid": "u"}}, "NodeNames": [1]}', "NodeNames must be a list of names",
    ),
    "nodes without names": (
        b'{"Pod": {"metadata": {"name": "p", "uid": "u"}}, "Nodes": {"items": [{}]}}',
        "Nodes.items must be nodes with metadata.name",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "why"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_of_the_protocol_is_refused_with_a_reason(body: bytes, why: str) -> None:
    with pytest.raises(wire.Malformed) as refusal:
        wire.parse_filter(body)
    assert str(refusal.value).startswith(why)


def test_the_webhook_keeps_other_entries_and_replaces_its_own() -> None:
    own = [{"name": "A", "value": "1"}, {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
    pod = build.pod("p", build.container("x"), build.container("y", 500, env=own))
    (operation,) = webhook.patch_for(pod)
    assert (operation["op"], operation["path"]) == ("add", "/spec/containers/1/env")
    ours = allocation.environment("y")
    assert operation["value"] == [*ours, {"name": "A", "value": "1"}]


if __name__ == "__main__":
    for name, answer in answers().items():
        (GOLDENS / f"{name}.json").write_text(json.dumps(answer, indent=2) + "\n")
