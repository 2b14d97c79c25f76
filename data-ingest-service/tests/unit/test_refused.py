"""Laws of what is told of refused samples, as far as they need no database."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from data_ingest.api import reading
from data_ingest.chassis import problems


class Identity:
    """Everyone may see the refusals of organisation 1."""

    async def authenticate(self, _: Any) -> Any:
        return SimpleNamespace(tenant=UUID(int=1), require=lambda _: None)


@pytest.mark.parametrize(
    ("period", "status"),
    [
        ({}, 503),
        ({"start": "0001-01-01T00:00:00Z"}, 503),
        ({"end": "0001-01-01T00:00:00Z"}, 400),
        ({"start": "0001-01-01T00:00:00+14:00"}, 400),
        ({"end": "9999-12-31T23:59:59-14:00"}, 400),
    ],
)
async def test_a_period_that_cannot_be(period: dict[str, str], status: int) -> None:
    """A period out of range is a bad request; without Postgres a good one is for later."""
    app = FastAPI()
    problems.install(app)
    identity: Any = Identity()
    # Nothing listens on port 1.
    url = "postgresql://x@127.0.0.1:1/x"
    app.include_router(reading.router(identity, url))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://dis") as http:
        answer = await http.get("/api/v1/refused", params=period)
    assert answer.status_code == status, answer.text
