"""Answers that are given again: only while nothing that they could be made of has changed."""

import itertools
import uuid

import pytest
from conftest import NOW_MS

from data_api.store import answers

T = NOW_MS // 1000
SPACES = itertools.count(1)
LOAD = {"__name__": "load", "host": "a"}
PATHS = (
    ("query_range", {"query": "sum(rate(load[2m])) by (host)", "step": "60"}),
    ("query_range", {"query": "load offset 5m or load @ end()", "step": "30", "limit": "1"}),
    ("query", {"query": "topk(1, load)", "time": str(T - 900)}),
)


@pytest.fixture(autouse=True)
def worth_it(monkeypatch):
    """Every answer is kept, however little it took."""
    monkeypatch.setattr(answers, "WORTH_S", 0.0)


def repeated():
    return answers.REPEATED._value.get()


async def asked(das, path, params, **more):
    span = {"start": T - 1200, "end": T - 600, **params, **more}
    answer = await das.get(f"/api/v1/{path}", params=span)
    assert answer.status_code == 200, answer.text
    return answer.content


async def same_as_new(das):
    """How many of PATHS were given again; each is what a new answer is."""
    before = repeated()
    for path, params in PATHS:
        again = await asked(das, path, params)
        another_text = params["query"] + " " * next(SPACES)
        assert again == await asked(das, path, params, query=another_text), path
    return repeated() - before


@pytest.fixture
async def filled(das, ingest, tenant):
    """A sample each 15 s for half an hour before now, in a block but the last ten minutes."""
    series = await ingest.series(tenant, **LOAD)
    points = [(series, NOW_MS - n * 15_000, float(n * 7 % 11)) for n in range(121)][::-1]
    await ingest.batch(tenant, points[:80])
    await ingest.compact(tenant)
    await ingest.batch(tenant, points[80:])
    for path, params in PATHS:
        await asked(das, path, params)
    return das


async def test_a_repeated_question_has_the_same_answer(filled, ingest, tenant):
    """Also after samples came that are all later, or of another tenant, and series without any."""
    assert await same_as_new(filled) == len(PATHS)
    await ingest.write(tenant, LOAD, [(NOW_MS + 1, 5.0)])
    await ingest.write(uuid.uuid4(), LOAD, [(NOW_MS - 900_000, 5.0)])
    await ingest.series(tenant, __name__="load", host="b")
    assert await same_as_new(filled) == len(PATHS)


async def test_what_comes_late_is_in_the_next_answer(filled, ingest, tenant):
    """A sample within the time, of a series that was there and of a new one; or moved, or gone."""
    late = NOW_MS - 900_001
    before = await asked(filled, *PATHS[0])
    series = await ingest.write(tenant, LOAD, [(late, 1e6)])
    assert before != await asked(filled, *PATHS[0])
    await ingest.write(tenant, {"__name__": "load", "host": "new"}, [(late, 1.0), (late + 9, 2.0)])
    both = await asked(filled, *PATHS[0])
    assert b'"new"' in both
    await same_as_new(filled)
    await ingest.compact(tenant)
    await same_as_new(filled)
    assert await asked(filled, *PATHS[0]) == both
    await ingest.delete_series(tenant, series)
    assert b'"a"' not in await asked(filled, *PATHS[0])
    await same_as_new(filled)


async def test_an_answer_is_its_tenants_own(filled, hub):
    """The same question of another organisation has that one's answer."""
    key = hub.key(uuid.uuid4())
    other = await filled.get(
        "/api/v1/query_range",
        params={"start": T - 1200, "end": T - 600, **PATHS[0][1]},
        headers={"X-API-Key": key},
    )
    assert other.json()["data"]["result"] == []


async def test_lower_limits_are_obeyed(filled, hub, tenant):
    """What a plan no longer allows is refused, whatever was answered before."""
    key = hub.key(tenant, query_samples=10)
    params = {"start": T - 1200, "end": T - 600, **PATHS[0][1]}
    answer = await filled.get("/api/v1/query_range", params=params, headers={"X-API-Key": key})
    assert answer.status_code == 422, answer.text


async def test_new_means_new(filled):
    """`nocache=1`, and answers that have timings, are made anew and not kept."""
    before = repeated()
    for more in ({"nocache": "1"}, {"stats": "all"}):
        for _ in range(2):
            await asked(filled, *PATHS[0], **more)
    assert repeated() == before
