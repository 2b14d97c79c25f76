"""Laws of a store's history, with answers of Postgres as its manual says them."""

from datetime import UTC, datetime, timedelta

import pytest
import structlog

from data_ingest.errors import StoreUnavailable
from data_ingest.store.history import PROVABLE, Acknowledged, StoreHistory, StoreIdentity, identify

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
HERE = StoreIdentity(7, 1, 16_400, NOW)


class Server:
    """A connection to a server that has the batches `there`."""

    def __init__(self, *there: int) -> None:
        self.there = there

    async def fetch(self, _: str, batch_ids, *__) -> list[dict[str, int]]:
        return [{"place": i} for i, one in enumerate(batch_ids, 1) if one not in self.there]

    async def fetchrow(self, _: str) -> dict[str, object]:
        return {"system_identifier": 7, "timeline": None, "series_table": 1, "started_at": NOW}


async def history(age: timedelta = timedelta(0)) -> StoreHistory:
    """Of a process that wrote batches 1 (5 samples) and 2 (3 samples) to HERE."""
    known = StoreHistory()
    assert await known.compare(Server(), HERE, NOW)
    for batch_id, samples in ((1, 5), (2, 3)):
        known.record(Acknowledged(batch_id, NOW - age, samples))
    return known


@pytest.mark.parametrize(
    ("identity", "there", "age", "reason", "lost"),
    [
        (HERE, (1, 2), 0, "", None),
        (StoreIdentity(7, 1, 16_400, LATER), (1, 2), 0, "", None),
        (HERE, (1,), 0, "rows_missing", 3),
        (StoreIdentity(7, 1, 16_400, LATER), (1,), 0, "rows_missing", 3),
        (StoreIdentity(7, 2, 16_400, NOW), (1, 2), 0, "another_timeline", 0),
        (StoreIdentity(7, 2, 16_400, NOW), (), 0, "another_timeline", 8),
        (StoreIdentity(8, 1, 16_400, LATER), (), 0, "another_cluster", 8),
        (StoreIdentity(7, 1, 16_500, NOW), (), 0, "schema_made_anew", 8),
        (HERE, (), 1, "", None),
        (StoreIdentity(7, 1, 16_400, LATER), (), 1, "restarted_without_proof", None),
    ],
)
async def test_what_makes_another_store(identity, there, age, reason, lost):
    """Cluster, table or timeline differ, or an acknowledged batch is gone: nothing learnt is valid,
    and the loss is told. A batch too old to be proven by proves neither.
    """
    known = await history(age * PROVABLE)
    with structlog.testing.capture_logs() as logs:
        assert await known.compare(Server(*there), identity, NOW) is (reason == "")
    assert known.epoch == (1 if reason else 0)
    assert [(one["reason"], one["lost_samples"]) for one in logs] == [(reason, lost)] * bool(reason)
    assert [one["log_level"] for one in logs] == (["error"] if lost else ["warning"] * bool(reason))
    # Said once: from here on it is the known one.
    assert await known.compare(Server(*there), identity, NOW)


async def test_a_standby_is_no_store_to_write_to():
    """A server in recovery is refused, and named as what it is."""
    with pytest.raises(StoreUnavailable, match="standby"):
        await identify(Server())
