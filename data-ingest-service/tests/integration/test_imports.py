"""Imports from outside: real HTTP routes, a real store, and the worker that runs in the service."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from data_ingest.background import upkeep
from data_ingest.background.supervisor import Stop
from data_ingest.imports.worker import Worker
from data_ingest.store import imports
from tests import exports
from tests.import_hub import (
    KEY_ID,
    NDJSON,
    NOW_MS,
    URL,
    WAIT_S,
    Hub,
    client_of,
    ended,
    new_key,
    running,
    seen,
    submit,
)
from tests.metric_store import Store, opened_store
from tests.stored_values import STALE_BITS, bits_of


@pytest.fixture(scope="module")
async def working_hub(postgres: str, tmp_path_factory: Any) -> AsyncIterator[Hub]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_ingest.imports.worker.POLL_S", 0.05)
        async with running(postgres, tmp_path_factory.mktemp("objects"), background=True) as hub:
            yield hub


@pytest.fixture(scope="module")
async def idle_hub(postgres: str, tmp_path_factory: Any) -> AsyncIterator[Hub]:
    """Its worker does not run."""
    async with running(postgres, tmp_path_factory.mktemp("objects"), background=False) as hub:
        yield hub


@pytest.fixture
def tenant() -> UUID:
    return uuid4()


@pytest.fixture
def slow(tenant: UUID) -> dict[str, str]:
    """Headers of a key whose plan has 400 samples a second."""
    return {"X-API-Key": new_key(tenant, rate=400)}


@pytest.fixture
async def client(working_hub: Hub, tenant: UUID) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(working_hub.app, new_key(tenant)) as http:
        yield http


@pytest.fixture
async def idle(idle_hub: Hub, tenant: UUID) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(idle_hub.app, new_key(tenant)) as http:
        yield http


@pytest.fixture
async def store(working_hub: Hub, tenant: UUID) -> AsyncIterator[Store]:
    async with opened_store(working_hub.url, working_hub.folder) as opened:
        opened.tenant = tenant
        yield opened


@pytest.fixture
async def idle_store(idle_hub: Hub, tenant: UUID) -> AsyncIterator[Store]:
    async with opened_store(idle_hub.url, idle_hub.folder) as opened:
        opened.tenant = tenant
        yield opened


def uploads(store: Store) -> list[str]:
    return [facts.key for facts in store.objects.list() if facts.key.startswith(str(store.tenant))]


async def stored(store: Store) -> dict[tuple[str, int], int]:
    """(value of the label n, ms) → bits."""
    rows = await store.conn.fetch(
        "SELECT series_id, labels FROM metrics.series WHERE tenant_id = $1", store.tenant
    )
    names = {row["series_id"]: json.loads(row["labels"]).get("n", "") for row in rows}
    return {(names[series_id], at): bits for (series_id, at), bits in (await store.read()).items()}


def series(n: str, *values: int) -> exports.Series:
    """Samples a second apart, the last a minute ago."""
    last_ms = NOW_MS - 60_000
    return {"__name__": "up", "n": n}, [
        (last_ms - (len(values) - 1 - i) * 1000, bits) for i, bits in enumerate(values)
    ]


def as_stored(*them: exports.Series) -> dict[tuple[str, int], int]:
    return {(labels["n"], at): bits for labels, samples in them for at, bits in samples}


async def test_an_export_is_imported(client, store):
    """Every bit is stored, old samples too; the import says what it did, and its upload is gone."""
    them = [
        series("a", bits_of(1.5), STALE_BITS, bits_of(-0.0)),
        series("b", bits_of(float("inf"))),
    ]
    old = ({"__name__": "up", "n": "old"}, [(NOW_MS - 20 * 86_400_000, bits_of(7.0))])
    job = await submit(client, exports.ndjson([*them, old]))
    assert (job["state"], job["format"], job["dry_run"]) == ("queued", "ndjson", False)
    job = await ended(client, job["id"])
    assert (job["state"], job["accepted"], job["refused"]) == ("succeeded", 5, {})
    assert job["progress"] == {"bytes": job["bytes"], "rows": 3}
    assert job["series"][0] == "__name__='up', n='a'"
    assert await stored(store) == as_stored(*them, old)
    assert uploads(store) == []
    listed = (await client.get(URL)).json()["data"]
    assert [one["id"] for one in listed] == [job["id"]]


async def test_the_same_import_twice_is_billed_once(client, store):
    """What is sent again is stored and counted once."""
    body = exports.ndjson([series("a", *map(bits_of, (1.0, 2.0, 3.0)))])
    for _ in range(2):
        job = await submit(client, body)
        assert (await ended(client, job["id"]))["accepted"] == 3
    await store.compact()
    assert await store.used() == 3


async def test_what_is_refused_is_told(client, store):
    """Rows that cannot be read one by one, the rest by reason; samples of both are counted."""
    late = ({"__name__": "up", "n": "late"}, [(NOW_MS - 90 * 86_400_000, 0)] * 2)
    body = (
        exports.ndjson([series("a", 0), late]) + b"nonsense\0\n" + exports.ndjson([series("b", 0)])
    )
    job = await ended(client, (await submit(client, body))["id"])
    assert (job["state"], job["accepted"]) == ("succeeded", 2)
    assert job["refused"] == {"malformed_row": 1, "too_old": 2}
    lines = (await client.get(f"{URL}/{job['id']}/refused")).text.splitlines()
    malformed, too_old = (json.loads(line) for line in lines)
    assert (malformed["row"], malformed["reason"]) == (3, "malformed_row")
    assert malformed["text"] == "nonsense\ufffd"
    assert (too_old["row"], too_old["last_row"], too_old["count"]) == (1, 4, 2)
    assert "is outside" in too_old["why"]
    refused = (await client.get("/api/v1/refused")).json()["data"]
    assert {(one["reason"], one["samples"], one["sender"]) for one in refused} == {
        ("malformed_row", 1, KEY_ID),
        ("too_old", 2, KEY_ID),
    }


async def test_a_dry_run_stores_nothing(client, store):
    """It counts and reports as the import would; neither samples nor series nor refusals are."""
    late = ({"__name__": "up", "n": "late"}, [(1, 0)])
    body = exports.ndjson([series("a", 0, 0), late]) + b"nonsense\n"
    job = await ended(client, (await submit(client, body, "dry_run=true"))["id"])
    assert (job["state"], job["accepted"]) == ("succeeded", 2)
    assert job["refused"] == {"malformed_row": 1, "too_old": 1}
    assert len((await client.get(f"{URL}/{job['id']}/refused")).text.splitlines()) == 2
    assert await stored(store) == {}
    count = "SELECT count(*) FROM metrics.series WHERE tenant_id = $1"
    assert await store.conn.fetchval(count, store.tenant) == 0
    assert (await client.get("/api/v1/refused")).json()["data"] == []


async def test_the_report_is_bounded(client, monkeypatch):
    """Rows beyond the bound are counted, not kept."""
    monkeypatch.setattr("data_ingest.imports.worker.REPORT_MAX", 5)
    monkeypatch.setattr("data_ingest.imports.pieces.PIECE_BYTES", 100)
    body = b"nonsense\n" * 300 + exports.ndjson([series("a", 0)])
    job = await ended(client, (await submit(client, body))["id"])
    assert job["refused"] == {"malformed_row": 300}
    lines = (await client.get(f"{URL}/{job['id']}/refused")).text.splitlines()
    assert [json.loads(line)["row"] for line in lines] == [1, 2, 3, 4, 5]


async def test_the_plan_rate_makes_an_import_wait(client, slow):
    """Over the plan's samples a second nothing is refused: it takes longer; live writes pass."""
    them = series("a", *(bits_of(float(i)) for i in range(500)))
    started_s = time.monotonic()
    job = await submit(client, exports.ndjson([them]), **slow)
    answer = await client.post("/api/v1/import/prometheus", content=b"live 1\n", headers=slow)
    assert answer.status_code == 204
    job = await ended(client, job["id"])
    assert (job["state"], job["accepted"], job["refused"]) == ("succeeded", 500, {})
    assert time.monotonic() - started_s > 0.25  # 500 - half of the burst, at 400 a second


