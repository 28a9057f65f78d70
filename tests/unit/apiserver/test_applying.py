"""Server-side apply: what is set, removed, shared and fought over."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.embedded.apiserver import applying, ownership, resources
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.ownership import Owner

_KEYS = ownership.keys_of(resources.DEPLOYMENTS)


def _owner(manager: str, operation: Any = "Apply") -> Owner:
    return Owner(manager=manager, operation=operation, api_version="apps/v1", time="T", paths=frozenset())


def _applied(live: Any, sent: Any, manager: str = "a", *, force: bool = False) -> Any:
    found = applying.apply(live, sent, _owner(manager), _KEYS, force=force)
    return found.item | {"metadata": found.item.get("metadata", {}) | {"managedFields": found.owners}}


def _new(sent: Any, manager: str = "a") -> Any:
    return deepcopy(sent) | {"metadata": {"managedFields": applying.first(sent, _owner(manager), _KEYS)}}


def _bare(item: Any) -> Any:
    return {key: value for key, value in item.items() if key != "metadata"}


def _data(**data: str) -> Any:
    return {"data": data}


def _containers(*containers: Any) -> Any:
    return {"spec": {"containers": list(containers)}}


def test_what_is_no_longer_applied_is_removed() -> None:
    assert _bare(_applied(_new(_data(x="1", y="1")), _data(x="2"))) == _data(x="2")


def test_what_another_has_applied_too_stays() -> None:
    both = _applied(_new(_data(x="1", y="1")), _data(y="1"), "b")
    assert _bare(_applied(both, _data(x="1"))) == _data(x="1", y="1")


def test_what_nobody_applied_stays() -> None:
    live = _new(_data(x="1")) | {"spec": {"filled": "in"}}
    assert _bare(_applied(live, _data())) == {"spec": {"filled": "in"}, "data": {}}


def test_another_ones_value_is_a_conflict_unless_forced() -> None:
    live = _new(_data(x="1", y="1"))
    with pytest.raises(ApiError) as refusal:
        _applied(live, _data(x="2"), "b")
    assert (refusal.value.code, refusal.value.message) == (
        409,
        'Apply failed with 1 conflict: conflict with "a" using apps/v1: .data.x',
    )
    forced = _applied(live, _data(x="2"), "b", force=True)
    assert _bare(forced) == _data(x="2", y="1")
    assert [(owner.manager, sorted(owner.paths)) for owner in ownership.read(forced)] == [
        ("a", [("f:data", "f:y")]),
        ("b", [("f:data", "f:x")]),
    ]


def test_several_conflicts_are_listed_by_their_owner() -> None:
    live = _applied(_new(_data(x="1", y="1")), {"spec": {"z": 1}}, "c")
    with pytest.raises(ApiError) as refusal:
        _applied(live, _data(x="2", y="2") | {"spec": {"z": 2}}, "b")
    assert refusal.value.message.splitlines() == [
        'Apply failed with 3 conflicts: conflicts with "a" using apps/v1:',
        "- .data.x",
        "- .data.y",
        'conflicts with "c" using apps/v1:',
        "- .spec.z",
    ]


def test_items_are_told_apart_by_their_key() -> None:
    main, side = {"name": "main", "image": "m:1"}, {"name": "side", "image": "s:1"}
    live = _applied(_new(_containers(main)), _containers(side), "b")
    assert _bare(live) == _containers(main, side)
    with pytest.raises(ApiError, match=r'\.spec\.containers\[name="side"\]\.image'):
        _applied(live, _containers(main, side | {"image": "s:2"}))
    assert _bare(_applied(live, _containers(), "b")) == _containers(main)


def test_an_items_own_defaults_go_with_it() -> None:
    live = _new(_containers({"name": "main"}, {"name": "side"}))
    live["spec"]["containers"][1]["imagePullPolicy"] = "Always"
    assert _bare(_applied(live, _containers({"name": "main"}))) == _containers({"name": "main"})


def test_a_list_of_another_kind_has_one_owner() -> None:
    live = _new({"spec": {"args": ["a"], "selector": {"a": "b"}}})
    with pytest.raises(ApiError, match=r"\.spec\.args"):
        _applied(live, {"spec": {"args": ["a", "b"]}}, "b")
    with pytest.raises(ApiError, match=r"\.spec\.selector"):
        _applied(live, {"spec": {"selector": {"a": "b", "c": "d"}}}, "b")


def test_what_was_there_before_the_first_apply_has_an_owner() -> None:
    with pytest.raises(ApiError, match=f'conflict with "{ownership.BEFORE}" using apps/v1'):
        _applied(_data(x="1") | {"metadata": {}}, _data(x="2"))
    assert _bare(_applied(_data(x="1", y="1") | {"metadata": {}}, _data(x="1"))) == _data(x="1", y="1")


def test_a_plain_write_takes_over_what_it_changes() -> None:
    old = _new(_data(x="1", y="1", z="1"))
    new = old | _data(x="2", y="1", w="1")
    owners = ownership.written(old, new, _KEYS, _owner("editor", "Update"))
    assert [(entry["manager"], entry["fieldsV1"]) for entry in owners] == [
        ("a", {"f:data": {"f:y": {}}}),
        ("editor", {"f:data": {"f:w": {}, "f:x": {}}}),
    ]


_VALUES = st.sampled_from(["1", "2"])
_DATA = st.dictionaries(st.sampled_from("xyz"), _VALUES)
_ITEMS = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from(("image", "tty")), _VALUES)).map(
    lambda found: [{"name": name, **rest} for name, rest in found.items()]
)


def _sent(data: Any, items: Any) -> Any:
    return ({"data": data} if data else {}) | ({"spec": {"containers": items}} if items else {})


_SENT = st.builds(_sent, _DATA, _ITEMS)


@given(st.lists(st.tuples(st.sampled_from("ab"), _SENT), min_size=1, max_size=5))
def test_by_force_everyone_has_what_he_applied_last(steps: list[tuple[str, Any]]) -> None:
    """And what nobody applies is gone; applying it again changes nothing."""
    live: Any = {"metadata": {"managedFields": []}}
    live = _new(steps[0][1], steps[0][0])
    for manager, sent in steps:
        live = _applied(live, sent, manager, force=True)
        there, wanted = ownership.leaves(live, _KEYS), ownership.leaves(sent, _KEYS)
        assert {path: there.get(path) for path in wanted} == wanted
        assert _applied(live, sent, manager) == live
        owned = {path for owner in ownership.read(live) for path in owner.paths}
        filled = {path for path, value in there.items() if value not in ({}, [])}
        assert filled <= owned <= set(there)


@given(_SENT)
def test_ownership_is_read_as_it_was_written(sent: Any) -> None:
    owners = ownership.read(_new(sent))
    assert {path for owner in owners for path in owner.paths} == set(ownership.leaves(sent, _KEYS))
