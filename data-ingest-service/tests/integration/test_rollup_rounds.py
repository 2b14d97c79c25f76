"""Laws of rollups on real Postgres and Parquet: registered whole, anew after late samples, gone
with the samples.
"""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_ingest.limits import DAY_MS
from data_ingest.retention.rounds import keep_retention
from data_ingest.rollups.rounds import roll_up_due
from data_ingest.usage import record
from tests.metric_store import NOW_MS, Store, opened_store

MIDNIGHT = NOW_MS - NOW_MS % DAY_MS - 5 * DAY_MS
MINUTE_MS = 60_000


async def roll_up(store: Store, days: int | None = None) -> bool:
    await store.conn.execute(
        "UPDATE metrics.block SET created_at = created_at - interval '2 hours'"
        " WHERE created_at > now() - interval '1 hour'"
    )
    server_ms = await store.conn.fetchval("SELECT (extract(epoch FROM now()) * 1000)::int8")
    now_ms = max(NOW_MS, server_ms)
    return await roll_up_due(store.conn, store.objects, [300_000, 3_600_000], days, now_ms)


async def rollups(store: Store) -> list[Any]:
    return [row for row in await store.blocks() if row["resolution_ms"]]


async def test_a_day_is_rolled_up_and_any_parquet_reader_reads_it(
    store_url: str, tmp_path: Path
) -> None:
    """Over all its blocks, of two samples of one instant the last; midnight is of the day before;
    a second round finds nothing to do, and stored bytes that are counted stay.
    """
    async with opened_store(store_url, tmp_path) as store:
        await store.commit(
            (7, MIDNIGHT, 9.0), (7, MIDNIGHT + 1, 1.0), (7, MIDNIGHT + MINUTE_MS, 5.0)
        )
        await store.compact()
        await store.commit((7, MIDNIGHT + MINUTE_MS, 4.0), (3, MIDNIGHT + DAY_MS, 2.0))
        await store.compact()
        raw_bytes = sum(row["bytes"] for row in await store.blocks())
        assert not await roll_up(store)
        made = await rollups(store)
        assert [(row["min_ts"], row["max_ts"]) for row in made] == [
            (start + 1, start + DAY_MS) for start in (MIDNIGHT - DAY_MS, MIDNIGHT) for _ in "ab"
        ]
        five = next(
            row for row in made if row["min_ts"] > MIDNIGHT and row["resolution_ms"] == 300_000
        )
        table = pq.read_table(tmp_path / five["object_key"]).to_pylist()
        assert [(r["series_id"], r["end_ms"], r["count"], r["sum"]) for r in table] == [
            (3, MIDNIGHT + DAY_MS, 1, 2.0),
            (7, MIDNIGHT + 5 * MINUTE_MS, 2, 5.0),
        ]
        assert not await roll_up(store)
        assert [row["block_id"] for row in await rollups(store)] == [
            row["block_id"] for row in made
        ]
        await record.read_stored_bytes(store.conn)
        assert raw_bytes == await store.conn.fetchval(
            "SELECT max(stored_bytes_max) FROM metrics.usage_hour WHERE tenant_id = $1",
            store.tenant,
        )


async def test_late_samples_replace_the_rollups_of_their_day(
    store_url: str, tmp_path: Path
) -> None:
    """In one transaction, and no others'."""
    async with opened_store(store_url, tmp_path) as store:
        await store.commit((7, MIDNIGHT + 1, 1.0), (7, MIDNIGHT + DAY_MS + 1, 1.0))
        await store.compact()
        await roll_up(store)
        before = {row["block_id"]: row["min_ts"] for row in await rollups(store)}
        await store.commit((7, MIDNIGHT + 2, 2.0))
        await store.compact()
        await roll_up(store)
        after = {row["block_id"]: row["min_ts"] for row in await rollups(store)}
        assert sorted(before.values()) == sorted(after.values())
        assert {before[block_id] for block_id in before.keys() - after.keys()} == {MIDNIGHT + 1}


async def test_compaction_that_is_late_comes_first(store_url: str, tmp_path: Path) -> None:
    """While a batch waits for long, days are left alone: both need the tenant's lock."""
    async with opened_store(store_url, tmp_path) as store:
        await store.commit((7, MIDNIGHT + 1, 1.0))
        await store.compact()
        await store.commit((7, MIDNIGHT + DAY_MS + 1, 1.0))
        await store.conn.execute(
            "UPDATE metrics.batch SET received_at = received_at - interval '5 minutes'"
            " WHERE compacted_by IS NULL"
        )
        await roll_up(store)
        assert await rollups(store) == []
        await store.compact()
        await roll_up(store)
        assert len(await rollups(store)) == 4


async def test_rollups_go_with_the_samples(store_url: str, tmp_path: Path) -> None:
    """When retention deletes samples of a day, its rollups leave the catalogue with them, and none
    are made of a day that is partly past.
    """
    async with opened_store(store_url, tmp_path) as store:
        for day in range(3):
            for hour in (1, 13):
                await store.commit((7, MIDNIGHT + day * DAY_MS + hour * 3_600_000, 1.0))
                await store.compact()
        await roll_up(store)
        assert len(await rollups(store)) == 6
        past_noon = MIDNIGHT + 4 * DAY_MS + DAY_MS // 2
        await keep_retention(store.conn, store.objects, 3, past_noon)
        left = [MIDNIGHT + 2 * DAY_MS + 1] * 2
        assert [row["min_ts"] for row in await rollups(store)] == left
        await roll_up_due(store.conn, store.objects, [300_000, 3_600_000], 3, past_noon)
        assert [row["min_ts"] for row in await rollups(store)] == left


async def test_a_corrupt_block_is_quarantined_and_its_day_stays_raw(
    store_url: str, tmp_path: Path
) -> None:
    """No object is left of the attempt, and other days are rolled up."""
    async with opened_store(store_url, tmp_path) as store:
        for day in range(2):
            await store.commit((7, MIDNIGHT + day * DAY_MS + 1, 0.1))
            await store.compact()
        corrupt = (await store.blocks())[1]
        path = tmp_path / corrupt["object_key"]
        written = path.read_bytes()
        path.write_bytes(written[:4] + bytes([written[4] ^ 1]) + written[5:])
        await roll_up(store)
        assert [row["min_ts"] for row in await rollups(store)] == [MIDNIGHT + 1] * 2
        assert len(list(store.objects.list())) == 4
        assert [row["block_id"] for row in await store.blocks() if row["quarantined_at"]] == [
            corrupt["block_id"]
        ]


async def test_a_day_without_a_sample_has_a_rollup_without_rows(
    store_url: str, tmp_path: Path
) -> None:
    """Where a block reaches over it; so it is not looked at again."""
    window = MIDNIGHT - MIDNIGHT % (32 * DAY_MS) - 32 * DAY_MS
    async with opened_store(store_url, tmp_path) as store:
        far = [(7, window - n * 2 * DAY_MS, 1.0) for n in range(1, 50)]
        await store.commit((7, window + DAY_MS + 1, 1.0), (7, window + 3 * DAY_MS + 1, 1.0), *far)
        await store.compact()
        while await roll_up(store):
            pass
        made = [row for row in await rollups(store) if row["min_ts"] > window]
        assert [row["samples"] for row in made] == [1, 1, 0, 0, 1, 1]
        assert pq.read_table(tmp_path / made[2]["object_key"]).num_rows == 0
