"""The verbs: what the scheduler, the pod's owner and the metrics are told."""

import time
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from tests.unit.extender import build
from tests.unit.extender.cluster import MemoryCluster
from vgpu.adapters.kube_errors import Unavailable
from vgpu.core import request
from vgpu.extender import binding, outlook, wire
from vgpu.extender.desk import Desk
from vgpu.extender.metrics import LedgerCollector, Tally
from vgpu.extender.readiness import CALL_S, LEASE_S, Readiness
from vgpu.extender.service import Extender


class Rig:
    """An extender that is ready, on a cluster in memory."""

    def __init__(self, *nodes: Any) -> None:
        self.now_s = 0.0
        self.readiness = Readiness(
            clock=lambda: self.now_s, synced={"nodes", "pods"}, leads_until_s=LEASE_S, is_rebuilt=True
        )
        self.cluster, self.registry = MemoryCluster(), CollectorRegistry()
        self.extender = Extender(
            Desk(),
            self.cluster,
            readiness=self.readiness,
            tally=Tally(self.registry),
            tell=self.cluster.told.append,
            clock=lambda: self.now_s,
        )
        self.names = [node["metadata"]["name"] for node in nodes]
        for node in nodes:
            self.extender.desk.see_node(node)

    def ask(self, pod: Any) -> wire.FilterRequest:
        return wire.FilterRequest(pod=pod, names=self.names, nodes=None)

    def filter(self, pod: Any) -> Any:
        return orjson.loads(self.extender.filter(self.ask(pod)))

    def bind(self, pod: Any, node: str) -> str:
        about = pod["metadata"]
        asked = wire.BindRequest(name=about["name"], namespace="default", uid=about["uid"], node=node)
        return self.extender.bind(asked)

    def count(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("vgpu_extender_outcomes_total", {"outcome": outcome})


@pytest.fixture
def rig() -> Rig:
    return Rig(build.node("n0", 16384), build.node("n1", 16384, 16384))


def test_a_pod_is_placed_and_bound_in_one_write(rig: Rig) -> None:
    pod = rig.cluster.api.create(build.share("p", 500))
    assert rig.filter(pod)["NodeNames"] == ["n0"]
    assert rig.bind(pod, "n0") == ""
    assert [kind for kind, _ in rig.cluster.api.told] == ["ADDED", "MODIFIED"]
    bound = rig.cluster.api.pods["default/p"]
    assert bound["spec"]["nodeName"] == "n0"
    assert bound["metadata"]["annotations"]["vgpu-serve.io/allocation"] == "v1 n0 main=500:8192@0/GPU-n0-0"
    assert (rig.count("placed"), rig.count("bound")) == (1.0, 1.0)


def test_a_refused_pod_is_told_why_and_the_books_keep_what_they_had(rig: Rig) -> None:
    good, bad = (rig.cluster.api.create(build.share(name, units)) for name, units in (("g", 600), ("b", 1500)))
    rig.filter(good)
    before = dict(rig.extender.desk.ledger.entries)
    answer = rig.filter(bad)
    why = "pod default/b, container main: nvidia.com/vgpu is 1500, above 1000 and no multiple of it"
    assert (answer["NodeNames"], answer["Error"]) == ([], "")
    assert [reason.startswith(why) for reason in answer["FailedAndUnresolvableNodes"].values()] == [True, True]
    (event,) = rig.cluster.told
    assert (event.subject.name, event.reason, event.is_warning) == ("b", "FractionRefused", True)
    assert event.message.startswith(why)
    assert dict(rig.extender.desk.ledger.entries) == before
    assert rig.count("bad_request") == 1.0


NOT_READY = {
    "no nodes yet": ({"synced": {"pods"}}, "the nodes have not been read yet"),
    "a follower": ({"leads_until_s": None}, "another process leads"),
    "not rebuilt": ({"is_rebuilt": False}, "the ledger is being rebuilt from the pods"),
    "a lease about to end": ({"leads_until_s": CALL_S}, "the lease could not be renewed in time"),
}


@pytest.mark.parametrize(("state", "why"), NOT_READY.values(), ids=NOT_READY)
def test_one_that_may_not_decide_says_so(rig: Rig, state: dict[str, Any], why: str) -> None:
    for name, value in state.items():
        setattr(rig.readiness, name, value)
    pod = rig.cluster.api.create(build.share("p", 500))
    assert rig.filter(pod)["Error"] == f"vgpu-extender is not ready: {why}"
    assert rig.bind(pod, "n0") == f"vgpu-extender is not ready: {why}"
    assert rig.extender.desk.ledger.entries == {}


def test_a_pod_without_units_may_go_anywhere_and_is_bound_plainly(rig: Rig) -> None:
    pod = rig.cluster.api.create(build.pod("p", build.container("main")))
    assert rig.filter(pod)["NodeNames"] == ["n0", "n1"]
    assert rig.bind(pod, "n1") == ""
    assert rig.cluster.api.pods["default/p"]["metadata"]["annotations"] == {}


def whole(name: str) -> Any:
    container = build.container("main")
    container["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    return build.pod(name, container)


def test_whole_gpus_of_the_other_plugin_and_fractions_keep_off_each_other(rig: Rig) -> None:
    share, one = rig.cluster.api.create(build.share("s", 500)), rig.cluster.api.create(whole("w"))
    assert rig.filter(share)["NodeNames"] == ["n0"]
    answer = rig.filter(one)
    assert answer["NodeNames"] == ["n1"]
    assert answer["FailedNodes"] == {
        "n0": "GPUs of node n0 are cut into nvidia.com/vgpu; nvidia.com/gpu could take one of them"
    }
    assert rig.bind(one, "n0").startswith("GPUs of node n0 are cut into")
    assert rig.bind(one, "n1") == ""
    answer = rig.filter(rig.cluster.api.create(build.share("t", 900)))
    assert answer["FailedNodes"]["n1"] == (
        "pod default/w holds nvidia.com/gpu there and nothing says which GPUs those are"
    )


def test_a_failed_binding_frees_the_units_and_says_why(rig: Rig) -> None:
    pod = rig.cluster.api.create(build.share("p", 500))
    rig.filter(pod)
    rig.cluster.api.delete("default/p")
    assert rig.bind(pod, "n0") == "POST binding: no such pod"
    assert rig.extender.desk.ledger.free_units("n0") == (1000,)
    assert rig.count("bind_failed") == 1.0


def test_an_api_server_that_is_away_is_asked_again_later(rig: Rig) -> None:
    pod = rig.cluster.api.create(build.share("p", 500))
    rig.filter(pod)
    rig.cluster.fail_next = Unavailable("POST binding", "connection refused")
    assert rig.bind(pod, "n0") == "POST binding: connection refused"
    assert rig.extender.desk.ledger.free_units("n0") == (500,)  # it may have been written
    assert rig.filter(pod)["NodeNames"] == ["n0"]
    assert rig.bind(pod, "n0") == ""


def test_scores_follow_the_promise(rig: Rig) -> None:
    pod = rig.cluster.api.create(build.share("p", 500))
    rig.filter(pod)
    scores = orjson.loads(rig.extender.prioritize(rig.ask(pod)))
    assert scores == [{"Host": "n0", "Score": 10}, {"Host": "n1", "Score": 0}]


def test_preemption_keeps_the_nodes_where_the_victims_are_enough(rig: Rig) -> None:
    """n0 is full of `a`; of n1's two GPUs `b` and `c` have 600 each, and one of them is enough for 800."""
    pods = {
        name: rig.cluster.api.create(build.share(name, units)) for name, units in (("a", 1000), ("b", 600), ("c", 600))
    }
    for pod in pods.values():
        rig.bind(pod, rig.filter(pod)["NodeNames"][0])
    uids = {name: pod["metadata"]["uid"] for name, pod in pods.items()}
    asker = rig.cluster.api.create(build.share("d", 800))
    victims = {"n0": ((uids["b"],), 0), "n1": ((uids["b"],), 1)}
    answer = orjson.loads(rig.extender.preempt(wire.PreemptRequest(pod=asker, victims=victims)))
    assert answer == {"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": uids["b"]}], "NumPDBViolations": 1}}}


