"""Laws of usage on real Postgres and Parquet: what is stored is counted once."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_ingest.batch import Columns
from data_ingest.store import catalogue
from data_ingest.usage import lookup, record
from tests.metric_store import HOUR_MS, NOW_MS, Store, opened_store

HOUR = datetime.fromtimestamp((NOW_MS - NOW_MS % HOUR_MS) / 1000, UTC)


async def hours(store: Store) -> dict[datetime, Any]:
    """The tenant's hours of usage."""
    rows = await store.conn.fetch(
        "SELECT * FROM metrics.usage_hour WHERE tenant_id = $1", store.tenant
    )
    return {row["hour"]: row for row in rows}


@pytest.mark.parametrize("compacted_after", [(), (0, 1, 2, 3, 4), (2,), (0, 4)], ids=str)
async def test_what_is_sent_again_is_counted_once(
    store_url: str, tmp_path: Path, compacted_after: tuple[int, ...]
) -> None:
    """A body that is sent five times because its answers were lost is counted once, wherever its
    copies lie: in batches of one run, in a batch and a block, in blocks that have been merged.
    """
    series, steps = 500, 100
    body = Columns(
        np.tile(np.arange(1, series + 1), steps),
        np.repeat(NOW_MS + np.arange(steps) * 1000, series),
        np.arange(series * steps, dtype=np.float64),
    )
    async with opened_store(store_url, tmp_path) as store:
        for time in range(5):
            await store.commit_columns(body)
            if time in compacted_after:
                await store.compact()
        await store.compact()
        await store.merge(NOW_MS + 100 * HOUR_MS)
        await store.commit_columns(body)
        await store.compact()
        assert await store.used() == series * steps


async def test_two_compactors_count_once(store_url: str, tmp_path: Path) -> None:
    """Two processes that compact at the same time while samples are sent again count them once."""
    async with opened_store(store_url, tmp_path) as store:
        other = await catalogue.connect(store_url, "other")
        for step in range(12):
            rows = [(s, NOW_MS + at, 0.5) for s in (1, 2) for at in (step, step // 2)]
            await store.commit(*rows)
            await asyncio.gather(store.compact(), store.compact(other))
        await store.compact()
        assert await store.used() == len(await store.read()) == 24
        await other.close()


async def test_a_sample_belongs_to_the_hour_that_brought_it_first(
    store_url: str, tmp_path: Path
) -> None:
    """Sent again an hour later it counts there no more, in one run or two; the hours of one run are
    told apart.
    """
    now = datetime.now(UTC)
    async with opened_store(store_url, tmp_path) as store:
        for tenant, is_one_run in ((uuid.uuid4(), True), (uuid.uuid4(), False)):
            store.tenant = tenant
            await store.commit((1, NOW_MS, 1.0), received_at=now)
            if not is_one_run:
                await store.compact()
            later = now + timedelta(hours=1)
            await store.commit((1, NOW_MS, 1.0), (1, NOW_MS + 1, 1.0), received_at=later)
            await store.compact()
            samples = [
                row["samples"] for _, row in sorted((await hours(store)).items()) if row["samples"]
            ]
            assert samples == [1, 1]


async def test_active_series_by_minute(store_url: str, tmp_path: Path) -> None:
    """A series is active in each minute that it has a sample in: once, whichever runs brought them,
    and late ones too, in the hour of the samples.
    """
    start = NOW_MS - NOW_MS % HOUR_MS
    async with opened_store(store_url, tmp_path) as store:
        for batch in (
            [(1, start, 1.0), (2, start + 1, 1.0), (1, start + 59_999, 1.0)],
            [(1, start + 60_000, 1.0), (3, start + 59_000, 1.0), (2, start + 2, 2.0)],
            [(1, start + 30_000, 1.0), (2, start - 1, 1.0), (1, start + 59 * 60_000, 1.0)],
        ):
            await store.commit(*batch)
            await store.compact()
        by_hour = await hours(store)
        assert by_hour[HOUR]["active_series"] == [3, 1, *[0] * 57, 1]
        assert by_hour[HOUR - timedelta(hours=1)]["active_series"] == [*[0] * 59, 1]


async def test_stored_bytes_are_read_as_they_are(store_url: str, tmp_path: Path) -> None:
    """Each reading adds the bytes of the live blocks to the hour: their largest and their sum. Each
    change of an hour is a revision.
    """
    async with opened_store(store_url, tmp_path) as store:
        sizes = []
        for step in range(2):
            await store.commit((1, NOW_MS + step, 0.5))
            await store.compact()
            await record.read_stored_bytes(store.conn)
            sizes.append(sum(row["bytes"] for row in await store.blocks()))
        (row,) = [row for row in (await hours(store)).values() if row["stored_bytes_readings"]]
        assert (row["stored_bytes_max"], row["stored_bytes_sum"]) == (max(sizes), sum(sizes))
        assert (row["stored_bytes_readings"], row["revision"]) == (2, 4)


async def break_objects(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for facts in list(store.objects.list()):
        store.objects.delete(facts.key)


async def leave_no_budget(_: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "TIMESTAMPS_MAX", 0)


@pytest.mark.parametrize("hinder", [break_objects, leave_no_budget])
async def test_what_cannot_be_looked_up_is_not_counted_twice(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hinder: Any
) -> None:
    """Where a block is gone, or the run has looked at enough, what lies in the block's time counts
    as stored; what lies outside is counted, and the samples are compacted all the same.
    """
    async with opened_store(store_url, tmp_path) as store:
        rows = [(1, NOW_MS, 1.0), (2, NOW_MS + 1000, 1.0)]
        await store.commit(*rows)
        await store.compact()
        await hinder(store, monkeypatch)
        await store.commit(*rows, (1, NOW_MS + 1001, 1.0))
        assert await store.compact() == 3
        assert await store.used() == 3
