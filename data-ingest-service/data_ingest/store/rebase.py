"""Transaction ids of a restored dump are moved below the new ones that its cluster gives.

    the old cluster gave  … 118,000 119,250 ─▶ dump ─▶ a fresh one gives  751, 752, …

Rows keep their `xid` in a dump, and the order of samples is by it: a correction with xid 751 would
lose against what it corrects, and compaction, which takes batches below the oldest running
transaction, would never take the restored ones. Live batches therefore get numbers that this
cluster has given to nobody else, in their order; blocks a precedence of 0 or less.
Source: docs/adr/0012-store-history.md.
"""

from typing import Any, Final

import structlog

TIMEOUT_S: Final = 3600.0
"""For one statement; a million series took two minutes on a busy machine."""

log = structlog.get_logger()

# Each row committed here has an xid below `next_xid`. The newest series stands for all: its id is
# the highest, its xid nearly so.
_POSITION: Final = """
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid,
       (SELECT max(xid::text::bigint) FROM metrics.batch WHERE compacted_by IS NULL) AS batch,
       (SELECT max(precedence) FROM metrics.block) AS block,
       (SELECT xid::text::bigint FROM metrics.series ORDER BY series_id DESC LIMIT 1) AS series,
       (SELECT count(*) FROM metrics.batch WHERE compacted_by IS NULL) AS live
"""
# In the order of a writer's and a compaction's locks; readers go on.
_LOCK: Final = "LOCK TABLE metrics.series, metrics.block, metrics.batch IN SHARE ROW EXCLUSIVE MODE"
# $1 the position. When the newest row was made that the old cluster wrote for certain.
_DUMPED_AT: Final = """
SELECT greatest(
  (SELECT max(received_at) FROM metrics.batch
    WHERE compacted_by IS NULL AND xid >= $1::bigint::text::xid8),
  (SELECT max(created_at) FROM metrics.block WHERE precedence >= $1),
  (SELECT max(created_at) FROM metrics.series WHERE xid >= $1::bigint::text::xid8))
"""
# $1 the first number, $2 the dump's time: what was written here before this ran comes last, however
# low its xid is.
_BATCHES: Final = """
WITH ranked AS (
  SELECT batch_id, received_at,
         dense_rank() OVER (ORDER BY xid::text::bigint < $1 AND received_at > $2, xid) - 1 AS place
    FROM metrics.batch WHERE compacted_by IS NULL)
UPDATE metrics.batch AS kept SET xid = ($1 + place)::text::xid8
  FROM ranked
 WHERE kept.batch_id = ranked.batch_id AND kept.received_at = ranked.received_at
   AND kept.compacted_by IS NULL
"""
_BLOCKS: Final = "UPDATE metrics.block SET precedence = precedence - $1 WHERE created_at <= $2"
_SERIES: Final = """
UPDATE metrics.series SET xid = pg_current_xact_id() WHERE xid >= $1::bigint::text::xid8
"""


async def rebase(conn: Any) -> bool:
    """Every stored transaction id is below those to come, in the old order; whether it was not.

    All or nothing, by whichever process comes first. conn: outside of a transaction.
    """
    position = await conn.fetchrow(_POSITION, timeout=TIMEOUT_S)
    if not _is_ahead(position):
        return False
    log.warning("restored_transaction_ids_found", **position)
    # As many numbers as there are live batches are given to nobody else.
    await conn.execute(
        f"DO $$ BEGIN FOR i IN 1..{int(position['live'])} LOOP"
        " PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$",
        timeout=TIMEOUT_S,
    )
    async with conn.transaction():
        await conn.execute(_LOCK, timeout=TIMEOUT_S)
        if not _is_ahead(await conn.fetchrow(_POSITION, timeout=TIMEOUT_S)):
            return False  # another process was faster
        first = position["next_xid"]
        dumped_at = await conn.fetchval(_DUMPED_AT, first, timeout=TIMEOUT_S)
        batches = await conn.execute(_BATCHES, first, dumped_at, timeout=TIMEOUT_S)
        blocks = "UPDATE 0"
        if (position["block"] or 0) >= first:
            blocks = await conn.execute(_BLOCKS, position["block"], dumped_at, timeout=TIMEOUT_S)
        series = await conn.execute(_SERIES, first, timeout=TIMEOUT_S)
    log.warning("transaction_ids_rebased", batches=batches, blocks=blocks, series=series)
    return True


def _is_ahead(position: Any) -> bool:
    highest = max(position[table] or 0 for table in ("batch", "block", "series"))
    return bool(highest >= position["next_xid"])
