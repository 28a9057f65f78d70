"""When a layout comes: weekdays, dates, and the two nights of a year on which clocks are changed."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.switcher.calendar import Calendar, Change, Entry, instant

BERLIN = ZoneInfo("Europe/Berlin")
WORKDAYS = frozenset(range(5))
OFFICE = Calendar(
    zone=BERLIN,
    entries=(
        Entry(layout="night", at=time(22), days=WORKDAYS),
        Entry(layout="day", at=time(7)),
        Entry(layout="day", at=time(9), dates=frozenset({date(2026, 12, 24)})),
    ),
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "in_force", "following"),
    [
        # A Tuesday in summer: Berlin is two hours ahead.
        ("2026-06-16T05:00", ("day", "2026-06-16T05:00"), ("night", "2026-06-16T20:00")),
        ("2026-06-16T19:59:59", ("day", "2026-06-16T05:00"), ("night", "2026-06-16T20:00")),
        ("2026-06-16T20:00", ("night", "2026-06-16T20:00"), ("day", "2026-06-17T05:00")),
        # A Saturday has no night of its own.
        ("2026-06-20T20:30", ("day", "2026-06-20T05:00"), ("day", "2026-06-21T05:00")),
        # Christmas Eve, a Thursday, has nothing but its own entry: the night of the 23rd lasts until 9.
        ("2026-12-24T07:00", ("night", "2026-12-23T21:00"), ("day", "2026-12-24T08:00")),
        ("2026-12-24T22:00", ("day", "2026-12-24T08:00"), ("day", "2026-12-25T06:00")),
    ],
)
def test_the_last_entry_that_has_come_counts(
    moment: str, in_force: tuple[str, str], following: tuple[str, str]
) -> None:
    found = (OFFICE.in_force(utc(moment)), OFFICE.following(utc(moment)))
    assert found == tuple(Change(layout=name, at=utc(at)) for name, at in (in_force, following))


def test_nothing_is_due_where_nothing_is_written() -> None:
    empty = Calendar(zone=BERLIN)
    assert (empty.in_force(utc("2026-06-16T05:00")), empty.following(utc("2026-06-16T05:00"))) == (None, None)


def test_a_date_that_is_over_never_comes_again() -> None:
    once = Calendar(zone=BERLIN, entries=(Entry(layout="day", at=time(9), dates=frozenset({date(2026, 12, 24)})),))
    assert once.following(utc("2026-12-24T08:00")) is None
    assert once.in_force(utc("2027-03-01T00:00")) == Change(layout="day", at=utc("2026-12-24T08:00"))
    assert once.in_force(utc("2026-12-24T07:59")) is None


@pytest.mark.parametrize(
    ("day", "at", "comes"),
    [
        (date(2026, 3, 29), time(1, 59), "2026-03-29T00:59"),
        (date(2026, 3, 29), time(2, 30), "2026-03-29T01:00"),  # does not exist: when the clocks jump from 2 to 3
        (date(2026, 3, 29), time(2, 0), "2026-03-29T01:00"),
        (date(2026, 3, 29), time(3, 0), "2026-03-29T01:00"),
        (date(2026, 3, 29), time(3, 30), "2026-03-29T01:30"),
        (date(2026, 10, 25), time(2, 30), "2026-10-25T00:30"),  # comes twice: the first
        (date(2026, 10, 25), time(3, 0), "2026-10-25T02:00"),
    ],
)
def test_the_nights_on_which_clocks_are_changed(day: date, at: time, comes: str) -> None:
    assert instant(day, at, BERLIN) == utc(comes)


def test_of_two_layouts_at_one_moment_the_later_written_time_counts() -> None:
    """2:30 and 3:00 are one moment where clocks jump from 2 to 3; 3:00 comes after 2:30 on any other day."""
    entries = (Entry(layout="late", at=time(3)), Entry(layout="early", at=time(2, 30)))
    found = Calendar(zone=BERLIN, entries=entries).in_force(utc("2026-03-29T01:00"))
    assert found == Change(layout="late", at=utc("2026-03-29T01:00"))


ZONES = ("UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu")
entries = st.builds(
    Entry,
    layout=st.sampled_from(["day", "night", "noon"]),
    at=st.times(),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    dates=st.frozensets(st.dates(date(2011, 12, 1), date(2012, 1, 31)), max_size=3),
)
calendars = st.builds(
    Calendar, zone=st.sampled_from(ZONES).map(ZoneInfo), entries=st.lists(entries, min_size=1, max_size=4).map(tuple)
)
# Apia left out 30 December 2011; the others change their clocks within the range.
moments = st.datetimes(datetime(2011, 9, 1), datetime(2012, 6, 1), timezones=st.just(UTC))


@given(calendars, moments)
def test_the_next_change_is_ahead_and_is_then_in_force(calendar: Calendar, moment: datetime) -> None:
    change = calendar.following(moment)
    if change is None:
        return
    assert change.at > moment
    assert calendar.in_force(change.at) == change
    before = change.at - timedelta(microseconds=1)
    assert calendar.in_force(max(before, moment)) == calendar.in_force(moment)


@given(calendars, moments)
def test_what_is_in_force_has_come_and_was_next_before(calendar: Calendar, moment: datetime) -> None:
    change = calendar.in_force(moment)
    if change is None:
        return
    assert change.at <= moment
    assert calendar.following(change.at - timedelta(microseconds=1)) == change


@given(st.dates(date(2011, 1, 1), date(2027, 1, 1)), st.times(), st.times(), st.sampled_from(ZONES).map(ZoneInfo))
def test_a_later_time_never_comes_first(day: date, one: time, other: time, zone: ZoneInfo) -> None:
    earlier, later = sorted((one, other))
    assert instant(day, earlier, zone) <= instant(day, later, zone)
