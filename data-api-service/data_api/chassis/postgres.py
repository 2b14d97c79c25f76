"""Postgres through SQLAlchemy and psycopg2: one way to open a pool, one translation of errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool

from .database import RETRY_AFTER_S, DatabaseUnavailable, Schema, meaning

CONNECT_TIMEOUT_S: Final = 5
POOL_TIMEOUT_S: Final = 5
RECYCLE_S: Final = 1_800


def open_engine(
    libpq_url: str,
    name: str,
    *,
    pool_size: int,
    overflow: int,
    statement_timeout_ms: int,
    lock_timeout_ms: int,
) -> Engine:
    """A pool that connects on first use, bounded in every wait; it lends no dead connection.

    libpq_url: whatever libpq accepts. name: as Postgres shows it. A transaction may be idle twice
    as long as a statement may run.
    """
    options = (
        f"-c statement_timeout={statement_timeout_ms} -c lock_timeout={lock_timeout_ms}"
        f" -c idle_in_transaction_session_timeout={statement_timeout_ms * 2} -c timezone=UTC"
    )
    return _engine(
        libpq_url,
        {"application_name": name, "connect_timeout": CONNECT_TIMEOUT_S, "options": options},
        pool_size=pool_size,
        max_overflow=overflow,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_S,
    )


def open_unbounded(libpq_url: str, name: str) -> Engine:
    """Connections whose statements may take as long as they need: for migrations."""
    return _engine(libpq_url, {"application_name": name}, poolclass=NullPool)


def _engine(libpq_url: str, arguments: dict[str, Any], **pool: Any) -> Engine:
    # The URL goes to libpq as it is, so every form of it works (`?host=/run/x` for a socket).
    return create_engine(
        "postgresql+psycopg2://", creator=lambda: psycopg2.connect(libpq_url, **arguments), **pool
    )


@contextmanager
def translating(schema: Schema) -> Iterator[None]:
    """Errors of driver and pool leave the block as ours; mistakes of ours stay what they are."""
    try:
        yield
    except PoolTimeout as exc:
        detail = "every connection is in use"
        raise DatabaseUnavailable(detail=detail, retry_after_s=RETRY_AFTER_S) from exc
    except DBAPIError as exc:
        if exc.connection_invalidated or isinstance(exc.orig, psycopg2.InterfaceError):
            sqlstate = None
        else:
            sqlstate = getattr(exc.orig, "pgcode", None)
            if sqlstate is None and not isinstance(exc.orig, psycopg2.OperationalError):
                raise  # the driver's own objection: a statement or parameter it cannot send
        if (ours := meaning(sqlstate, str(exc.orig), schema)) is None:
            raise
        raise ours from exc
