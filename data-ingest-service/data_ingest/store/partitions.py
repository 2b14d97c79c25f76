"""The partitions of `metrics.batch`, a quarter of an hour each: made before a sample needs them.

They are attached, not created in place: attaching lets writers and readers go on, while
`CREATE TABLE … PARTITION OF` would wait for all of them and hold up those that come meanwhile.
The quarter of a batch is Postgres's `now()`, so its clock decides what is needed, never ours.
Source: PostgreSQL manual, 5.12.2.2 "Partition Maintenance".
"""

from datetime import UTC, datetime, timedelta
from typing import Any

WIDTH = timedelta(minutes=15)
"""The shorter, the sooner compacted payloads are dropped; a query plans over all partitions."""
AHEAD = timedelta(hours=6)


def partition_name(at: datetime) -> str:
    """`batch_202611222345` holds what was received from 23:45 UTC to midnight."""
    at = at.astimezone(UTC)
    return f"batch_{at - timedelta(minutes=at.minute % 15):%Y%m%d%H%M}"


def span_of(partition: str) -> tuple[datetime, datetime]:
    """When what the partition holds was received; the end is exclusive."""
    start = datetime.strptime(f"{partition}+0000", "batch_%Y%m%d%H%M%z")
    return start, start + WIDTH


def partitions_needed(now: datetime) -> list[str]:
    """The quarter before (clocks differ a little), this one, and AHEAD."""
    return [partition_name(now + i * WIDTH) for i in range(-1, AHEAD // WIDTH + 1)]


async def server_now(conn: Any) -> datetime:
    """The server's `now()`, the clock that stamps `received_at`."""
    now: datetime = await conn.fetchval("SELECT now()")
    return now


async def ensure_partitions(conn: Any, now: datetime) -> list[str]:
    """Every partition that `now` and the hours after it need is there; the names of those made.

    conn: an asyncpg connection outside of a transaction. Many processes may run it at once.
    """
    if not await _missing(conn, partitions_needed(now)):
        return []
    async with conn.transaction():
        await conn.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('metrics.batch partitions', 0))"
        )
        made = await _missing(conn, partitions_needed(now))
        for name in made:
            # The table may exist detached: upkeep was killed between detaching and dropping it,
            # and then the clock was set back.
            await conn.execute(
                f"CREATE TABLE IF NOT EXISTS metrics.{name} (LIKE metrics.batch"
                " INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
            )
            await attach(conn, name)
    return made


async def attach(conn: Any, name: str) -> None:
    """The table of that name is the partition of its span."""
    start, end = (at.isoformat() for at in span_of(name))
    await conn.execute(
        f"ALTER TABLE metrics.batch ATTACH PARTITION metrics.{name}"
        f" FOR VALUES FROM ('{start}') TO ('{end}')"
    )


async def _missing(conn: Any, names: list[str]) -> list[str]:
    """Those of `names` that are not attached."""
    attached = {row["relname"] for row in await conn.fetch(_PARTITIONS, names)}
    return [name for name in names if name not in attached]


_PARTITIONS = """
SELECT child.relname FROM pg_inherits
  JOIN pg_class child ON child.oid = inhrelid
 WHERE inhparent = 'metrics.batch'::regclass AND child.relname = ANY($1::text[])
"""
