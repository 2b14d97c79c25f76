"""Laws of deleting series: gone from answers at once, from disk soon, and nothing else goes."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from asgi_lifespan import LifespanManager

from data_ingest.app import create_app
from data_ingest.background import compaction_plan as plan
from data_ingest.chassis.identity.keys import checksum
from data_ingest.model import SampleBatch, Sender
from data_ingest.protocols import remote_write
from data_ingest.retention import deletion
from data_ingest.retention.rounds import keep_retention
from data_ingest.selectors import parse
from data_ingest.settings import Settings
from tests.integration.test_retention import live_samples, series_rows, two_writers
from tests.metric_store import NOW_MS, Store, merge_all, opened_store
from tests.write_path import BOUNDS, FREE, are_queued, body, now_ms, until, waiting

DAY_MS = 86_400_000
URL = "/api/v1/admin/tsdb/delete_series"
TENANT = UUID(int=0xDE)


async def add(store: Store, *names: str) -> list[int]:
    """The ids of series with these names, in this order."""
    rows = [
        await store.conn.fetchval(
            "INSERT INTO metrics.series (tenant_id, labels, labels_hash) VALUES"
            " ($1, jsonb_build_object('__name__', $2::text, 'job', 't'), $3) RETURNING series_id",
            store.tenant,
            name,
            uuid.uuid4().bytes,
        )
        for name in names
    ]
    return [int(row) for row in rows]


async def delete(store: Store, selector: str) -> int:
    """How many series went."""
    selection = await deletion.select(store.conn, store.tenant, [parse(selector)])
    await deletion.delete(store.conn, store.tenant, selection.series_ids)
    return int(selection.series_ids.size)


async def upkeep(store: Store) -> None:
    await keep_retention(store.conn, store.objects, None, NOW_MS)


async def notes(store: Store) -> int:
    return int(await store.conn.fetchval("SELECT count(*) FROM metrics.deleted_series"))


async def test_deleted_series_leave_rows_batches_and_blocks(store_url: str, tmp_path: Path) -> None:
    """Their rows at once; their samples when the batches of the time are compacted; every other
    series keeps every sample, and another tenant all.
    """
    async with opened_store(store_url, tmp_path) as store:
        other, mine = uuid.uuid4(), store.tenant
        store.tenant = other
        (theirs,) = await add(store, "a")
        await store.commit((theirs, NOW_MS, 1.0))
        store.tenant = mine
        a, ab, b = await add(store, "a", "ab", "b")
        await store.commit(*((s, NOW_MS - DAY_MS, 1.0) for s in (a, ab, b)))
        await store.commit((a, NOW_MS - 9 * DAY_MS, 1.0))
        await store.compact()
        await store.commit(*((s, NOW_MS, 2.0) for s in (b, a)))
        assert await delete(store, '{__name__=~"a.*"}') == 2
        assert await series_rows(store) == {b}
        await upkeep(store)
        assert await notes(store) == 1, "not before the batches of the time are in blocks"
        await store.compact()
        await upkeep(store)
        assert set(await store.read()) == {(b, NOW_MS - DAY_MS), (b, NOW_MS)}
        assert await notes(store) == 0
        assert len(await store.blocks()) == 2
        store.tenant = other
        assert len(await store.read()) == len(await series_rows(store)) == 1


async def test_merging_does_not_carry_deleted_samples_past_the_removal(
    store_url: str, tmp_path: Path
) -> None:
    """Blocks merged or written anew while a deletion is under way have none of its samples."""
    async with opened_store(store_url, tmp_path) as store:
        a, b = await add(store, "a", "b")
        for second in range(plan.MERGE_FAN_IN):
            rows = [(a, NOW_MS + second, 1.0)] + [(b, NOW_MS + second, 1.0)] * (second % 2)
            await store.commit(*rows)
            await store.compact()
        assert await delete(store, "a") == 1
        assert await merge_all(store.conn, store.objects, store.tenant, NOW_MS + DAY_MS)
        assert {series_id for series_id, _ in await store.read()} == {b}
        assert len(await store.read()) == plan.MERGE_FAN_IN // 2
        await upkeep(store)
        assert await notes(store) == 0


async def test_a_tenant_without_any_series_left_has_no_blocks(
    store_url: str, tmp_path: Path
) -> None:
    """All blocks go, also in a merge of what was deleted; one that is corrupt stops no other."""
    async with opened_store(store_url, tmp_path) as store:
        (a,) = await add(store, "a")
        for day in range(3):
            for second in range(8):
                await store.commit((a, NOW_MS - day * DAY_MS + second, 1.0))
                await store.compact()
        keys = [row["object_key"] for row in await store.blocks()]
        (tmp_path / keys[0]).write_bytes(b"no block")
        assert await delete(store, '{job="t"}') == 1
        await merge_all(store.conn, store.objects, store.tenant, NOW_MS)
        await upkeep(store)
        left = await store.blocks()
        assert [row["object_key"] for row in left] == keys[:1]
        assert left[0]["quarantined_at"] is not None
        assert await notes(store) == 0


async def test_rollups_go_once_and_when_the_samples_went(store_url: str, tmp_path: Path) -> None:
    """Not while batches from before the deletion wait for compaction."""
    async with opened_store(store_url, tmp_path) as store:
        a, b = await add(store, "a", "b")
        await store.commit((a, NOW_MS, 1.0), (b, NOW_MS, 1.0))
        await store.compact()
        await store.conn.execute(
            "INSERT INTO metrics.block (tenant_id, run_id, precedence, min_ts, max_ts, series,"
            " samples, bytes, object_key, resolution_ms, level)"
            " SELECT tenant_id, run_id, precedence, min_ts, max_ts, series, samples, bytes,"
            " object_key || '-rollup', 300000, 0 FROM metrics.block WHERE tenant_id = $1",
            store.tenant,
        )
        rollups = (
            "SELECT count(*) FROM metrics.block WHERE tenant_id = $1"
            " AND resolution_ms > 0 AND replaced_by IS NULL"
        )
        await store.commit((a, NOW_MS + 1, 1.0))
        assert await delete(store, "a") == 1
        await upkeep(store)
        assert await store.conn.fetchval(rollups, store.tenant) == 1
        await store.compact()
        await upkeep(store)
        assert await store.conn.fetchval(rollups, store.tenant) == 0
        assert await notes(store) == 0


async def test_writers_go_on_and_the_series_comes_back_empty(
    store_url: str, tmp_path: Path
) -> None:
    """A sender notices nothing; what it sends after the deletion is a series of its own."""
    async with two_writers(store_url, tmp_path) as (one, two, store):
        at = now_ms()
        for path in (one, two):
            await path.send(store.tenant, body(("up", [(at, 1.0)])))
        (old,) = await series_rows(store)
        assert await delete(store, "up") == 1
        for path in (one, two):
            assert (await path.send(store.tenant, body(("up", [(at, 2.0)])))).accepted == 1
        (new,) = await series_rows(store)
        assert new != old
        assert [sample for sample in await live_samples(store) if sample[0]] == [("up", 2.0)] * 2
        await store.compact()
        await upkeep(store)
        assert {series_id for series_id, _ in await store.read()} == {new}


async def test_other_tenants_of_a_transaction_are_not_decoded_again(
    store_url: str, tmp_path: Path
) -> None:
    """When series of one tenant were deleted while its commit was on its way."""
    # The metric of what is queued is that of the writer made last.
    async with two_writers(store_url, tmp_path) as (_, one, store):
        at, other, third = now_ms(), uuid.uuid4(), uuid.uuid4()
        decoded: list[UUID] = []

        async def send(tenant: UUID) -> int:
            def decode() -> SampleBatch:
                decoded.append(tenant)
                return remote_write.decode(body(("up", [(at, 1.0)])), BOUNDS)

            sender = Sender(tenant, "key")
            outcome = await one.pipeline.ingest_body(sender, decode, FREE, "remote_write")
            return int(outcome.accepted)

        tenants = (store.tenant, other, third)
        assert [await send(tenant) for tenant in tenants] == [1, 1, 1]
        decoded.clear()
        async with asyncio.TaskGroup() as sending, store.conn.transaction():
            lock = "SELECT pg_advisory_xact_lock(hashtextextended('series:' || $1::text, 0))"
            await store.conn.execute(lock, str(third))
            first = sending.create_task(send(third))
            await until(lambda: waiting(one.conn))
            rest = [sending.create_task(send(tenant)) for tenant in (store.tenant, other)]
            await until(lambda: are_queued(2))
            selection = await deletion.select(one.conn, store.tenant, [parse("up")])
            await deletion.delete(one.conn, store.tenant, selection.series_ids)
        assert [task.result() for task in (first, *rest)] == [1, 1, 1]
        assert sorted(decoded) == sorted([third, other, store.tenant, store.tenant])


async def test_a_selection_tells_how_many_which_and_about_how_much(
    store_url: str, tmp_path: Path
) -> None:
    """Half of the series of equal length are about half of the samples; the digest is of the
    series; too many are refused.
    """
    async with opened_store(store_url, tmp_path) as store:
        ids = await add(store, *(f"m{i}" for i in range(8)))
        await store.commit(*((s, NOW_MS + t, 1.0) for s in ids for t in range(10)))
        await store.compact()
        four = await deletion.select(store.conn, store.tenant, [parse('{__name__=~"m[0-3]"}')])
        assert (four.series_ids.tolist(), four.samples) == (ids[:4], 40)
        (row,) = await store.blocks()
        assert four.bytes == pytest.approx(row["bytes"] / 2, abs=1)
        assert sorted(labels["__name__"] for labels in four.examples) == ["m0", "m1", "m2", "m3"]
        names = [parse(f"m{i}") for i in (3, 2, 1, 0, 0)]
        same = await deletion.select(store.conn, store.tenant, names)
        three = await deletion.select(store.conn, store.tenant, names[:3])
        assert same.digest == four.digest != three.digest
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(deletion, "SERIES_MAX", 3)
            with pytest.raises(deletion.TooManySeries):
                await deletion.select(store.conn, store.tenant, names)


def key_of(letter: str) -> str:
    start = "coh_live_" + letter * 32
    return start + checksum(start)


ADMIN, VIEWER = key_of("a"), key_of("v")


def billing(request: httpx.Request) -> httpx.Response:
    """The internal routes of user-billing-service."""
    if request.url.path != "/internal/introspect":
        return httpx.Response(200, json={"status": "ok", "seq": 0, "revocations": []})
    is_admin = json.loads(request.content)["key"] == ADMIN
    scopes = ["metrics:read", "metrics:write", *(["admin"] if is_admin else [])]
    facts: dict[str, Any] = {"active": True, "expires_at": None, "ttl_s": 60, "limits": {}}
    return httpx.Response(
        200, json=facts | {"key_id": str(UUID(int=1)), "tenant": str(TENANT), "scopes": scopes}
    )


@contextlib.asynccontextmanager
async def service(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    facts = {
        "database_url": database_url,
        "object_store_url": "file:///nowhere",
        "ubs_url": "http://ubs",
        "service_token": "t" * 43,
        "background": False,
    }
    http = httpx.AsyncClient(transport=httpx.MockTransport(billing))
    app = create_app(Settings.model_validate(facts), http=http)
    async with (
        LifespanManager(app, startup_timeout=600, shutdown_timeout=600),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://dis") as client,
    ):
        yield client


async def test_who_may_delete_and_what_is_refused(store_url: str, tmp_path: Path) -> None:
    """An administrator previews and deletes; a viewer may neither; what cannot be done is said; a
    digest of other series deletes nothing.
    """
    admin, viewer = ({"X-API-Key": key} for key in (ADMIN, VIEWER))
    async with opened_store(store_url, tmp_path) as store, service(store_url) as client:
        store.tenant = TENANT
        await add(store, "a", "b", "c")

        async def ask(headers: Any = admin, **query: Any) -> httpx.Response:
            params = {name.replace("match", "match[]"): value for name, value in query.items()}
            return await client.post(URL, params=params, headers=headers)

        assert (await ask(viewer, match="a", dry_run="true")).status_code == 403
        assert (await ask({}, match="a")).status_code == 401
        for query in (
            {},
            {"match": "{}"},
            {"match": "a{"},
            {"match": "a", "start": "1"},
            {"match": "a", "dryrun": "true"},
        ):
            assert (await ask(**query)).status_code == 400, query
        preview = (await ask(match=["a", "b"], dry_run="true")).json()["data"]
        assert preview["series"] == 2
        assert {"__name__": "a", "job": "t"} in preview["examples"]
        assert len(await series_rows(store)) == 3
        answer = await ask(match=["a", "b", "c"], digest=preview["digest"])
        assert answer.status_code == 409
        assert len(await series_rows(store)) == 3
        assert (await ask(match=["b", "a"], digest=preview["digest"])).status_code == 204
        assert len(await series_rows(store)) == 1
        assert (await ask(match=["b", "a"])).status_code == 204


async def test_a_new_process_knows_of_deletions(store_url: str, tmp_path: Path) -> None:
    """Its first write after a restart is not looked up twice."""
    async with two_writers(store_url, tmp_path) as (one, _, store):
        await one.send(store.tenant, body(("up", [(now_ms(), 1.0)])))
        await delete(store, "up")
        await one.send(store.tenant, body(("up", [(now_ms(), 1.0)])))
        expected = one.writer.series_epoch(store.tenant)
    async with two_writers(store_url, tmp_path) as (one, _, _):
        assert one.writer.series_epoch(store.tenant) == expected == (0, 1)
