"""Operator, kubelet and autoscaler in any order, restarted at will: the operator never has to choose who leaves."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from autoscaler.adapters.raycluster_pools import RayClusterPools
from autoscaler.embedded.apiserver import patches
from tests.fakes import kuberay
from tests.fakes.kuberay import StandInOperator
from tests.fakes.kubernetes import NAMESPACE
from vgpu.adapters.kube_errors import Conflict, NotFound
from vgpu.adapters.kube_verbs import JSON_PATCH, Json, Request, Verbs

POOL = "w"
COUNTS = st.integers(0, 4)
PICKS = st.lists(st.integers(0, 9), max_size=3)


class MemoryApi(Verbs):
    """A RayCluster and its pods; a deleted pod is there until it is taken away, if it has a node."""

    def __init__(self) -> None:
        self.cluster = kuberay.manifest({POOL: 0})
        self.cluster["metadata"] |= {"resourceVersion": "1", "uid": "u", "generation": 1}
        self.pods: dict[str, Json] = {}
        self._made = 0

    def send(self, request: Request) -> Any:
        is_pod, name = "/pods" in request.path, request.path.rpartition("/")[2]
        match request.method:
            case "GET" if is_pod:
                return {"items": list(self.pods.values()), "metadata": {"resourceVersion": "1"}}
            case "GET":
                return self.cluster
            case "POST":
                return self._create(request.body)
            case "DELETE":
                return self._delete(name, request.body)
        return self._patch(request)

    def _create(self, manifest: Any) -> Json:
        self._made += 1
        name = f"p{self._made}"
        about = manifest["metadata"] | {"name": name, "namespace": NAMESPACE, "uid": f"uid of {name}"}
        self.pods[name] = {"metadata": about, "spec": {}, "status": {"phase": "Pending"}}
        return self.pods[name]

    def _delete(self, name: str, options: Any) -> Json:
        if name not in self.pods:
            raise NotFound(name, "gone")
        pod = self.pods[name]
        uid = (options.get("preconditions") or {}).get("uid")
        assert uid in (None, pod["metadata"]["uid"])
        pod["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
        if "nodeName" not in pod["spec"]:
            del self.pods[name]
        return pod

    def _patch(self, request: Request) -> Json:
        if request.content_type == JSON_PATCH:
            assert isinstance(request.body, list)
            new = patches.json_patch(self.cluster, request.body)
            if new["metadata"]["resourceVersion"] != self.cluster["metadata"]["resourceVersion"]:
                raise Conflict("patch", "the object has been modified")
        else:
            new = patches.merge_patch(self.cluster, request.body)
        new["metadata"]["resourceVersion"] = str(int(new["metadata"]["resourceVersion"]) + 1)
        self.cluster = new
        return new


class Interleaving(RuleBasedStateMachine):
    """Each rule is one step of somebody."""

    def __init__(self) -> None:
        super().__init__()
        self.api = MemoryApi()
        self.operator = StandInOperator(self.api)
        self.pools = self._pools()
        self.chosen: list[str] = []
        self.asked = 0

    def _pools(self) -> RayClusterPools:
        return RayClusterPools(self.api, namespace=NAMESPACE, name=kuberay.NAME)

    def _picked(self, picks: Sequence[int]) -> list[str]:
        """Some of the pods, by their places."""
        names = sorted(self.api.pods)
        return [f"{NAMESPACE}/{names[pick % len(names)]}" for pick in picks] if names else []

    @rule()
    def operator_passes(self) -> None:
        self.operator.reconcile()
        self.chosen += self.operator.chosen

    @rule(writes=st.integers(0, 2))
    def operator_dies(self, writes: int) -> None:
        self.operator.writes_left = writes
        with suppress(kuberay.Died):
            self.operator.reconcile()
        self.chosen += self.operator.chosen
        self.operator = StandInOperator(self.api)

    @rule(picks=PICKS)
    def pods_start(self, picks: Sequence[int]) -> None:
        for key in self._picked(picks):
            pod = self.api.pods[key.partition("/")[2]]
            if pod["status"]["phase"] == "Pending":
                pod["spec"]["nodeName"] = "n1"
                pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}

    @rule(picks=PICKS)
    def pods_end(self, picks: Sequence[int]) -> None:
        for key in self._picked(picks):
            pod = self.api.pods[key.partition("/")[2]]
            if pod["status"]["phase"] == "Running":
                pod["status"] = {"phase": "Failed"}

    @rule(picks=PICKS)
    def deleted_pods_go(self, picks: Sequence[int]) -> None:
        for key in set(self._picked(picks)):
            name = key.partition("/")[2]
            if "deletionTimestamp" in self.api.pods[name]["metadata"]:
                del self.api.pods[name]

    @rule(count=COUNTS, picks=PICKS)
    def we_size(self, count: int, picks: Sequence[int]) -> None:
        self.pools.set_count(POOL, count, preferred_nodes=("n1",), victims=self._picked(picks))
        self.asked = count

    @rule(picks=PICKS)
    def we_replace(self, picks: Sequence[int]) -> None:
        self.pools.replace(POOL, self._picked(picks))

    @rule()
    def we_start_anew(self) -> None:
        self.pools = self._pools()

    @rule()
    def we_read_and_tidy(self) -> None:
        seen = self.pools.read([POOL], list(self.api.pods.values()))
        assert (seen.counts, seen.problems) == ({POOL: self.asked}, ())
        if self.pools.is_untidy:
            self.pools.tidy()
        assert self.named <= set(self.api.pods)

    @property
    def named(self) -> set[str]:
        group = self.api.cluster["spec"]["workerGroupSpecs"][0]
        return set((group.get("scaleStrategy") or {}).get("workersToDelete") or ())

    @invariant()
    def nobody_was_chosen(self) -> None:
        assert self.chosen == []

    @precondition(lambda self: self.asked)
    @rule()
    def all_come_to_rest(self) -> None:
        for _ in range(20):
            is_quiet = self.operator.reconcile()
            ending = [name for name, pod in self.api.pods.items() if "deletionTimestamp" in pod["metadata"]]
            for name in ending:
                del self.api.pods[name]
            if is_quiet and not ending:
                break
        self.chosen += self.operator.chosen
        assert len(self.api.pods) == self.asked


TestInterleaving = Interleaving.TestCase
TestInterleaving.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
