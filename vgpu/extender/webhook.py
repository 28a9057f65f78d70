"""The mutating webhook: gives each container that asks for units the env entries by which it learns its slot.

AdmissionReview v1. A pod whose request breaks a rule is refused here already, with the same sentence as later.
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import orjson

from vgpu.core import allocation, request
from vgpu.core.request import RequestRefused
from vgpu.extender import wire

Json = Mapping[str, Any]


def review(body: bytes) -> bytes:
    """Answer an AdmissionReview; raise wire.Malformed."""
    asked = wire.as_object(wire.parse_body(body).get("request"), "request")
    answer: dict[str, Any] = {"uid": asked.get("uid", ""), "allowed": True}
    pod = wire.as_object(asked.get("object"), "request.object")
    about = wire.as_object(wire.check_pod(pod).get("metadata"), "request.object.metadata")
    named = {**pod, "metadata": {"namespace": asked.get("namespace"), **about}}
    try:
        patch = patch_for(named)
    except RequestRefused as refusal:
        answer |= {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": str(refusal)}}
    else:
        if patch:
            answer |= {"patchType": "JSONPatch", "patch": b64encode(orjson.dumps(patch)).decode()}
    return _render(answer)


def refuse(why: str) -> bytes:
    """Answer what is no AdmissionReview."""
    return _render({"uid": "", "allowed": False, "status": {"code": 400, "reason": "BadRequest", "message": why}})


def _render(answer: Json) -> bytes:
    return orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})


def patch_for(pod: Json) -> list[dict[str, Any]]:
    """The JSON Patch that adds the entries; a container's own of the same names give way. Raise RequestRefused."""
    asking = {ask.container for ask in request.parse_request(pod).asks}
    patch = []
    for field in ("initContainers", "containers"):
        for index, container in enumerate((pod.get("spec") or {}).get(field) or ()):
            if container.get("name") in asking:
                ours = allocation.environment(container["name"])
                taken = {entry["name"] for entry in ours}
                others = [entry for entry in container.get("env") or () if entry.get("name") not in taken]
                # First, so that the container's own entries may refer to them as $(VGPU_SLOT_UNITS).
                patch.append({"op": "add", "path": f"/spec/{field}/{index}/env", "value": [*ours, *others]})
    return patch
