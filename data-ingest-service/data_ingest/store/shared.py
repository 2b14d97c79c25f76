"""What all processes decide together: one small statement at a time, on one connection.

The writer's connection is never waited for. Commits here do not wait for the disk
(`synchronous_commit=off`): a crash of Postgres undoes less than a second of decisions.
"""

import asyncio
from typing import Any, Final

from data_ingest.chassis.postgres_async import translating
from data_ingest.store import catalogue
from data_ingest.store.tables import SCHEMA

TIMEOUT_S: Final = 5.0
"""For one decision, waiting for the connection included."""


class SharedDecisions:
    """A connection that is made when it is first needed, and again when it was lost."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._lock = asyncio.Lock()
        self._conn: Any = None

    async def fetchrow(self, statement: str, *arguments: Any) -> Any:
        """The first row, or None. Raises `DatabaseUnavailable` (503)."""
        with translating(SCHEMA):
            async with asyncio.timeout(TIMEOUT_S), self._lock:
                if self._conn is None or self._conn.is_closed():
                    self._conn = await catalogue.connect(self._database_url, "decisions")
                    # The server gives up first, so that nothing is decided for nobody.
                    await self._conn.execute(
                        "SET synchronous_commit = off;"
                        f"SET statement_timeout = '{TIMEOUT_S * 400:.0f}ms'"
                    )
                try:
                    return await self._conn.fetchrow(statement, *arguments)
                except BaseException:
                    self._conn.terminate()  # perhaps it leads to nobody any more
                    raise

    async def close(self) -> None:
        """The connection is closed."""
        if self._conn is not None:
            await catalogue.close(self._conn)