def test_a_victim_on_another_node_frees_nothing(rig: Rig) -> None:
    """Both nodes know their GPU by its index alone, so the two have one name."""
    pods = {name: build.share(name, 1000) for name in ("a", "b")}
    for node, (name, pod) in zip(("n0", "n1"), pods.items(), strict=True):
        made = build.node(node, 16384)
        made["metadata"]["annotations"]["vgpu-serve.io/gpus"] = "v1 -:16384"
        rig.extender.desk.see_node(made)
        allocation = {"vgpu-serve.io/allocation": f"v1 {node} main=1000:16384@0"}
        assert rig.extender.desk.see_pod(build.bound(pod, node, allocation), 0.0) == "", name
    victims = {"n0": (("uid-b",), 0), "n1": (("uid-b",), 0)}
    asked = wire.PreemptRequest(pod=build.share("c", 500), victims=victims)
    assert list(orjson.loads(rig.extender.preempt(asked))["NodeNameToMetaVictims"]) == ["n1"]


def test_a_binding_begun_in_time_is_not_sent_once_the_lease_is_about_to_end(rig: Rig) -> None:
    """Between the decision and the call the time has come: a former leader must write nothing."""
    pod = rig.cluster.api.create(build.share("p", 500))
    rig.filter(pod)
    rig.readiness.leads_until_s = rig.now_s + CALL_S
    asked = wire.BindRequest(name="p", namespace="default", uid=pod["metadata"]["uid"], node="n0")
    steps = binding.bind(rig.extender.desk, asked, lambda: rig.now_s)
    assert rig.extender.run(steps) == "POST binding: this process leads no longer"
    assert [kind for kind, _ in rig.cluster.api.told] == ["ADDED"]
    assert rig.extender.desk.ledger.entries == {}


