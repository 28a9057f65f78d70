"""Strategic merge: named items merge by their name, all other lists are replaced."""

from copy import deepcopy
from typing import Any

import pytest

from autoscaler.embedded.apiserver import strategic
from autoscaler.embedded.apiserver.errors import ApiError

_POD = {
    "spec": {
        "containers": [
            {"name": "ray", "image": "r:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "side", "image": "s:1", "args": ["x", "y"]},
        ]
    }
}
_NODE = {"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}, {"key": "spot", "effect": "NoExecute"}]}}


def _containers(*containers: Any) -> Any:
    return {"spec": {"containers": list(containers)}}


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        pytest.param(
            _POD,
            _containers({"name": "ray", "image": "r:2"}),
            _containers(_POD["spec"]["containers"][0] | {"image": "r:2"}, _POD["spec"]["containers"][1]),
            id="one container is found by its name",
        ),
        pytest.param(
            _POD,
            _containers({"name": "ray", "env": [{"name": "B", "value": "9"}, {"name": "C", "value": "3"}]}),
            _containers(
                {
                    "name": "ray",
                    "image": "r:1",
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "9"}, {"name": "C", "value": "3"}],
                },
                _POD["spec"]["containers"][1],
            ),
            id="and within it one variable by its name",
        ),
        pytest.param(
            _POD,
            _containers({"name": "side", "$patch": "delete"}),
            _containers(_POD["spec"]["containers"][0]),
            id="an item can be deleted",
        ),
        pytest.param(
            _POD,
            _containers({"$patch": "replace"}, {"name": "new", "image": "n"}),
            _containers({"name": "new", "image": "n"}),
            id="a list can be replaced",
        ),
        pytest.param(
            _POD,
            _containers({"name": "side", "args": ["z"]}),
            _containers(_POD["spec"]["containers"][0], {"name": "side", "image": "s:1", "args": ["z"]}),
            id="a list of plain words is replaced",
        ),
        pytest.param(
            _NODE,
            {"spec": {"taints": [{"key": "gpu", "effect": "NoExecute"}]}},
            {"spec": {"taints": [{"key": "gpu", "effect": "NoExecute"}, {"key": "spot", "effect": "NoExecute"}]}},
            id="taints go by key",
        ),
        pytest.param(
            {"status": {"conditions": [{"type": "Ready", "status": "False"}]}},
            {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Slot", "status": "True"}]}},
            {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Slot", "status": "True"}]}},
            id="conditions go by type",
        ),
        pytest.param(
            {"metadata": {"ownerReferences": [{"uid": "1", "name": "a"}]}},
            {"metadata": {"ownerReferences": [{"uid": "2", "name": "b"}]}},
            {"metadata": {"ownerReferences": [{"uid": "1", "name": "a"}, {"uid": "2", "name": "b"}]}},
            id="owners go by uid",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b", "a"]}},
            {"metadata": {"finalizers": ["a", "b"]}},
            id="finalizers merge as a set",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b"]}},
            id="a finalizer can be taken out",
        ),
        pytest.param(
            _POD,
            {"spec": {"$setElementOrder/containers": [{"name": "side"}, {"name": "ray"}], "containers": []}},
            _containers(*reversed(_POD["spec"]["containers"])),
            id="the order can be set",
        ),
        pytest.param(
            {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}},
            {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
            {"spec": {"strategy": {"type": "Recreate"}}},
            id="only some keys can be retained",
        ),
        pytest.param(
            {"a": {"b": 1}, "c": 2}, {"a": {"$patch": "delete"}, "c": None}, {}, id="fields can be deleted both ways"
        ),
        pytest.param({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, {"a": {"c": 2}}, id="objects too replaced"),
    ],
)
def test_a_strategic_patch_merges_by_the_name_of_items(target: Any, patch: Any, expected: Any) -> None:
    before = deepcopy(target)
    assert strategic.merge(target, patch) == expected
    assert target == before


@pytest.mark.parametrize(
    "patch",
    [{"spec": {"containers": [{"image": "x"}]}}, {"spec": {"containers": ["x"]}}, {"spec": {"$patch": "bake"}}],
)
def test_a_patch_without_the_items_name_is_a_bad_request(patch: Any) -> None:
    with pytest.raises(ApiError) as refusal:
        strategic.merge(_POD, patch)
    assert refusal.value.code == 400
