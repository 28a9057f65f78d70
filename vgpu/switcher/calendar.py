"""Which layout should be in force at a moment, and which comes next. Pure: moments are aware datetimes, given.

An entry comes at a local time of day. A day that some entry names by its date has the entries of that date alone. Of a
time that comes twice, when clocks go back, the first counts (RFC 5545, 3.3.5); one that does not exist comes when the
clocks jump over it. So entries come in the order in which they are written, on every day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

EVERY_DAY = frozenset(range(7))
_HORIZON_DAYS = 366  # how far a layout's beginning, or the next change, is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A layout and when it comes: on weekdays (Monday is 0), or on dates alone where there are any."""

    layout: str
    at: time
    days: frozenset[int] = EVERY_DAY
    dates: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A layout and the moment from which it should be in force."""

    layout: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Entries in the time zone in which they are meant."""

    zone: ZoneInfo
    entries: tuple[Entry, ...] = ()

    def in_force(self, moment: datetime) -> Change | None:
        """The last change that has come, its own moment included; None where there was none within a year."""
        changes = self._changes(moment, back=True)
        return next((change for change in changes if change.at <= moment), None)

    def following(self, moment: datetime) -> Change | None:
        """The next change after a moment; None where there is none within a year."""
        changes = self._changes(moment, back=False)
        return next((change for change in changes if change.at > moment), None)

    def _changes(self, moment: datetime, *, back: bool) -> Iterator[Change]:
        """Changes of the days around a moment and on, in their order; backwards in the opposite one."""
        if not self.entries:
            return
        today, step = moment.astimezone(self.zone).date(), -1 if back else 1
        for distance in range(-1, _HORIZON_DAYS):  # a jump of the clocks may carry a change over midnight
            changes = self._of_day(today + timedelta(days=step * distance))
            yield from reversed(changes) if back else changes

    def _of_day(self, day: date) -> list[Change]:
        """The changes of one local day; of several at one moment only the last written."""
        named = [entry for entry in self.entries if day in entry.dates]
        count = named or [entry for entry in self.entries if not entry.dates and day.weekday() in entry.days]
        ordered = sorted(count, key=lambda entry: entry.at)
        moments = {instant(day, entry.at, self.zone): entry.layout for entry in ordered}
        return [Change(layout=layout, at=at) for at, layout in moments.items()]


def instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The moment, in UTC, of a local time on a day."""
    meant = datetime.combine(day, at)
    late, early = (meant.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if late <= early:  # it exists; where twice, fold 0 is the first
        return late
    while (half := (late - early) // 2) >= timedelta(seconds=1):  # between them the offset jumps
        middle = early + half
        if middle.astimezone(zone).replace(tzinfo=None) < meant:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)
