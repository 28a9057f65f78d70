"""kube-scheduler's side of the extender protocol: what it sends to the extender, and how it reads the answers.

Source: `k8s.io/kube-scheduler/extender/v1` and its client: POST, keys capitalised, any status but 200
is an error and its body is not read, `Error` aborts the pod's turn, a null `NodeNames` means none.
"""

from collections.abc import Sequence
from typing import Any, Self

import httpx

Json = dict[str, Any]

TIMEOUT_S = 20.0  # the extender answers a Binding of which nobody knows whether it arrived after 16 s


class ExtenderFailed(Exception):
    """The extender could not be asked, or said that it failed; the pod is tried again."""


class Extension:
    """One configured extender."""

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def filter(self, pod: Json, nodes: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
        """The nodes that pass, and why each of the others does not. Raises `ExtenderFailed`."""
        answer = self._ask("filter", {"Pod": pod, "NodeNames": list(nodes)})
        passed = tuple(answer.get("NodeNames") or ())
        if unasked := set(passed) - set(nodes):
            raise ExtenderFailed(f"filter: the extender lets pass what it was not asked for: {sorted(unasked)}")
        failed = {**(answer.get("FailedNodes") or {}), **(answer.get("FailedAndUnresolvableNodes") or {})}
        return passed, {str(node): str(why) for node, why in failed.items()}

    def bind(self, pod: Json, node: str) -> None:
        """Have the extender bind the pod. Raises `ExtenderFailed`."""
        about = pod["metadata"]
        names = {"PodName": about["name"], "PodNamespace": about["namespace"], "PodUID": about["uid"], "Node": node}
        self._ask("bind", names)

    def _ask(self, verb: str, body: Json) -> Json:
        try:
            answer = self._client.post(f"/{verb}", json=body)
        except httpx.HTTPError as error:
            raise ExtenderFailed(f"{verb}: {self._client.base_url} does not answer: {error}") from error
        if answer.status_code != httpx.codes.OK:
            raise ExtenderFailed(f"{verb}: status {answer.status_code}")
        given = answer.json()
        if given.get("Error"):
            raise ExtenderFailed(f"{verb}: {given['Error']}")
        return dict(given)
