"""Results over ASGI with a real Postgres: ranked, chosen, paged, downloaded; never of two runs."""

import csv
import io
import json
from datetime import timedelta
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from neighbours import TENANT_A
from sqlalchemy import update
from stored import ASKED, NOW, finish, ranked_parts

from analysis_processing.analyses.block import Part, SeriesResult
from analysis_processing.api import results as routes
from analysis_processing.errors import ResultChanged
from analysis_processing.jobs import repository
from analysis_processing.jobs.results import Head
from analysis_processing.jobs.tables import chunk
from analysis_processing.model import Finding

SCORES = [[1.0, 5.0, 0.0, 5.0], [5.0], [], [2.0, 0.0, 9.0, 1.0]]
RANKING = ["7", "1", "3", "4", "5", "0", "8", "2", "6"]
FINDING = Finding("shift", 1000, None, 2000, 3.0, 1.0, 0.0, None, None, "up", "shifted up")


@pytest.fixture
def result(call, engine):
    """`result(query string)` of tenant A's job with the series of SCORES; `result.id`."""
    identity = call("POST", "/api/v1/jobs", "a", json=ASKED).json()["id"]
    finish(engine, identity, ranked_parts(SCORES), NOW)

    def get(query="", **headers):
        return call("GET", f"/api/v1/jobs/{identity}/result?{query}", "a", extra=headers)

    get.id = identity
    return get


def names(answer):
    assert answer.status_code == 200, answer.text
    return [series["labels"]["n"] for series in answer.json()["series"]]


@pytest.mark.parametrize("limit", range(1, 11))
def test_pages_show_each_series_once_in_order(result, limit):
    """Whatever the limit, pages joined are the ranking: by score, then in the query's order."""
    pages, cursor = [], ""
    while cursor is not None:
        answer = result(f"limit={limit}&columns=false{cursor and '&cursor=' + cursor}")
        pages.append(names(answer))
        cursor = answer.json()["next"]
    assert [name for page in pages for name in page] == RANKING
    assert {len(page) for page in pages[:-1]} <= {limit}
    assert pages[-1]


def test_the_best_need_no_other_chunk(result, engine):
    """The first of the ranking come without a cursor, and read only the chunks that they lie in."""
    with engine.begin() as db:
        broken = chunk.c.chunk_no.in_([1, 2])
        db.execute(update(chunk).where(broken).values(payload=b"not to be read"))
    answer = result("top=3")
    assert names(answer) == RANKING[:3]
    assert answer.json()["next"] is None
    columns = [series["columns"]["values"] for series in answer.json()["series"]]
    assert columns == [[7, 8, 9], [1, 2, 3], [3, 4, 5]]


def test_columns_come_with_a_few_series(result):
    """They come by default while at most 50 series are asked for; else when asked for."""
    for query, has_columns in {
        "": True,
        "limit=50": True,
        "limit=51": False,
        "top=51": False,
        "limit=51&columns=true": True,
        "columns=false": False,
    }.items():
        series = result(query).json()["series"]
        assert [("columns" in one) for one in series] == [has_columns] * len(RANKING), query


@pytest.fixture
def labelled(call, engine):
    """Like `result`, of three series with labels; the last was not judged, and ranks last."""
    identity = call("POST", "/api/v1/jobs", "a", json=ASKED).json()["id"]
    series = [
        SeriesResult({"__name__": "up", "a": 'x"y', "b": "1"}, 3.0, findings=[FINDING]),
        SeriesResult({"__name__": "up", "b": "1"}, 2.0, {"season": "1d"}, [FINDING] * 2),
        SeriesResult({"__name__": "down", "a": "z"}, 1.0, note="all gaps"),
    ]
    finish(engine, identity, [Part(0, 1000, 2, series)], NOW)

    def get(**params):
        answer = call("GET", f"/api/v1/jobs/{identity}/result", "a", params=params)
        if answer.status_code != 200:
            return answer
        return [(3.0, 2.0, -1.0).index(series["score"]) for series in answer.json()["series"]]

    get.id = identity
    return get


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ({"series": "up"}, [0, 1]),
        ({"series": 'up{b="1"}'}, [0, 1]),
        ({"series": '{b="1", a=""}'}, [1]),
        ({"series": r'{ "a" = "x\"y" , }'}, [0]),
        ({"series": '{"b": "1", "__name__": "up"}'}, [0, 1]),
        ({"series": "{}"}, [0, 1, 2]),
        ({"series": '{none="x"}'}, []),
        ({"only": "findings"}, [0, 1]),
        ({"only": "anomalies", "series": '{a=""}'}, [1]),
        ({"only": "findings", "top": 1}, [0]),
    ],
    ids=str,
)
def test_chosen_series(labelled, asked, rows):
    """Labels choose by equality, an empty value where there is no such label; also findings do."""
    assert labelled(**asked) == rows


