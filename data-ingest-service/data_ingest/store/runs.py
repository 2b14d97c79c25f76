"""What all runs over a tenant's blocks have in common: compaction, rollups, retention, deletion.

    lock tenant ─▶ list ─▶ plan ─▶ write objects ─▶ register new, replace old ─▶ commit
    └───────────────────────────── one transaction ──────────────────────────────────┘

An object is durable before its row is written, and rows change in one commit: a kill at any step
leaves the old state and perhaps an object without a row, which the sweep deletes. The transaction
has no xid until its last statements, so it holds back no reader's watermark while it works.
Source: docs/contracts.md, section 3; docs/adr/0004-compaction.md.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import anyio.to_thread
import structlog
from prometheus_client import Counter

from data_ingest.chassis.kinds import ServiceError
from data_ingest.store import catalogue
from data_ingest.store.catalogue import ALWAYS_MS, NewBlock
from data_ingest.store.objects import ObjectStore
from data_ingest.store.refs import BlockRef
from data_ingest.store.rewriting import CorruptBlock, write_merged

T = TypeVar("T")
RUN_TIMEOUT_S: Final = 900.0
"""Far below the age at which the sweep takes an object without a row for an orphan."""

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def contained(
    conn: Any, tenant: UUID, event: str, failures: Counter, names: list[str] | None = None
) -> AsyncIterator[None]:
    """What fails in the `with` block, or takes over RUN_TIMEOUT_S, is counted in `failures`, logged
    as `event` and added to `names`; raised only when the connection is closed, so that the next
    tenants go on.
    """
    try:
        async with asyncio.timeout(RUN_TIMEOUT_S):
            yield
    except Exception as error:
        failures.inc()
        if names is not None:
            names.append(type(error).__name__)
        if conn.is_closed():
            raise
        is_expected = isinstance(error, ServiceError | TimeoutError)
        write = log.warning if is_expected else log.exception
        write(event, tenant=str(tenant), reason=f"{type(error).__name__}: {error}")


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """The result of `work`, with the event loop free meanwhile.

    A cancelled caller does not wait for it; an object that `work` still writes is an orphan.
    """
    return await anyio.to_thread.run_sync(partial(work, *args), abandon_on_cancel=True)


async def unless_corrupt(conn: Any, tenant: UUID, work: Callable[..., T], *args: Any) -> T | None:
    """The result of `work` in a thread; None where it raises CorruptBlock: that block is
    quarantined, once the caller's transaction commits.
    """
    try:
        return await in_thread(work, *args)
    except CorruptBlock as corrupt:
        await catalogue.quarantine(conn, tenant, corrupt.facts["block_id"])
        log.error("block_quarantined", tenant=str(tenant), reason=str(corrupt), **corrupt.facts)  # noqa: TRY400 - our own error
        return None


async def rewrite(
    conn: Any,
    objects: ObjectStore,
    tenant: UUID,
    group: Sequence[BlockRef],
    since_ms: int = ALWAYS_MS,
) -> tuple[int, list[NewBlock]] | None:
    """The group is one block, as `write_merged` makes it, once the caller's transaction commits:
    the run's number and the block, if anything is left. None where a block of it was quarantined.
    """
    deleted = await catalogue.deleted_series(conn, tenant)
    made = await unless_corrupt(
        conn, tenant, write_merged, objects, tenant, group, deleted, since_ms
    )
    if made is None:
        return None
    replaced = [ref.block_id for ref in group]
    return await catalogue.exchange(conn, tenant, made, replaced, since_ms), made
