"""When a report's periods begin and end, in UTC. Pure."""

from datetime import datetime, timedelta

LENGTHS = {"day": 1, "week": 7, "month": 31}
"""In days; of a month at most."""
STEPS_MS = {"day": 600_000, "week": 3_600_000, "month": 14_400_000}


def period(every: str, hour: int, now: datetime) -> tuple[datetime, datetime, datetime]:
    """Start and end of the last period that is over, and the end of the one that goes on.

    They end at `hour` of each day, of Mondays, or of the first of a month.
    """
    offset = timedelta(hours=hour)
    end = first_day(every, (now - offset).replace(minute=0, second=0, microsecond=0, hour=0))
    start = first_day(every, end - timedelta(days=1))
    following = first_day(every, end + timedelta(days=LENGTHS[every]))
    return start + offset, end + offset, following + offset


def first_day(every: str, day: datetime) -> datetime:
    """The day, its Monday or the first of its month."""
    return day - timedelta(days={"day": 0, "week": day.weekday(), "month": day.day - 1}[every])
