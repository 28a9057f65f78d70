"""Patches do what their documents say, all of it or none of it, and leave the old object alone."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.embedded.apiserver import patches
from autoscaler.embedded.apiserver.errors import ApiError

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_follows_its_standard(target: Any, patch: Any, expected: Any) -> None:
    """The cases are those of RFC 7386, appendix A, that concern objects."""
    assert patches.merge_patch(target, patch) == expected


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "c"]}, [{"op": "add", "path": "/foo/1", "value": "b"}], {"foo": ["a", "b", "c"]}),
        ({"foo": ["a"]}, [{"op": "add", "path": "/foo/-", "value": ["b"]}], {"foo": ["a", ["b"]]}),
        ({"foo": 1, "baz": 2}, [{"op": "remove", "path": "/baz"}], {"foo": 1}),
        ({"foo": ["a", "b", "c"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a", "c"]}),
        ({"foo": 1}, [{"op": "replace", "path": "/foo", "value": 2}], {"foo": 2}),
        ({"foo": ["a"]}, [{"op": "replace", "path": "/foo/0", "value": "b"}], {"foo": ["b"]}),
        ({"a": {"b": 1}, "c": {}}, [{"op": "move", "from": "/a/b", "path": "/c/d"}], {"a": {}, "c": {"d": 1}}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        ({"x/y": 1}, [{"op": "replace", "path": "/x~1y", "value": 2}], {"x/y": 2}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_a_json_patch_follows_its_standard(document: Any, operations: Any, expected: Any) -> None:
    """The cases are after RFC 6902, appendix A."""
    before = deepcopy(document)
    assert patches.json_patch(document, operations) == expected
    assert document == before


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "test", "path": "/a", "value": 2}, 422),
        ({"op": "remove", "path": "/missing"}, 422),
        ({"op": "replace", "path": "/missing", "value": 1}, 422),
        ({"op": "add", "path": "/missing/deeper", "value": 1}, 422),
        ({"op": "add", "path": "/list/9", "value": 1}, 422),
        ({"op": "add", "path": "/list/x", "value": 1}, 422),
        ({"op": "remove", "path": "/list/-"}, 422),
        ({"op": "replace", "path": "", "value": []}, 422),
        ({"op": "remove", "path": ""}, 422),
        ({"op": "add", "path": "/a"}, 400),
        ({"op": "bake", "path": "/a"}, 400),
        ({"op": "add", "path": "a", "value": 1}, 400),
        ({"path": "/a"}, 400),
        ("add", 400),
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(operation: Any, code: int) -> None:
    with pytest.raises(ApiError) as refusal:
        patches.json_patch({"a": 1, "list": [1]}, [operation])
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("content_type", "patch", "code"),
    [
        (patches.APPLY, {}, 415),
        ("application/json", {}, 415),
        ("", {}, 415),
        (patches.JSON_PATCH, {"op": "add"}, 400),
        (patches.MERGE, [], 400),
        (patches.MERGE, None, 400),
        (patches.STRATEGIC, "text", 400),
    ],
)
def test_a_patch_of_the_wrong_kind_is_refused(content_type: str, patch: Any, code: int) -> None:
    with pytest.raises(ApiError) as refusal:
        patches.apply(content_type, {}, patch)
    assert refusal.value.code == code


@given(st.dictionaries(st.text(max_size=2), _JSON, max_size=4), st.dictionaries(st.text(max_size=2), _JSON, max_size=4))
def test_a_merge_patch_applied_twice_changes_no_more_than_once(target: Any, patch: Any) -> None:
    before = deepcopy(target)
    once = patches.merge_patch(target, patch)
    assert patches.merge_patch(once, patch) == once
    assert target == before


_OPERATION = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": st.sampled_from(["", "/a", "/a/0", "/a/-", "/b/c", "x"]),
    },
    optional={"value": _JSON, "from": st.sampled_from(["", "/a", "/b", "/a/0"])},
)


def _outcome(document: Any, operations: Any) -> Any:
    try:
        return patches.json_patch(document, operations)
    except ApiError as refusal:
        return refusal.code


@given(st.lists(_OPERATION | _JSON, max_size=4))
def test_any_json_patch_is_applied_or_refused(operations: Any) -> None:
    document = {"a": [1, {"b": 2}], "b": {"c": None}}
    outcome = _outcome(document, operations)
    assert isinstance(outcome, dict) or outcome in (400, 422)
    assert document == {"a": [1, {"b": 2}], "b": {"c": None}}
