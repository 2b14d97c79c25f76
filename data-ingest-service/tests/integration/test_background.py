"""Laws of the running background: one replica scrapes, the hub is stored, a stop ends all."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import numpy as np
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from data_ingest import batch, migrate
from data_ingest.app import create_app
from data_ingest.background.leadership import lead
from data_ingest.background.supervisor import Stop
from data_ingest.chassis.identity.keys import checksum
from data_ingest.model import STALE_MARKER_BITS
from data_ingest.settings import Settings
from data_ingest.store import catalogue
from tests.embedded_postgres import fresh_database, running_postgres

HOME = uuid.UUID(int=5)
BOUND_S = 600.0


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with running_postgres() as server, fresh_database(server, "background") as url:
        migrate.upgrade(url)
        yield url


class Hub:
    """The other services, as far as scraping meets them."""

    def __init__(self) -> None:
        self.has_home = False
        self.page = "# TYPE a counter\n# HELP a What it counts.\na_total 1\nb 2\n"

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/internal/home-organisation":
            assert request.headers["Authorization"] == f"Bearer {'t' * 43}"
            return httpx.Response(200, json={"tenant": str(HOME) if self.has_home else None})
        if request.url.path == "/internal/revocations":
            return httpx.Response(200, json={"seq": 0, "revocations": []})
        if request.url.path == "/internal/introspect":
            return httpx.Response(200, json=KEYS[json.loads(request.content)["key"]])
        if request.url.path == "/page":
            return httpx.Response(200, text=self.page)
        return httpx.Response(404)


def _key_of(letter: str) -> str:
    start = "coh_live_" + letter * 32
    return start + checksum(start)


def _principal(tenant: uuid.UUID, scope: str) -> dict[str, Any]:
    facts = {"key_id": str(uuid.UUID(int=1)), "tenant": str(tenant), "scopes": [scope]}
    return {"active": True, "expires_at": None, "ttl_s": 60, "limits": None, **facts}


OWN, OTHER, WRITER = map(_key_of, "oxw")
KEYS = {
    OWN: _principal(HOME, "metrics:read"),
    OTHER: _principal(uuid.UUID(int=6), "metrics:read"),
    WRITER: _principal(HOME, "metrics:write"),
}


async def _targets(app: FastAPI, query: str = "", key: str = OWN) -> dict[str, Any]:
    """What `GET /api/v1/targets` answers."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://dis") as http:
        answer = await http.get(f"/api/v1/targets{query}", headers={"X-API-Key": key})
    body: dict[str, Any] = answer.json()
    return body["data"] if answer.status_code == 200 else {"status_code": answer.status_code}


async def _samples(conn: asyncpg.Connection) -> dict[str, list[tuple[int, int]]]:
    """Name and label values → (timestamp, bits) in order of commits."""
    async with conn.transaction(isolation="repeatable_read"):
        series = await conn.fetch("SELECT series_id, labels FROM metrics.series")
        batches = await conn.fetch("SELECT payload FROM metrics.batch ORDER BY xid, batch_id")
    names = {row["series_id"]: json.loads(row["labels"]) for row in series}
    seen: dict[str, list[tuple[int, int]]] = {}
    for row in batches:
        columns = batch.unpack(row["payload"])
        bits = np.ascontiguousarray(columns.values).view(np.uint64).tolist()
        for series_id, at, value in zip(
            columns.series_ids.tolist(), columns.timestamps_ms.tolist(), bits, strict=True
        ):
            labels = names[series_id]
            first = labels.pop("__name__")
            rest = sorted(value for name, value in labels.items() if name != "instance")
            seen.setdefault(" ".join((first, *rest)), []).append((at, value))
            labels["__name__"] = first
    return seen


async def _until(question: Any) -> Any:
    """The answer as soon as it is true, within a bound."""
    async with asyncio.timeout(BOUND_S):
        while not (answer := await question()):  # noqa: ASYNC110 - a server's state, bounded
            await asyncio.sleep(0.02)
        return answer


async def test_the_hub_watches_itself(database: str, tmp_path: Path) -> None:
    """As soon as there is a home organisation its hub's targets and host are stored for it; a
    series that vanishes ends at once, and all end when the service stops.
    """
    hub = Hub()
    settings = Settings.model_validate(
        {
            "database_url": database,
            "object_store_url": f"file://{tmp_path}",
            "service_token": "t" * 43,
            "ubs_url": "http://ubs",
            "scrape_targets": "thing=http://thing:9/page,gone=http://u:s3cret@gone:9/metrics",
            "scrape_interval_s": 0.5,
            "scrape_timeout_s": 0.4,
        }
    ).model_copy(update={"scrape_timeout_s": 600.0})  # a scrape that is late ends no series
    conn = await asyncpg.connect(database)
    app = create_app(settings, http=httpx.AsyncClient(transport=httpx.MockTransport(hub)))
    async with LifespanManager(app, startup_timeout=600, shutdown_timeout=600):
        assert await _samples(conn) == {}
        hub.has_home = True

        async def has_all() -> bool:
            seen = await _samples(conn)
            wanted = ("b thing", "up gone", "node_time_seconds node", "up thing")
            return all(len(seen.get(name, ())) >= 2 for name in wanted)

        await _until(has_all)
        hub.page = "# TYPE a counter\na_total 1\n"

        async def has_ended() -> bool:
            return (await _samples(conn))["b thing"][-1][1] == STALE_MARKER_BITS

        await _until(has_ended)
        await _assert_targets(app, settings, hub)
    seen = await _samples(conn)
    for name, samples in seen.items():  # one life each, which has ended
        assert samples[-1][1] == STALE_MARKER_BITS, name
        assert sum(bits == STALE_MARKER_BITS for _, bits in samples) == 1, name
        assert [at for at, _ in samples] == sorted({at for at, _ in samples}), name
    assert seen["up gone"][0][1] == 0
    assert await conn.fetchval("SELECT count(DISTINCT tenant_id) FROM metrics.series") == 1
    assert await conn.fetchval("SELECT DISTINCT tenant_id FROM metrics.batch") == HOME
    described = await conn.fetchrow(
        "SELECT type, help FROM metrics.metadata WHERE metric_name = 'a'"
    )
    assert tuple(described) == ("counter", "")
    await conn.close()