async def test_the_plan_series_are_a_bound(client):
    """Series over the plan's cap are refused by that reason, as of any write."""
    many = [series(str(n), 0) for n in range(1200)]
    job = await ended(client, (await submit(client, exports.ndjson(many)))["id"])
    assert (job["state"], job["accepted"]) == ("succeeded", 1000)
    assert job["refused"] == {"active_series_limit": 200}


@pytest.mark.parametrize(
    ("query", "body", "error"),
    [
        ("format=ndjson", b"\x00\xff" * 50, "no sample could be stored"),
        ("format=csv", b"a,b\n1,2\n", "it is not csv: "),
        ("format=parquet", b"PAR1" * 10, "it is not parquet: "),
        ("format=openmetrics", b"\x1f\x8b" + b"x" * 100, "it is not openmetrics: "),
    ],
)
async def test_nonsense_ends_at_once(client, query, body, error):
    """A file that is something else fails, with the reason, and is not tried again."""
    job = await ended(client, (await submit(client, body, query))["id"])
    assert (job["state"], job["accepted"]) == ("failed", 0)
    assert error in job["error"]


async def test_cancelled_before_it_began(idle, idle_store):
    """A queued import that is cancelled never runs; its upload is gone at once."""
    job = await submit(idle, exports.ndjson([series("a", 0)]))
    cancelled = (await idle.post(f"{URL}/{job['id']}/cancel")).json()["data"]
    assert cancelled["state"] == "cancelled"
    assert uploads(idle_store) == []
    again = (await idle.post(f"{URL}/{job['id']}/cancel")).json()["data"]
    assert again == cancelled


