"""When notifications are muted or active: `time_intervals`, with time zones. Pure.

A time is looked at on the wall clock of its zone, so `09:00` stays nine o'clock over a change of
summer time; an hour that comes twice is in the interval twice, one that is left out never.
Source: prometheus/alertmanager `timeinterval/timeinterval.go`.
"""

import calendar
import re
from datetime import datetime
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator

WEEKDAYS: Final = tuple(calendar.day_name[day - 1].lower() for day in range(7))  # Sunday first
MONTHS: Final = tuple(name.lower() for name in calendar.month_name)[1:]
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")

Range = tuple[int, int]
"""First and last, both inclusive; of minutes the last is not."""


def minutes(text: Any) -> int:
    """Minutes since midnight of `HH:MM`, at most 24:00."""
    match = _CLOCK.fullmatch(str(text))
    if match is None:
        raise ValueError("expected a time from 00:00 to 24:00, as HH:MM")
    return int(match[1]) * 60 + int(match[2]) if match[1] else 24 * 60


def _ranges(words: tuple[str, ...], first: int, low: int, high: int) -> Any:
    """A reader of `a` and `a:b`: numbers from low to high, or `words`, the first being `first`."""

    def number(text: str) -> int:
        if text.lower() in words:
            return words.index(text.lower()) + first
        if not re.fullmatch(r"-?\d{1,4}", text) or not low <= int(text) <= high or text == "0":
            wanted = [f"a name like {words[0]}"] if words else []
            wanted += [f"a number from {low} to {high}"] if low <= high else []
            raise ValueError(f"{text!r}: expected {' or '.join(wanted)}, or a:b of them")
        return int(text)

    def read(given: Any) -> Range:
        begin, colon, end = str(given).partition(":")
        pair = number(begin.strip()), number(end.strip() if colon else begin.strip())
        if pair[0] > pair[1] and not pair[0] > 0 > pair[1]:
            raise ValueError(f"{given!r}: it ends before it begins")
        if pair[0] < 0 < pair[1]:
            raise ValueError(f"{given!r}: it begins from the month's end, so it must end so")
        return pair

    return BeforeValidator(read)


Minutes = Annotated[int, BeforeValidator(minutes)]
Weekdays = Annotated[Range, _ranges(WEEKDAYS, 0, 1, 0)]  # names alone
DaysOfMonth = Annotated[Range, _ranges((), 0, -31, 31)]
Months = Annotated[Range, _ranges(MONTHS, 1, 1, 12)]
Years = Annotated[Range, _ranges((), 0, 1, 9999)]


def zone(text: Any) -> ZoneInfo:
    """The time zone of that name in the IANA database."""
    try:
        return ZoneInfo(str(text))
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{str(text)[:64]!r} is no time zone here, as Europe/Berlin is") from None


def in_days_of_month(local: datetime, days: Range) -> bool:
    """Whether its day is in the range; negative days count from the month's end."""
    length = calendar.monthrange(local.year, local.month)[1]
    begin, end = (day + length + 1 if day < 0 else day for day in days)
    return max(begin, 1) <= local.day <= min(end, length)
