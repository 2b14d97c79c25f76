"""Laws of hours by team: every sample is somebody's or nobody's, by the rules there are now."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from data_ingest.chassis.identity.billing import Billing
from data_ingest.usage.attribution import Attribution
from data_ingest.usage.counting import HOUR_MS
from tests.metric_store import NOW_MS, Store, opened_store

FIRST_MS = NOW_MS - NOW_MS % HOUR_MS
RED, BLUE = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def hour(n: int = 0) -> dict[str, Any]:
    at = datetime.fromtimestamp(FIRST_MS / 1000, UTC) + timedelta(hours=n)
    return {"hour": at.isoformat(), "revision": 3}


class Rules:
    """A stand-in of ubs at its door: asks for these hours once, and keeps how they were split."""

    def __init__(self) -> None:
        self.due: list[dict[str, Any]] = []
        self.split: list[dict[str, Any]] = []
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.billing = Billing("http://ubs", "token", http)

    def ask(self, store: Store, version: int, *rules: tuple[str, str], hours: int = 1) -> None:
        self.due.append({
            "tenant": str(store.tenant), "version": version,
            "rules": [{"team": team, "selector": selector} for team, selector in rules],
            "hours": [hour(n) for n in range(hours)],
        })  # fmt: skip

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/internal/attribution"
        if request.method == "GET":
            due = self.due.pop(0) if self.due else None
            return httpx.Response(200, content=json.dumps(due))
        self.split.append(json.loads(request.content))
        return httpx.Response(200, json={})


def series(store: Store, n: int) -> int:
    """The id of the tenant's n-th series, which no other tenant has."""
    return store.tenant.int % 2**40 * 16 + n


async def named(store: Store, **labels_of: dict[str, str]) -> None:
    """Series 1, 2, … of the tenant have these labels."""
    for series_id, labels in enumerate(labels_of.values(), 1):
        await store.conn.execute(
            "INSERT INTO metrics.series (series_id, tenant_id, labels, labels_hash)"
            " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            series(store, series_id), store.tenant, json.dumps(labels), series_id.to_bytes(16),
        )  # fmt: skip


def shares(split: dict[str, Any], n: int = 0) -> dict[str, tuple[int, int]]:
    return {
        team: (part["samples"], part["series"])
        for team, part in split["hours"][n]["shares"].items()
    }


async def test_the_first_rule_that_selects_a_series_has_it(store_url: str, tmp_path: Path) -> None:
    """Samples by timestamp in their hour, series once each, the rest nobody's; in two blocks."""
    rules = Rules()
    async with opened_store(store_url, tmp_path) as store:
        await named(
            store,
            a={"__name__": "up", "team": "red"},
            b={"__name__": "up", "team": "blue"},
            c={"__name__": "down"},
        )
        for step in range(2):
            await store.commit(*(
                (series(store, n), FIRST_MS + 60_000 * minute + step, 1.0)
                for n in (1, 2, 3)
                for minute in range(5 * n)
            ))  # fmt: skip
            await store.compact()
        await store.commit((series(store, 1), FIRST_MS + HOUR_MS, 1.0))
        await store.compact()
        rules.ask(store, 1, (RED, '{team="red"}'), (BLUE, '{__name__="up"}'), hours=2)
        attribution = Attribution(store.objects, rules.billing)
        assert await attribution.split_due(store.conn) == 2
        (split,) = rules.split
        assert shares(split) == {RED: (10, 1), BLUE: (20, 1), "": (30, 1)}
        assert shares(split, 1) == {RED: (1, 1)}
        assert split["hours"][0]["revision"] == 3

        # other rules, and a series that is new since
        await named(store, a={}, b={}, c={}, d={"__name__": "new", "team": "blue"})
        await store.commit((series(store, 4), FIRST_MS + 1, 1.0))
        await store.compact()
        rules.ask(store, 2, (BLUE, '{team=~"red|blue"}'), (RED, '{__name__=~"down|other"}'))
        assert await attribution.split_due(store.conn) == 1
        assert shares(rules.split[1]) == {BLUE: (31, 3), RED: (30, 1)}


async def test_a_rule_that_cannot_be_read_selects_nothing(store_url: str, tmp_path: Path) -> None:
    """Ubs is told which."""
    rules = Rules()
    async with opened_store(store_url, tmp_path) as store:
        await named(store, a={"__name__": "up"})
        await store.commit((series(store, 1), FIRST_MS, 1.0))
        await store.compact()
        rules.ask(store, 1, (RED, "{oops"), (BLUE, "up"))
        await Attribution(store.objects, rules.billing).split_due(store.conn)
        assert shares(rules.split[0]) == {BLUE: (1, 1)}
        (fault,) = rules.split[0]["faults"]
        assert fault.startswith("rules[0].selector: ")
