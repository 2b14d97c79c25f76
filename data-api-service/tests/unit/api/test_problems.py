"""Laws of errors as HTTP: whatever went wrong, the answer is whole and a closing end is told."""

import httpx
import pytest
from fastapi import FastAPI

from data_api.chassis import problems
from data_api.chassis.kinds import Kind, ServiceError


class Quoting(ServiceError):
    """The request holds something odd."""

    kind = Kind.BAD_DATA


@pytest.fixture
def app():
    """Two routes that fail: one as it should, one by a defect."""
    app = FastAPI()
    problems.install(app)

    @app.get("/api/v1/quote")
    @app.get("/elsewhere")
    async def quote() -> None:
        raise Quoting(value="\ud800 and \0 and é")

    @app.get("/api/v1/defect")
    async def defect() -> None:
        raise RuntimeError("\ud800")

    return app


async def get(app: FastAPI, path: str) -> httpx.Response:
    """The answer as a client sees it, after a defect too."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://das") as client:
        return await client.get(path)


@pytest.mark.parametrize(("path", "key"), [("/api/v1/quote", "error"), ("/elsewhere", "detail")])
async def test_what_has_no_utf8_is_quoted_all_the_same(app, path, key):
    """A lone surrogate in what is quoted is shown escaped, not a second error."""
    answer = await get(app, path)
    assert answer.status_code == 400
    assert answer.json()[key] == "The request holds something odd (value=\\ud800 and \0 and é)"


async def test_a_defect_ends_its_connection_openly(app):
    """The server closes the connection after a defect; a proxy that keeps it would lose the next
    request.
    """
    answer = await get(app, "/api/v1/defect")
    assert (answer.status_code, answer.json()["errorType"]) == (500, "internal")
    assert answer.headers["connection"] == "close"
