"""Connections of a pool that answered just now."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from data_api.chassis.postgres_async import LOST


@contextlib.asynccontextmanager
async def pinged(pool: Any, connections: int, timeout_s: float) -> AsyncIterator[Any]:
    """One that answered just now; sessions that ended while idle, of which a pool of so many
    `connections` is full after a restart of Postgres, are thrown away.
    """
    for is_last in (*[False] * connections, True):
        connection = await pool.acquire(timeout=timeout_s)
        try:
            await connection.execute("SELECT")
            break
        except BaseException as exc:
            with contextlib.suppress(asyncpg.InterfaceError):  # if the pool noticed, too
                connection.terminate()
            await pool.release(connection)
            if is_last or not isinstance(exc, LOST):
                raise
    try:
        yield connection
    finally:
        await pool.release(connection)
