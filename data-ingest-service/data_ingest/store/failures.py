"""What a failed transaction means: to its senders, to the log, and to the connection."""

import asyncpg

from data_ingest.chassis.kinds import ServiceError
from data_ingest.chassis.postgres_async import translated
from data_ingest.errors import StoreUnavailable
from data_ingest.store import tables
from data_ingest.store.transaction import is_partition_missing


def is_about_content(exc: Exception) -> bool:
    """Whether Postgres objects to the content, by SQLSTATE: data, constraint and size errors."""
    if isinstance(exc, asyncpg.PostgresError):
        if is_partition_missing(exc):
            return False  # 23514 like any check, but a 400 would make the sender drop the samples
        return str(exc.sqlstate or "")[:2] in {"22", "23", "54"}
    return isinstance(exc, asyncpg.DataError | ValueError | OverflowError)


def unavailable(exc: Exception) -> StoreUnavailable:
    """The error for a request whose commit failed by `exc`; senders come again."""
    return StoreUnavailable(detail=trouble(exc), retry_after_s=1)


def trouble(exc: Exception) -> str:
    """What went wrong, in the words for answers and logs."""
    if isinstance(exc, ServiceError):
        return str(exc.facts.get("detail") or exc)
    if (error := translated(exc, tables.SCHEMA)) is not None:
        return str(error.facts.get("detail") or error)
    return f"{type(exc).__name__}: {exc}".strip().rstrip(":")


def reason(exc: Exception) -> str:
    """The class of the failure, for the metric."""
    return (
        "content"
        if is_about_content(exc)
        else "timeout"
        if isinstance(exc, TimeoutError)
        else "connection"
    )