def test_what_a_series_tells(call, labelled):
    """Facts, findings and the note of a series stand beside it; the axis is there without any."""
    body = call("GET", f"/api/v1/jobs/{labelled.id}/result?columns=true", "a").json()
    first, second, third = body["series"]
    assert first["findings"][0]["text"] == "shifted up"
    assert first["findings"][0]["end_ms"] is None
    assert (second["facts"], len(second["findings"])) == ({"season": "1d"}, 2)
    assert (third["note"], third["columns"]) == ("all gaps", {})
    nobody = call("GET", f"/api/v1/jobs/{labelled.id}/result?series=x", "a").json()
    assert nobody["series"] == []
    assert nobody["axis"] == body["axis"] == {"start_ms": 0, "step_ms": 1000, "steps": 2}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"series": '{a=~"x"}'}, "a=~"),
        ({"series": '{a="x"'}, "no selector"),
        ({"series": '{a="x"} or b'}, "no selector"),
        ({"series": "rate(up[5m])"}, "no selector"),
        ({"series": '{a="\0"}'}, "NUL"),
        ({"series": "[1]"}, "no text"),
        ({"series": '{"a": 1}'}, "no text"),
        ({"cursor": "garbage"}, "cursor"),
        ({"cursor": "WyJhIl0="}, "cursor"),
        ({"format": "xlsx"}, "parquet"),
        ({"format": "csv", "limit": 3}, "top"),
        ({"top": 0}, "top"),
        ({"limit": 1001}, "limit"),
        ({"only": "children"}, "only"),
    ],
    ids=ascii,
)
def test_a_bad_page_says_what_is_wrong(labelled, asked, words):
    """What cannot be shown is refused with the part that is wrong."""
    answer = labelled(**asked)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


@pytest.mark.parametrize("chosen", ["", "top=4", "series=%7Bn%3D%223%22%7D"])
def test_downloads_equal_json(result, chosen):
    """Arrow, Parquet and CSV have the series that JSON has, in the order of the query."""
    pages = result(f"limit=1000&columns=true&{chosen}").json()["series"]
    ordered = sorted(pages, key=lambda series: int(series["labels"]["n"]))
    shown = {one["labels"]["n"]: (one["score"], one["columns"]["values"]) for one in ordered}
    arrow = result(f"format=arrow&{chosen}")
    assert arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
    parquet = result(chosen, Accept="application/vnd.apache.parquet, */*")
    for table in (
        pa.ipc.open_stream(arrow.content).read_all(),
        pq.read_table(io.BytesIO(parquet.content)),
    ):
        rows = table.to_pylist()
        downloaded = {
            dict(row["labels"])["n"]: (row["score"], row["columns"]["values"]) for row in rows
        }
        assert list(downloaded.items()) == list(shown.items())
    text = result(f"format=text/csv&{chosen}")
    assert text.headers["content-disposition"].endswith('.csv"')
    lines = list(csv.reader(io.StringIO(text.text)))
    assert lines[0] == ["n", "timestamp_ms", "values"]
    assert [[n, int(ms), float(value)] for n, ms, value in lines[1:]] == [
        [n, step * 1000, value]
        for n, (_, values) in shown.items()
        for step, value in enumerate(values)
    ]


def test_a_cursor_is_of_one_run(result, engine):
    """A page of a result that was computed anew meanwhile is refused, not mixed with it."""
    cursor = result("limit=2").json()["next"]
    finish(engine, result.id, ranked_parts(SCORES), NOW + timedelta(seconds=1))
    assert result(f"limit=2&cursor={cursor}").status_code == 409


def test_a_download_is_of_one_run(app, result, engine):
    """A download breaks off when the result is computed anew, before a chunk of the new one."""
    with engine.begin() as db:
        stored = repository.finished(db, TENANT_A, UUID(result.id))
    services = app.state.services
    parts = routes.download(services, stored, routes.Wanted(), "arrow")
    next(parts)
    next(parts)
    finish(engine, result.id, ranked_parts(SCORES), NOW + timedelta(seconds=1))
    with pytest.raises(ResultChanged):
        next(parts)


def test_a_result_without_series(call, engine):
    """A job that has nothing to tell of any series has an axis, no series, and downloads."""
    identity = call("POST", "/api/v1/jobs", "a", json=ASKED).json()["id"]
    finish(engine, identity, [], NOW)
    path = f"/api/v1/jobs/{identity}/result"
    body = call("GET", path, "a").json()
    axis = {"start_ms": ASKED["start_ms"], "step_ms": ASKED["step_ms"], "steps": 61}
    assert (body["series"], body["next"], body["axis"]) == ([], None, axis)
    stream = call("GET", f"{path}?format=arrow", "a").content
    assert pa.ipc.open_stream(stream).read_all().num_rows == 0
    assert call("GET", f"{path}?format=csv", "a").text == '"timestamp_ms"\n'


def test_a_large_chunk_is_read_in_part(call, engine):
    """Of a chunk with many steps only the head and one batch are asked of Postgres."""
    identity = call("POST", "/api/v1/jobs", "a", json=ASKED).json()["id"]
    noise = np.random.default_rng(1).normal(size=(20, 5_000))
    series = [
        SeriesResult({"n": str(n)}, n, columns={"values": row}) for n, row in enumerate(noise)
    ]
    finish(engine, identity, [Part(0, 1000, 5_000, series)], NOW)
    with engine.begin() as db:
        stored = repository.finished(db, TENANT_A, UUID(identity))
        payload = repository.payload(db, stored, 0)
        head = Head.read(payload[: repository.HEAD_BYTES])
        first, length = head.span(19)
        assert repository.payload(db, stored, 0, first, length) == payload[first : first + length]
    assert length < len(payload) / 15
    answer = call("GET", f"/api/v1/jobs/{identity}/result?top=1", "a").json()
    assert np.allclose(answer["series"][0]["columns"]["values"], noise[19])
    json.dumps(answer, allow_nan=False)
