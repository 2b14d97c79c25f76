"""Rollups through the HTTP API, on real Postgres and real Parquet."""

import pytest
from conftest import NOW_MS

HOUR_MS = 3_600_000
END_MS = NOW_MS - NOW_MS % HOUR_MS - 2 * HOUR_MS
SPAN = (END_MS - 6 * HOUR_MS + 1, END_MS)
GRID = {"start": (END_MS - 5 * HOUR_MS) // 1000, "end": END_MS // 1000, "step": 3600}


async def stored(ingest, tenant, values, precedence=1):
    """Six hours of a gauge, each 15 s, in one block."""
    series = await ingest.series(tenant, __name__="x")
    samples = [(series, SPAN[0] + n * 15_000, value) for n, value in enumerate(values)]
    await ingest.block(tenant, samples, precedence)
    return samples


async def ask(das, query):
    """(values, infos) of a range query over the six hours."""
    answer = (await das.get("/api/v1/query_range", params={"query": query, **GRID})).json()
    assert answer["status"] == "success", answer
    return answer["data"]["result"], answer.get("infos", [])


@pytest.mark.parametrize("query", ["avg_over_time(x[1h])", "max_over_time(x[1h])", "x"])
async def test_an_answer_from_rollups_is_the_same_and_says_so(das, ingest, tenant, query):
    """Also after a late sample, which is answered at once."""
    samples = await stored(ingest, tenant, [n % 97 / 10 for n in range(1440)])
    values, infos = await ask(das, query)
    assert infos == []
    await ingest.rollup(tenant, samples, 1, HOUR_MS, SPAN)
    assert (await ask(das, query))[0] == values
    assert "read from rollups" in (await ask(das, query))[1][0]
    await ingest.write(tenant, {"__name__": "x"}, [(END_MS - HOUR_MS, 1e6)])
    late, infos = await ask(das, query)
    assert late != values
    assert "read from rollups" in infos[0]


async def test_what_buckets_cannot_prove_is_answered_by_samples(das, ingest, tenant):
    """A sum of values too far apart is that of the samples, and nothing is said."""
    samples = await stored(ingest, tenant, [1e200, 1e-200, -1e200] * 480)
    values = await ask(das, "sum_over_time(x[1h])")
    await ingest.rollup(tenant, samples, 1, HOUR_MS, SPAN)
    assert await ask(das, "sum_over_time(x[1h])") == values
    assert (await ask(das, "min_over_time(x[1h])"))[1] != []


@pytest.mark.parametrize("is_there", [True, False], ids=["corrupt", "missing"])
async def test_a_rollup_that_cannot_be_read_costs_no_answer(das, ingest, tenant, objects, is_there):
    """The samples are read instead."""
    samples = await stored(ingest, tenant, [float(n) for n in range(1440)])
    values = await ask(das, "max_over_time(x[1h])")
    path = objects / await ingest.rollup(tenant, samples, 1, HOUR_MS, SPAN)
    if is_there:
        path.write_bytes(path.read_bytes()[:-9] + b"?" + path.read_bytes()[-8:])
    else:
        path.unlink()
    assert await ask(das, "max_over_time(x[1h])") == values
