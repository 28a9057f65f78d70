"""What is sent to Kubernetes for worker groups, byte by byte: see tests/goldens/autoscaler/raycluster_requests.json."""

import json
from collections.abc import Callable
from typing import Any

from autoscaler.adapters.raycluster_pools import RayClusterPools
from tests.fakes import kuberay
from tests.fakes.kubernetes import NAMESPACE
from tests.unit.autoscaler.test_raycluster import pod
from tests.unit.autoscaler.ticks import golden
from vgpu.adapters.kube_verbs import Request, Verbs
from vgpu.core import names

POOL = "workers-v100-8q-8gb"


class _Answers(Verbs):
    """One RayCluster of one group, and two pods, `serve-a` and `serve-b`; keeps what was sent."""

    def __init__(self, named: tuple[str, ...]) -> None:
        self.sent: list[Request] = []
        self.cluster = kuberay.manifest({POOL: 2})
        self.cluster["metadata"]["resourceVersion"] = "41"
        if named:
            self.cluster["spec"]["workerGroupSpecs"][0]["scaleStrategy"] = {"workersToDelete": list(named)}

    def send(self, request: Request) -> Any:
        self.sent.append(request)
        match request.method, request.path:
            case "GET", path if path.endswith("/pods"):
                return {"items": self.pods(), "metadata": {"resourceVersion": "41"}}
            case "GET", _:
                return self.cluster
        return {}

    def pods(self) -> list[Any]:
        found = [pod("serve-a"), pod("serve-b")]
        labels = {
            names.LABEL_RAY_CLUSTER: kuberay.NAME,
            names.LABEL_RAY_GROUP: POOL,
            names.LABEL_RAY_NODE_TYPE: "worker",
        }
        for each in found:
            each["metadata"] |= {"namespace": NAMESPACE, "uid": f"uid of {each['metadata']['name']}", "labels": labels}
        return found


def sent(call: Callable[[RayClusterPools], object], *, named: tuple[str, ...] = ()) -> list[Any]:
    verbs = _Answers(named)
    pools = RayClusterPools(verbs, namespace=NAMESPACE, name=kuberay.NAME)
    pools.read([POOL], verbs.pods())
    verbs.sent.clear()
    call(pools)
    return [
        {
            "request": f"{request.method} {request.path}",
            **({"query": dict(request.query)} if request.query else {}),
            **({} if request.body is None else {"content_type": request.content_type, "body": request.body}),
        }
        for request in verbs.sent
    ]


def test_every_request_is_what_the_golden_says() -> None:
    victim = [f"{NAMESPACE}/serve-b"]
    stories = {
        "grow, preferring nodes": sent(
            lambda pools: pools.set_count(POOL, 3, preferred_nodes=("n2", "n1"), victims=())
        ),
        "shrink by a victim": sent(lambda pools: pools.set_count(POOL, 1, preferred_nodes=(), victims=victim)),
        "a count that is set already": sent(lambda pools: pools.set_count(POOL, 2, preferred_nodes=(), victims=())),
        "replace a worker": sent(lambda pools: pools.replace(POOL, victim)),
        "tidy after a worker that is gone": sent(lambda pools: pools.tidy(), named=("serve-b", "serve-c")),
    }
    text = json.dumps(stories, indent=1) + "\n"
    assert text == golden("raycluster_requests.json", text)
