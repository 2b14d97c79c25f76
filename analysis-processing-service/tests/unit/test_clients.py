"""What is sent to the neighbours, and what is made of their answers."""

from itertools import pairwise

import anyio
import cramjam
import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neighbours import Neighbours, decode_write

from analysis_processing.clients import data_ingest, remote_write
from analysis_processing.clients.data_api import DataApi, seconds, window_steps
from analysis_processing.clients.data_ingest import DataIngest, score_labels
from analysis_processing.clients.http import TRIES, Door
from analysis_processing.errors import Refused, Unreachable
from analysis_processing.model import Request

labels = st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=9), max_size=4)
sample = st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))


class Clock:
    """Counts the seconds slept instead of sleeping them."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def through(neighbours, use, clock=None):
    """What `use(door)` returns when the door leads to the fakes."""

    async def token() -> str:
        return "t"

    async def go():
        async with httpx.AsyncClient(transport=neighbours.transport()) as http:
            slept = clock or Clock()
            return await use(Door("the service", "http://x.test/", http, token, slept.sleep))

    return anyio.run(go)


def request(steps=5, query="up"):
    return Request("anomaly", query, 60_000, 60_000 + (steps - 1) * 1_000, 1_000)


@given(series=st.lists(st.tuples(labels, st.lists(sample, max_size=4)), max_size=4))
def test_remote_write_round_trip(series):
    """Whatever is encoded, an independent reader of protobuf decodes."""
    message = bytes(cramjam.snappy.decompress_raw(remote_write.encode(series)))
    assert list(decode_write(message)) == [(names, dict(samples)) for names, samples in series]


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (-1, "ffffffffffffffffff01")],
)
def test_varint(number, encoded):
    """The bytes of the protobuf documentation."""
    assert remote_write.varint(number).hex() == encoded


@given(st.integers(0, 2**43))
def test_seconds_are_exact(ms):
    """No millisecond is lost on the way to decimal seconds."""
    assert round(float(seconds(ms)) * 1000) == ms


def test_windows_cover_the_range_once():
    """Windows follow each other without overlap or gap, none over 11,000 steps."""
    fakes = Neighbours(series=[({"n": str(n)}, lambda ms: ms) for n in range(3)])

    async def read(door):
        return [window async for window in DataApi(door).windows(request(30_000))]

    windows = through(fakes, read)
    edges = [(window.first, window.last) for window in windows]
    assert edges[0] == (0, 499)
    assert edges[-1][1] == 29_999
    assert all(a[1] + 1 == b[0] for a, b in pairwise(edges))
    assert all(last - first < 11_000 for first, last in edges)
    times = np.concatenate([window.answer[0][1] for window in windows])
    assert (np.diff(times) == 1_000).all()
    assert times.size == 30_000


def test_windows_shrink_with_the_number_of_series():
    """An answer stays near 200,000 points, however many series there are."""
    assert window_steps(None) == 500
    assert window_steps(0) == 11_000
    assert window_steps(100) == 2_000
    assert window_steps(10**6) == 50


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_io_trouble_is_tried_again(status):
    """A transient status is followed by another try, after a pause."""
    fakes = Neighbours(series=[({}, lambda _: 1.0)])
    fakes.refuse["/api/v1/query_range"] = [httpx.Response(status)]
    clock = Clock()

    async def read(door):
        return [window async for window in DataApi(door).windows(request())]

    assert len(through(fakes, read, clock)[0].answer) == 1
    assert clock.slept == [0.25]


def test_a_service_that_stays_away_is_unreachable():
    """Tries are bounded, pauses grow, and Retry-After is honoured within reason."""
    fakes = Neighbours()
    busy = httpx.Response(503, headers={"Retry-After": "3"})
    fakes.refuse["/api/v1/query_range"] = [httpx.Response(503), busy, busy, httpx.Response(503)]
    clock = Clock()

    async def read(door):
        return [window async for window in DataApi(door).windows(request())]

    with pytest.raises(Unreachable, match="the service"):
        through(fakes, read, clock)
    assert len(clock.slept) == TRIES - 1
    assert clock.slept == [0.25, 3, 4]


def test_an_answer_is_not_asked_for_twice():
    """A refusal is passed on with the service's own words, at once."""
    fakes = Neighbours()
    said = {"status": "error", "error": "parse error at char 3"}
    fakes.refuse["/api/v1/query_range"] = [httpx.Response(400, json=said)]
    clock = Clock()

    async def read(door):
        return [window async for window in DataApi(door).windows(request())]

    with pytest.raises(Refused, match="parse error at char 3"):
        through(fakes, read, clock)
    assert clock.slept == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'{"data":{"resultType":"vector","result":[]}}',
        b'{"data":{"resultType":"matrix","result":[{"values":[[1]]}]}}',
        b'{"data":{"resultType":"matrix","result":[]},"warnings":["PromQL x","block y"]}',
    ],
    ids=["html", "list", "vector", "torn", "partial"],
)
def test_what_is_no_whole_matrix_is_refused(body):
    """Any bytes from a neighbour are a whole matrix or a clear error."""
    fakes = Neighbours()
    fakes.refuse["/api/v1/query_range"] = [httpx.Response(200, content=body)]

    async def read(door):
        return [window async for window in DataApi(door).windows(request())]

    with pytest.raises(Refused):
        through(fakes, read)


def test_scores_are_written_in_bounded_requests(monkeypatch):
    """Every finite score arrives once, with its labels, in requests of bounded size."""
    monkeypatch.setattr(data_ingest, "REQUEST_SAMPLES", 7)
    fakes = Neighbours()
    times = np.arange(10) * 1000
    rows = [np.where(np.arange(10) < 3, np.nan, np.arange(10.0) + n) for n in range(3)]
    series = [({"__name__": "s", "n": str(n)}, times, row) for n, row in enumerate(rows)]

    async def write(door):
        return [written async for written in DataIngest(door).write(series)]

    assert through(fakes, write) == [7, 14, 21]
    assert len(fakes.written) == 3
    for n, row in enumerate(rows):
        held = fakes.written[(("__name__", "s"), ("n", str(n)))]
        kept = np.isfinite(row)
        assert held == dict(zip(times[kept].tolist(), row[kept].tolist(), strict=True))


def test_score_labels_keep_questions_apart():
    """Original labels stay, the metric's name moves aside, another query is another series."""
    made = score_labels({"__name__": "up", "job": "x", "empty": ""}, "anomaly", "up")
    assert made["__name__"] == "cloudopshub_anomaly_score"
    assert made["source_metric"] == "up"
    assert made["job"] == "x"
    assert made["job_kind"] == "anomaly"
    assert "empty" not in made
    assert score_labels({"job": "x"}, "anomaly", "a") != score_labels({"job": "x"}, "anomaly", "b")