@pytest.mark.parametrize("deleted", [False, True], ids=["cancelled", "deleted"])
async def test_stopped_while_it_runs(client, store, slow, monkeypatch, deleted):
    """An import that is cancelled or deleted ends soon; what it has stored stays."""
    monkeypatch.setattr("data_ingest.imports.worker.RENEW_S", 0.05)
    body = exports.ndjson([series("a", *[0] * 20_000)])  # 50 s at the plan's rate
    job = await submit(client, body, **slow)
    deadline = time.monotonic() + WAIT_S
    while not await store.read():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    if deleted:
        assert (await client.delete(f"{URL}/{job['id']}")).status_code == 204
        assert (await client.get(f"{URL}/{job['id']}")).status_code == 404
    else:
        await client.post(f"{URL}/{job['id']}/cancel")
        assert (await ended(client, job["id"]))["state"] == "cancelled"
    other = await submit(client, exports.ndjson([series("b", 0)]))
    assert (await ended(client, other["id"]))["state"] == "succeeded"
    assert uploads(store) == []
    assert 0 < len(await stored(store)) < 20_000


async def test_who_may_do_what(idle, tenant):
    """Writing needs metrics:write, looking metrics:read; another organisation sees nothing."""
    body = exports.ndjson([series("a", 0)])
    job = await submit(idle, body)
    one, reader = f"{URL}/{job['id']}", {"X-API-Key": new_key(tenant, "metrics:read")}
    other = {"X-API-Key": new_key(uuid4())}
    asked = [("POST", URL), ("POST", f"{one}/cancel"), ("DELETE", one)]
    for method, url in asked:
        assert (await idle.request(method, url, headers=reader)).status_code == 403
    assert (await idle.get(one, headers=reader)).status_code == 200
    for method, url in (*asked[1:], ("GET", one), ("GET", f"{one}/refused")):
        answer = await idle.request(method, url, headers=other)
        assert (answer.status_code, answer.json()["errorType"]) == (404, "not_found")
    assert (await idle.get(URL, headers=other)).json()["data"] == []
    assert (await idle.get(f"{URL}/nonsense")).status_code == 400


