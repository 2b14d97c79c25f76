"""What is sent to the neighbours, and what is made of their answers."""

from itertools import pairwise

import anyio
import cramjam
import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neighbours import Neighbours, arrow, decode_write

from analysis_processing.analyses.block import Written
from analysis_processing.clients import data_api, data_ingest, remote_write
from analysis_processing.clients.data_api import DataApi, seconds, window_steps
from analysis_processing.clients.data_ingest import DataIngest
from analysis_processing.clients.http import TRIES, Door
from analysis_processing.errors import Refused, TooManyPoints, Unreachable
from analysis_processing.frames import Grid
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


def read(steps=5, more=10**9):
    """A use of a door: the grid of the whole range, and the steps reported on the way."""

    async def use(door):
        reported = []

        async def report(steps_read):
            reported.append(steps_read)

        grid = Grid(steps, series_max=1000, points_max=more, bytes_max=8 * more)
        await DataApi(door).read(request(steps), grid, report)
        return grid, reported

    return use


def ordered(grid):
    return grid.ordered(lambda _labels, _values: False)


def test_windows_cover_the_range_once(monkeypatch):
    """Windows follow each other without overlap or gap, and every sample stands in its place."""
    monkeypatch.setattr(data_api, "ANSWER_POINTS", 12_000)
    fakes = Neighbours(series=[({"n": str(n)}, lambda ms, n=n: ms + n) for n in range(3)])
    grid, reported = through(fakes, read(30_000))
    edges = sorted(fakes.windows)
    assert edges[0] == (60_000, 60_000 + 511 * 1_000)
    assert edges[-1][1] == 60_000 + 29_999 * 1_000
    assert all(a[1] + 1_000 == b[0] for a, b in pairwise(edges))
    assert all((last - first) // 1_000 < 4_000 for first, last in edges)
    assert max(reported) == 30_000
    labels, values, *_ = ordered(grid)
    times = 60_000 + 1_000 * np.arange(30_000)
    assert [one["n"] for one in labels] == ["0", "1", "2"]
    np.testing.assert_array_equal(values, [times, times + 1, times + 2])


def test_windows_shrink_with_the_number_of_series():
    """An answer stays near 4 million points, however many series there are."""
    assert window_steps(0) == 512
    assert window_steps(100) == 40_000
    assert window_steps(10_000) == 400
    assert window_steps(10**7) == 8


def test_a_window_that_is_too_large_is_asked_for_in_pieces():
    """What das refuses for its size is read all the same, piece by piece."""
    fakes = Neighbours(series=[({}, float)], answer_points_max=100)
    grid, _ = through(fakes, read(700))
    np.testing.assert_array_equal(ordered(grid)[1], [60_000.0 + 1_000 * np.arange(700)])
    assert len(fakes.windows) == len(set(fakes.windows))
    refused = len(fakes.asked) - len(fakes.windows)
    assert refused == 3, "what was too large once is not asked for again"


def test_what_cannot_be_halved_any_more_is_refused():
    """An answer that is always too large ends after a bounded number of requests."""
    fakes = Neighbours(series=[({}, float)], answer_points_max=1)
    with pytest.raises(Refused, match="too large an answer"):
        through(fakes, read(700))
    assert len(fakes.asked) < 10


def test_more_than_may_be_held_is_refused_after_the_first_window():
    """The number of series decides before the rest of the range is read."""
    fakes = Neighbours(series=[({"n": str(n)}, float) for n in range(3)])
    with pytest.raises(TooManyPoints, match="limit=100000"):
        through(fakes, read(50_000, 100_000))
    assert len(fakes.windows) == 1


def test_nulls_are_gaps_and_infinities_are_samples():
    """A step without a value is NaN in the block; ±Inf stays."""
    values = [1.0, None, float("inf"), -float("inf"), None]
    fakes = Neighbours(series=[({}, lambda ms: values[ms // 1_000 - 60])])
    grid, _ = through(fakes, read())
    np.testing.assert_array_equal(ordered(grid)[1], [[1, np.nan, np.inf, -np.inf, np.nan]])


def test_types_of_metrics():
    """Types come by name; a das without them is no error."""
    fakes = Neighbours(types={"x_total": "counter"})

    async def types(door):
        return await DataApi(door).types()

    assert through(fakes, types) == {"x_total": "counter"}
    fakes.refuse["/api/v1/metadata"] = [
        httpx.Response(404),
        httpx.Response(200, json={"data": [1]}),
    ]
    assert [through(fakes, types) for _ in range(2)] == [{}, {}]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_io_trouble_is_tried_again(status):
    """A transient status is followed by another try, after a pause."""
    fakes = Neighbours(series=[({}, lambda _: 1.0)])
    fakes.refuse["/api/v1/query_range_arrow"] = [httpx.Response(status)]
    clock = Clock()

    assert len(through(fakes, read(), clock)[0].rows) == 1
    assert clock.slept == [0.25]


def test_a_service_that_stays_away_is_unreachable():
    """Tries are bounded, pauses grow, and Retry-After is honoured within reason."""
    fakes = Neighbours()
    busy = httpx.Response(503, headers={"Retry-After": "3"})
    fakes.refuse["/api/v1/query_range_arrow"] = [
        httpx.Response(503),
        busy,
        busy,
        httpx.Response(503),
    ]
    clock = Clock()

    with pytest.raises(Unreachable, match="the service"):
        through(fakes, read(), clock)
    assert len(clock.slept) == TRIES - 1
    assert clock.slept == [0.25, 3, 4]


def test_an_answer_is_not_asked_for_twice():
    """A refusal is passed on with the service's own words, at once."""
    fakes = Neighbours()
    said = {"status": "error", "error": "parse error at char 3"}
    fakes.refuse["/api/v1/query_range_arrow"] = [httpx.Response(400, json=said)]
    clock = Clock()

    with pytest.raises(Refused, match="parse error at char 3"):
        through(fakes, read(), clock)
    assert clock.slept == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        arrow([({}, [1.0] * 5)], 0, 1_000, 5),
        arrow([({}, [1.0] * 4)], 60_000, 1_000, 4),
        arrow([({}, [1.0] * 5)], 60_000, 1_000, 5, ["PromQL x", "block y"]),
    ],
    ids=["empty", "html", "another time", "another length", "partial"],
)
def test_what_is_no_whole_matrix_is_refused(body):
    """Any bytes from a neighbour are the whole matrix asked for, or a clear error."""
    fakes = Neighbours()
    fakes.refuse["/api/v1/query_range_arrow"] = [httpx.Response(200, content=body)]
    with pytest.raises(Refused):
        through(fakes, read())


@pytest.mark.parametrize("cut", [8, 9, 200, 300])
def test_an_answer_that_was_cut_off_is_worth_another_attempt(cut):
    """Also between two batches, where what is left is a stream in itself."""
    fakes = Neighbours()
    body = arrow([({}, [1.0] * 5)], 60_000, 1_000, 5)[:-cut]
    fakes.refuse["/api/v1/query_range_arrow"] = [httpx.Response(200, content=body)]
    with pytest.raises(Unreachable, match="cut off"):
        through(fakes, read())


def test_warnings_about_the_query_are_no_missing_samples():
    """What das remarks on the expression itself does not stop the analysis."""
    body = arrow([({}, [1.0] * 5)], 60_000, 1_000, 5, ["PromQL info: x"])
    fakes = Neighbours()
    fakes.refuse["/api/v1/query_range_arrow"] = [httpx.Response(200, content=body)]
    assert len(through(fakes, read())[0].rows) == 1


def test_scores_are_written_in_bounded_requests(monkeypatch):
    """Every finite score arrives once, with its labels, in requests of bounded size."""
    monkeypatch.setattr(data_ingest, "REQUEST_SAMPLES", 7)
    fakes = Neighbours()
    times = np.arange(10) * 1000
    rows = [np.where(np.arange(10) < 3, np.nan, np.arange(10.0) + n) for n in range(3)]
    series = [Written({"__name__": "s", "n": str(n)}, times, row) for n, row in enumerate(rows)]

    async def write(door):
        await DataIngest(door).write(series)

    through(fakes, write)
    assert [path for path, _ in fakes.asked] == ["/api/v1/write"] * 3
    assert len(fakes.written) == 3
    for n, row in enumerate(rows):
        held = fakes.written[(("__name__", "s"), ("n", str(n)))]
        kept = np.isfinite(row)
        assert held == dict(zip(times[kept].tolist(), row[kept].tolist(), strict=True))