# Questions that change nothing.


def test_explain_names_the_choice_and_the_reasons(rig: Rig) -> None:
    rig.extender.desk.see_node(build.node("tiny", 8192, units=250))
    rig.extender.desk.see_node({"metadata": {"name": "plain"}})
    before = rig.extender.desk.ledger.copy()
    answer = outlook.explain(rig.extender.desk, request.parse_request(build.share("p", 500)))
    assert answer["chosen"]["node"] == "n0"
    assert [score["node"] for score in answer["scores"]] == ["n0", "n1"]
    assert all(score["terms"] for score in answer["scores"])
    assert answer["refused"] == {
        "0 of 1 GPUs have 500 units free, 1 needed": {"count": 1, "nodes": ["tiny"]},
        "it offers no nvidia.com/vgpu": {"count": 1, "nodes": ["plain"]},
    }
    assert rig.extender.desk.ledger.entries == before.entries


def test_what_if_says_how_many_fit_and_how_many_nodes_the_rest_needs(rig: Rig) -> None:
    desk = rig.extender.desk
    asked = request.parse_request(build.share("p", 600))
    answer = outlook.what_if(Desk.trial(desk.policy, desk.books()), asked, 8, [build.node("big", *[32768] * 4)])
    assert (answer["fits"], answer["placed"], answer["missing"]) == (False, 3, 5)
    assert [(entry["pods_per_node"], entry["nodes"]) for entry in answer["more_nodes"]] == [(1, 5), (2, 3), (4, 2)]
    assert desk.ledger.entries == {}
    assert outlook.what_if(Desk.trial(desk.policy, desk.books()), asked, 3)["fits"]


def test_metrics_name_a_node_that_is_refused_and_no_node_without_units(rig: Rig) -> None:
    desk = rig.extender.desk
    desk.see_node({"metadata": {"name": "plain"}})
    desk.see_node({"metadata": {"name": "dumb"}, "status": {"allocatable": {"nvidia.com/vgpu": "1000"}}})
    ledger = LedgerCollector(ledger=desk.ledger, lock=rig.extender.lock, clock=lambda: 0.0, is_ready=lambda: True)
    rig.registry.register(ledger)
    refused = {
        name: rig.registry.get_sample_value("vgpu_node_refused", {"node": name}) for name in ("n0", "dumb", "plain")
    }
    assert refused == {"n0": 0.0, "dumb": 1.0, "plain": None}


def test_metrics_say_who_holds_what(rig: Rig) -> None:
    from_now = time.time()
    rig.extender.tally.compared(2, unix_s=from_now)
    assert rig.registry.get_sample_value("vgpu_ledger_drift_pods") == 2.0
    rig.extender.tally.compared(0, unix_s=from_now)
    assert rig.registry.get_sample_value("vgpu_ledger_drift_pods") == 0.0
    assert rig.registry.get_sample_value("vgpu_ledger_drift_repaired_total") == 2.0
