"""The adapter to Postgres: one engine a process, bounded in every wait."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from analysis_processing.chassis.postgres import open_engine, translating
from analysis_processing.jobs.tables import SCHEMA


def engine_for(libpq_url: str, *, pool_size: int = 5) -> Engine:
    """An engine whose connections give up rather than hang; nothing is connected yet."""
    return open_engine(
        libpq_url,
        "analysis-processing-service",
        pool_size=pool_size,
        overflow=pool_size,
        statement_timeout_ms=15_000,
        lock_timeout_ms=5_000,
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction, committed at the end; a database that is away is DatabaseUnavailable."""
    with translating(SCHEMA), engine.begin() as connection:
        yield connection
