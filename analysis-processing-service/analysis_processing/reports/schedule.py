"""When a report's periods begin and end. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

SPANS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31)}
"""The longest that each lasts, in days of the calendar."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A period ends at `hour` of every day, Monday or first of a month in the time zone.

    Where the clock skips that hour it ends when the clock has gone on; of two it is the first.
    """

    every: str
    hour: int
    timezone: str

    def latest(self, now: datetime) -> datetime:
        """The last end of a period that is not after `now`."""
        first = self._first(now.astimezone(ZoneInfo(self.timezone)).date())
        end = self._end(first)
        return end if end <= now else self._end(self._first(first - timedelta(days=1)))

    def following(self, now: datetime) -> datetime:
        """The first end of a period after `now`."""
        first = self._first(now.astimezone(ZoneInfo(self.timezone)).date())
        end = self._end(first)
        return end if end > now else self._end(self._first(first + SPANS[self.every]))

    def _first(self, day: date) -> date:
        back = {"day": 0, "week": day.weekday(), "month": day.day - 1}[self.every]
        return day - timedelta(days=back)

    def _end(self, day: date) -> datetime:
        local = datetime(day.year, day.month, day.day, self.hour, tzinfo=ZoneInfo(self.timezone))
        return local.astimezone(UTC)
