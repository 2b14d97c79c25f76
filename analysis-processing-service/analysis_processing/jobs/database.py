"""The adapter to Postgres: one engine a process, bounded in every wait."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from analysis_processing.errors import DatabaseUnavailable


def sqlalchemy_url(libpq_url: str) -> URL:
    """The libpq URL (TCP or Unix socket) with the driver's name made explicit."""
    if libpq_url.startswith("postgres://"):
        libpq_url = "postgresql://" + libpq_url.removeprefix("postgres://")
    return make_url(libpq_url).set(drivername="postgresql+psycopg2")


def engine_for(
    libpq_url: str,
    *,
    pool_size: int = 5,
    statement_timeout_ms: int = 15_000,
    lock_timeout_ms: int = 5_000,
) -> Engine:
    """An engine whose connections give up rather than hang; nothing is connected yet."""
    options = (
        f"-c statement_timeout={statement_timeout_ms} -c lock_timeout={lock_timeout_ms} "
        "-c idle_in_transaction_session_timeout=30000 -c timezone=UTC"
    )
    if lock_timeout_ms == 0:
        options = "-c timezone=UTC"
    return create_engine(
        sqlalchemy_url(libpq_url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={
            "options": options,
            "connect_timeout": 5,
            "application_name": "analysis-processing-service",
        },
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction, committed at the end; a database that is away is DatabaseUnavailable."""
    try:
        with engine.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, PoolTimeout) as exc:
        raise DatabaseUnavailable(
            retry_after_s=2, detail=type(exc.__cause__ or exc).__name__
        ) from exc
    except DBAPIError as exc:
        if exc.connection_invalidated or getattr(exc.orig, "pgcode", None) in {"42P01", "3F000"}:
            detail = (
                "lost" if exc.connection_invalidated else "the schema is missing; migrate first"
            )
            raise DatabaseUnavailable(retry_after_s=2, detail=detail) from exc
        raise
