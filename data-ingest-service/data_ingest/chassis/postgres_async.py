"""Postgres through asyncpg: one translation of errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from .database import RETRY_AFTER_S, DatabaseUnavailable, Schema, meaning

# InternalClientError: the server's last message was unread when the session was used again.
LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    ConnectionError,
)


def translated(exc: Exception, schema: Schema) -> DatabaseUnavailable | None:
    """Our error for one of the driver or the network; None for what is neither."""
    if isinstance(exc, TimeoutError):
        return meaning(None, "Postgres did not answer in time", schema)
    if isinstance(exc, asyncpg.InternalClientError):
        return meaning(None, "the connection was lost in the middle of a statement", schema)
    if isinstance(exc, asyncpg.PostgresError):
        text = f"{type(exc).__name__}: {exc}"
        # Statements of the metric store are fixed: what is refused is the store's trouble.
        refused = DatabaseUnavailable(detail=text, retry_after_s=RETRY_AFTER_S)
        return meaning(exc.sqlstate, text, schema) or refused
    if isinstance(exc, (*LOST, OSError)):
        return meaning(None, f"{type(exc).__name__}: {exc}", schema)
    return None


@contextmanager
def translating(schema: Schema) -> Iterator[None]:
    """Errors of the driver and the network leave the block as ours."""
    try:
        yield
    except Exception as exc:
        if (ours := translated(exc, schema)) is None:
            raise
        raise ours from exc
