"""Records with a few fields changed."""

import dataclasses

import pytest

from autoscaler.core.record import replace
from tests.build import model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A record that checks nothing."""

    x: int
    y: int = 0


def test_a_changed_record_is_a_new_one_with_the_other_fields_as_they_were() -> None:
    before = Point(x=1, y=2)
    after = replace(before, y=5)
    assert (before, after) == (Point(x=1, y=2), Point(x=1, y=5))
    assert after == dataclasses.replace(before, y=5)
    assert hash(after) == hash(Point(x=1, y=5))


def test_a_changed_record_is_as_frozen_as_it_was() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(Point(x=1), y=5).x = 7  # type: ignore[misc]  # the fault that is tried


def test_a_field_that_is_not_there_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="Point has no field 'z'"):
        replace(Point(x=1), z=5)  # type: ignore[call-arg]  # the fault that is tried


def test_a_record_that_checks_itself_is_not_changed_past_its_checks() -> None:
    with pytest.raises(
        TypeError, match=r"ModelSpec checks itself or has no slots of its own; use dataclasses\.replace"
    ):
        replace(model(), max_replicas=0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place(Point):
    """A record that extends another."""

    name: str
    town: str = ""


def test_a_record_that_extends_another_is_not_copied_in_part() -> None:
    with pytest.raises(TypeError, match="Place checks itself or has no slots of its own"):
        replace(Place(x=1, name="here"), town="there")
