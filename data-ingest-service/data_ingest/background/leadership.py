"""Work that one replica does at a time, under a Postgres lock.

The lock is a transaction's, open and idle for as long as it is held: unlike a session's it survives
a pooler that lends its connections by transaction, and it keeps neither rows nor snapshots.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from data_ingest.background.supervisor import Stop
from data_ingest.store import catalogue

RETRY_S: Final = 5.0
CHECK_S: Final = 2.0
PING_TIMEOUT_S: Final = 3.0
_TRY_LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"


async def lead(
    stop: Stop, database_url: str, purpose: str, work: Callable[[Stop], Awaitable[None]]
) -> None:
    """`work` runs while this process holds the lock of `purpose`; returns after `stop`.

    When the lock is lost or `stop` is set, the Stop of `work` is set and its end is awaited. Raises
    what `work` or the connection raised.
    """
    async with catalogue.connected(database_url, purpose) as conn, conn.transaction():
        while not await conn.fetchval(_TRY_LOCK, f"dis:{purpose}"):
            if await stop.wait(RETRY_S):
                return
        mine = Stop()
        working = asyncio.ensure_future(work(mine))
        try:
            while not working.done() and not await stop.wait(CHECK_S):
                # A lock lives as long as its transaction: while this answers, we hold it.
                await conn.fetchval("SELECT 1", timeout=PING_TIMEOUT_S)
        finally:
            mine.set()
            await working