async def _assert_targets(app: FastAPI, settings: Settings, hub: Hub) -> None:
    """Each target is listed once, with its health and why, to its own organisation alone; a replica
    that scrapes nothing says the same.
    """

    async def have_settled() -> list[dict[str, Any]] | None:
        """What is listed is a second old, and the first scrapes may come before the store."""
        active = (await _targets(app))["activeTargets"]
        errors = {facts["lastError"] for facts in active}
        return active if errors == {"", "it answered 404"} else None

    active: list[dict[str, Any]] = await _until(have_settled)
    shown = [(t["scrapePool"], t["scrapeUrl"], t["health"]) for t in active]
    assert sorted(shown) == [
        ("gone", "http://gone:9/metrics", "down"),
        ("node", "", "up"),
        ("thing", "http://thing:9/page", "up"),
    ]
    assert "s3cret" not in str(active)
    client = httpx.AsyncClient(transport=httpx.MockTransport(hub))
    idle = create_app(settings.model_copy(update={"background": False}), http=client)
    urls = {facts["scrapeUrl"] for facts in (await _targets(idle))["activeTargets"]}
    assert urls == {facts["scrapeUrl"] for facts in active}
    assert len((await _targets(app, "?scrapePool=thing"))["activeTargets"]) == 1
    assert (await _targets(app, "?state=dropped"))["activeTargets"] == []
    assert (await _targets(app, "?state=other"))["status_code"] == 400
    assert (await _targets(app, key=OTHER))["activeTargets"] == []
    assert (await _targets(app, key=WRITER))["status_code"] == 403


JOBS = """
scrape_configs:
- job_name: theirs
  tenant: 00000000-0000-0000-0000-000000000006
  scrape_interval: 1s
  static_configs: [{targets: [thing, other], labels: {zone: eu}}]
  metrics_path: /page
  relabel_configs: [{source_labels: [__address__], regex: other, action: drop}]
  metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]
"""


async def test_the_jobs_of_a_file(database: str, tmp_path: Path) -> None:
    """A job of a file is scraped for its own organisation, which alone sees it; what its rules drop
    is not stored, and shown where it is a target.
    """
    hub = Hub()
    hub.has_home = True
    (tmp_path / "jobs.yml").write_text(JOBS)
    settings = Settings.model_validate(
        {
            "database_url": database,
            "object_store_url": f"file://{tmp_path}",
            "service_token": "t" * 43,
            "ubs_url": "http://ubs",
            "scrape_targets": "thing=http://thing/page",
            "scrape_config": str(tmp_path / "jobs.yml"),
            "scrape_host": False,
        }
    )
    conn = await asyncpg.connect(database)
    app = create_app(settings, http=httpx.AsyncClient(transport=httpx.MockTransport(hub)))
    async with LifespanManager(app, startup_timeout=600, shutdown_timeout=600):

        async def is_up() -> dict[str, Any] | None:
            seen = await _targets(app, key=OTHER)
            return seen if [t["health"] for t in seen["activeTargets"]] == ["up"] else None

        seen: dict[str, Any] = await _until(is_up)
    (active,) = seen["activeTargets"]
    assert active["labels"] == {"instance": "thing", "job": "theirs", "zone": "eu"}
    assert active["scrapeUrl"] == "http://thing/page"
    (dropped,) = seen["droppedTargets"]
    assert dropped["discoveredLabels"]["__address__"] == "other"
    assert seen["droppedTargetCounts"] == {"theirs": 1}
    stored = await conn.fetch(
        "SELECT labels->>'__name__' AS name FROM metrics.series"
        " WHERE tenant_id = $1 AND labels->>'job' = 'theirs'",
        uuid.UUID(int=6),
    )
    await conn.close()
    assert {row["name"] for row in stored} == {
        "a_total",
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
    }


async def test_one_replica_leads_and_another_takes_over(database: str) -> None:
    """Of two replicas one works; when its connection is lost it fails, and another goes on."""
    conn = await catalogue.connect(database, "test")
    stop = Stop()
    working: list[str] = []

    async def work(name: str, mine: Stop) -> None:
        working.append(name)
        while not await mine.wait(60):
            pass
        working.remove(name)

    def replica(name: str) -> asyncio.Task[None]:
        return asyncio.create_task(lead(stop, database, "contest", lambda s: work(name, s)))

    first = replica("first")

    async def is_working() -> bool:
        return bool(working)

    await _until(is_working)
    second = replica("second")
    await asyncio.sleep(0)
    await conn.fetch(
        "SELECT pg_terminate_backend(pid, 10000)"
        " FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND application_name LIKE '%contest'"
    )
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await first
    third = replica("third")

    async def taken_over() -> bool:
        return len(working) == 1 and working[0] != "first"

    await _until(taken_over)
    stop.set()
    await asyncio.gather(second, third)
    assert working == []
    await conn.close()
