"""Answers for programs and charts: Arrow, and the buckets of pixels."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from conftest import NOW_MS
from histograms import Written

T = NOW_MS // 1000


@pytest.fixture
async def filled(das, ingest, tenant):
    """Three hosts, a value each 15 s for ten minutes; host c has a gap, and NaN once."""
    for place, host in enumerate("bac"):
        samples = [(NOW_MS - n * 15_000, float((n * 7 + place) % 11)) for n in range(41)][::-1]
        if host == "c":
            samples = [(NOW_MS - 540_000, math.nan), *samples[34:]]
        await ingest.write(tenant, {"__name__": "load", "host": host}, samples)
        if place == 0:
            await ingest.compact(tenant)
    return das


async def arrow(das, **params):
    answer = await das.get("/api/v1/query_range_arrow", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    return pa.ipc.open_stream(answer.content)


async def test_arrow_is_what_query_range_answers(filled):
    """Each value at its step, bit for bit; where there is none, null over NaN; a NaN is no null."""
    params = {"query": "load", "start": T - 600, "end": T, "step": 30}
    answer = await filled.get("/api/v1/query_range", params=params)
    wanted = answer.json()["data"]["result"]
    stream = await arrow(filled, **params)
    about = {name.decode(): value.decode() for name, value in stream.schema.metadata.items()}
    assert (about["start_ms"], about["step_ms"], about["steps"]) == (
        str(NOW_MS - 600_000), "30000", "21",
    )  # fmt: skip
    assert (json.loads(about["warnings"]), json.loads(about["infos"])) == ([], [])
    table = stream.read_all()
    assert [dict(one) for one in table["metric"].to_pylist()] == [one["metric"] for one in wanted]
    nulls = 0
    for values, one in zip(table["values"].to_pylist(), wanted, strict=True):
        shown = {at: float(text) for at, text in one["values"]}
        for n, value in enumerate(values):
            at = T - 600 + n * 30
            nulls += value is None
            assert (value is None) == (at not in shown)
            assert value is None or np.array_equal(value, shown[at], equal_nan=True)
    assert nulls
    flat = table["values"].chunk(0).values.to_numpy(zero_copy_only=False)
    assert np.isnan(flat).sum() >= nulls


async def test_arrow_comes_in_batches_of_a_fixed_number_of_series(filled):
    """A batch holds 131,072 values, or one series, so a reader never needs more at once; there may
    be far more steps than a chart has.
    """
    stream = await arrow(filled, query="load", start=T - 50_000, end=T, step=1)
    assert [batch.num_rows for batch in stream] == [2, 1]
    refused = await filled.get(
        "/api/v1/query_range_arrow",
        params={"query": "load", "start": 0, "end": 2_000_000, "step": 1},
    )
    assert "exceeded maximum resolution of 1,000,000 points" in refused.json()["error"]


async def test_arrow_without_series_is_a_stream(das):
    """A schema and no batch."""
    assert (await arrow(das, query="nothing", start=0, end=60, step=30)).read_all().num_rows == 0


async def test_arrow_says_that_histograms_are_left_out(das, ingest, tenant):
    """A native histogram is null, and the schema warns."""
    stored = Written(positive=((1, 3),), total=5.0).encoded()
    await ingest.write(tenant, {"__name__": "x"}, [(NOW_MS - 60_000, 1.0), (NOW_MS, stored)])
    stream = await arrow(das, query="x", start=T - 60, end=T, step=60)
    assert b"native histograms" in stream.schema.metadata[b"warnings"]
    assert stream.read_all()["values"].to_pylist() == [[1.0, None]]


async def test_an_arrow_answer_has_a_size(serve, hub, ingest, tenant):
    """What is larger is refused before its first byte."""
    das = await serve(answer_bytes_max=100_000)
    das.headers["X-API-Key"] = hub.key(tenant)
    await ingest.write(tenant, {"__name__": "x"}, [(NOW_MS, 1.0)])
    answer = await das.get(
        "/api/v1/query_range_arrow",
        params={"query": "x", "start": T - 50_000, "end": T, "step": 1},
    )
    assert (answer.status_code, answer.json()["errorType"]) == (422, "execution")


async def buckets(das, **params):
    answer = await das.get("/api/v1/query_range_buckets", params=params)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert data["resultType"] == "buckets"
    return data["result"]


async def test_a_pixel_shows_every_sample_of_a_selector(filled):
    """Least, greatest and last of the samples in (t - step, t], names kept; none, no bucket."""
    result = await buckets(filled, query="load", start=T - 600, end=T, step=120)
    assert [one["metric"] for one in result] == [
        {"__name__": "load", "host": host} for host in "abc"
    ]
    for place, one in ((1, result[0]), (0, result[1])):
        samples = {T - n * 15: float((n * 7 + place) % 11) for n in range(41)}
        for at, *texts in one["buckets"]:
            inside = [samples[t] for t in sorted(samples) if at - 120 < t <= at]
            wanted = [min(inside), max(inside), inside[-1]]
            assert [float(text) for text in texts] == wanted
        assert [at for at, *_ in one["buckets"]] == [T - 600 + 120 * n for n in range(6)]
    times = [at for at, *_ in result[2]["buckets"]]
    assert times == [T - 480, T]
    assert result[2]["buckets"][0][1:] == ["NaN", "NaN", "NaN"]


async def test_a_pixel_of_an_expression_is_of_its_finer_values(filled):
    """What query_range answers at the resolution, folded; offsets of a selector stay exact."""
    params = {"start": T - 240, "end": T, "step": 120, "resolution": "20s"}
    for query in ('sum(load{host!="c"})', 'load{host="a"} / 2 + 1', '-load{host="b"}'):
        (one,) = await buckets(filled, query=query, **params)
        answer = await filled.get(
            "/api/v1/query_range",
            params={"query": query, "start": T - 340, "end": T, "step": 20},
        )
        (fine,) = answer.json()["data"]["result"]
        for at, *texts in one["buckets"]:
            inside = [float(text) for t, text in fine["values"] if at - 120 < t <= at]
            assert [float(text) for text in texts] == [min(inside), max(inside), inside[-1]]
    shifted = await buckets(filled, query="load offset 2m", start=T, end=T, step=120)
    plain = await buckets(filled, query="load", start=T - 120, end=T - 120, step=120)
    assert [one["buckets"][0][1:] for one in shifted] == [one["buckets"][0][1:] for one in plain]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"query": "1"}, "subquery is only allowed on instant vector"),
        ({"query": "load[5m]"}, "subquery is only allowed on instant vector"),
        ({"query": "load", "resolution": "0"}, 'invalid parameter "resolution"'),
        ({"query": "sum(" + "load+" * 500 + "load)"}, "the limit is 2048"),
        ({"query": "load", "step": "0"}, "zero or negative query resolution"),
    ],
)
async def test_buckets_that_cannot_be(das, params, words):
    """Each is bad data, and says why."""
    span = {"start": 0, "end": 60, "step": 30}
    answer = await das.get("/api/v1/query_range_buckets", params={**span, **params})
    assert answer.status_code == 400
    assert words in answer.json()["error"]