async def test_an_upload_has_bounds(idle, idle_store):
    """Size, declared or not, format and encoding are checked; a refused upload leaves nothing."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(100_000)

    for content, headers, status in (
        (bytes(3_000_001), NDJSON, 413),
        (chunks(), NDJSON, 413),
        (b"", NDJSON, 400),
        (b"x", {"Content-Type": "text/html"}, 415),
        (b"x", {**NDJSON, "Content-Encoding": "br"}, 415),
    ):
        answer = await idle.post(URL, content=content, headers=headers)
        assert answer.status_code == status, answer.text
    assert (await idle.get(URL)).json()["data"] == []
    assert uploads(idle_store) == []


async def test_uploads_at_once_are_bounded(idle, idle_store):
    """A tenant uploads two files at a time and is told to come again with more; others are not
    held up. An upload that breaks off leaves nothing.
    """
    begun, go_on = asyncio.Event(), asyncio.Event()
    body = exports.ndjson([series("a", 0)])

    async def chunks(ending: str) -> AsyncIterator[bytes]:
        yield body
        begun.set()
        await go_on.wait()
        if ending == "breaks":
            raise ConnectionResetError
        yield body

    uploading = []
    for ending in ("whole", "breaks"):
        sent = idle.post(URL, content=chunks(ending), headers=NDJSON)
        uploading.append(asyncio.create_task(sent))
        await begun.wait()
        begun.clear()
    third = await idle.post(URL, content=body, headers=NDJSON)
    assert (third.status_code, third.headers["retry-after"]) == (503, "10")
    await submit(idle, body, **{"X-API-Key": new_key(uuid4())})
    go_on.set()
    statuses = [answer.status_code for answer in await asyncio.gather(*uploading)]
    assert statuses == [202, 503]
    assert len((await idle.get(URL)).json()["data"]) == len(uploads(idle_store)) == 1


async def test_imports_of_a_tenant_are_bounded(idle, monkeypatch):
    """Over the bound of unfinished ones 429, until one ends; of those that ended the oldest go."""
    monkeypatch.setattr(imports, "UNFINISHED_MAX", 2)
    monkeypatch.setattr(imports, "FINISHED_MAX", 3)
    body = exports.ndjson([series("a", 0)])
    ids = [(await submit(idle, body))["id"] for _ in range(2)]
    refused = await idle.post(URL, content=body, headers=NDJSON)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    for _ in range(5):
        await idle.post(f"{URL}/{ids[0]}/cancel")
        ids = [*ids[1:], (await submit(idle, body))["id"]]
    listed = (await idle.get(URL)).json()["data"]
    assert [one["state"] for one in listed].count("cancelled") == 3
    assert {one["id"] for one in listed if one["state"] == "queued"} == set(ids)


async def test_trouble_of_the_store_passes(idle, idle_hub, idle_store, monkeypatch):
    """An import whose upload cannot be read now is tried again, and goes on when it can."""
    monkeypatch.setattr("data_ingest.imports.worker.RETRY_S_MAX", 1.0)
    monkeypatch.setattr("data_ingest.imports.worker.POLL_S", 0.05)
    job = await submit(idle, exports.ndjson([series("a", bits_of(1.0))]))
    (key,) = uploads(idle_store)
    upload, away = idle_hub.folder / key, idle_hub.folder / "away"
    upload.rename(away)
    stop = Stop()
    worker = Worker(
        idle_hub.url, idle_store.objects, "file:///", idle_hub.app.state.services.pipeline
    )
    working = asyncio.create_task(worker.run(stop))
    deadline = time.monotonic() + WAIT_S
    while not (await seen(idle, job["id"]))["error"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    away.rename(upload)
    job = await ended(idle, job["id"])
    stop.set()
    await working
    assert (job["state"], job["accepted"], job["error"]) == ("succeeded", 1, "")


async def test_a_job_that_kills_its_workers_ends(client, store):
    """After so many leases that ran out without progress the import fails and says so."""
    job = await submit(client, exports.ndjson([series("a", 0)]))
    await ended(client, job["id"])
    await store.conn.execute(
        "UPDATE metrics.import SET state = 'running', finished_at = NULL, attempts = $1,"
        " claim = $2, lease_until = now() WHERE import_id = $3",
        imports.ATTEMPTS_MAX,
        uuid4(),
        UUID(job["id"]),
    )
    job = await ended(client, job["id"])
    assert job["state"] == "failed"
    assert "again and again" in job["error"]


async def test_imports_of_a_tenant_take_turns(idle, idle_store):
    """One organisation's imports run one after another, the oldest first, and hold up no other's;
    a claimed one is nobody else's while its lease runs.
    """
    body = exports.ndjson([series("a", 0)])
    await idle_store.conn.execute("DELETE FROM metrics.import")
    first, second = [(await submit(idle, body))["id"] for _ in range(2)]
    other = await submit(idle, body, **{"X-API-Key": new_key(uuid4())})

    async def claimed() -> str | None:
        job = await imports.claim(idle_store.conn)
        return str(job.import_id) if job else None

    assert [await claimed() for _ in range(3)] == [first, other["id"], None]
    await idle_store.conn.execute("UPDATE metrics.import SET lease_until = now()")
    assert {await claimed() for _ in range(2)} == {first, other["id"]}
    await idle.delete(f"{URL}/{first}")
    assert await claimed() == second


async def test_uploads_without_an_import_are_swept(idle, idle_store):
    """What a killed process left is deleted by upkeep; an upload that an import needs is not."""
    job = await submit(idle, exports.ndjson([series("a", 0)]))
    store = idle_store
    left = f"{store.tenant}/imports/{uuid4()}.upload"
    with store.objects.writing(left) as sink:
        sink.write(b"x")
    await store.commit((1, NOW_MS, 1.0))
    await store.compact()
    in_two_hours_ms = NOW_MS + 7_200_000
    assert await upkeep.sweep_orphans(store.conn, store.objects, in_two_hours_ms) == 1
    (left,) = (key for key in uploads(store) if key.endswith(".upload"))
    assert job["id"] in left
