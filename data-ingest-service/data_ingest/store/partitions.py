"""The hourly partitions of `metrics.batch`: made before a sample needs them.

They are attached, not created in place: attaching lets writers and readers go on, while
`CREATE TABLE … PARTITION OF` would wait for all of them and hold up those that come meanwhile.
The hour of a batch is Postgres's `now()`, so its clock decides what is needed, never ours.
Source: PostgreSQL manual, 5.12.2.2 "Partition Maintenance".
"""

from datetime import UTC, datetime, timedelta
from typing import Any

HOUR = timedelta(hours=1)
HOURS_AHEAD = 24


def partition_name(hour: datetime) -> str:
    """`batch_2026112223` holds what was received from 23:00 UTC to midnight."""
    return f"batch_{hour.astimezone(UTC):%Y%m%d%H}"


def hours_needed(now: datetime) -> list[datetime]:
    """The hour before (clocks differ a little), this one, and a day ahead."""
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
    return [first + i * HOUR for i in range(HOURS_AHEAD + 2)]


async def server_now(conn: Any) -> datetime:
    """The server's `now()`, the clock that stamps `received_at`."""
    now: datetime = await conn.fetchval("SELECT now()")
    return now


async def ensure_partitions(conn: Any, now: datetime) -> list[str]:
    """Every partition that `now` and the day after it need is there; the names of those made.

    conn: an asyncpg connection outside of a transaction. Many processes may run it at once.
    """
    names = {partition_name(hour): hour for hour in hours_needed(now)}
    attached = {row["relname"] for row in await conn.fetch(_PARTITIONS, list(names))}
    missing = [name for name in names if name not in attached]
    made: list[str] = []
    for name in missing:
        hour = names[name]
        async with conn.transaction():
            await conn.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('metrics.batch partitions', 0))"
            )
            if await conn.fetch(_PARTITIONS, [name]):
                continue
            start, end = hour.isoformat(), (hour + HOUR).isoformat()
            # The table may exist detached: upkeep was killed between detaching and dropping it,
            # and then the clock was set back.
            await conn.execute(
                f"CREATE TABLE IF NOT EXISTS metrics.{name} (LIKE metrics.batch"
                " INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
            )
            await conn.execute(
                f"ALTER TABLE metrics.batch ATTACH PARTITION metrics.{name}"
                f" FOR VALUES FROM ('{start}') TO ('{end}')"
            )
            made.append(name)
    return made


_PARTITIONS = """
SELECT child.relname FROM pg_inherits
  JOIN pg_class child ON child.oid = inhrelid
 WHERE inhparent = 'metrics.batch'::regclass AND child.relname = ANY($1::text[])
"""
