"""Graphite's and StatsD's text: what each line becomes, however it arrives."""

import asyncio
import itertools
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.errors import InvalidLabels
from data_ingest.listeners.sockets import Inbox, Lines
from data_ingest.protocols import graphite, statsd
from data_ingest.protocols.statsd_totals import LINES, Totals
from data_ingest.protocols.text_lines import LINE_BYTES_MAX, Received

NOW_MS = 1_795_000_000_123
PIECES = [
    b"a.b",
    b"1",
    b" ",
    b"\n",
    b"\r\n",
    b"-1",
    b";t=v",
    b"1_0",
    b"nan",
    b"1e999",
    b"\xff",
    b"x",
]
GRAPHITE_TEXT = st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join) | st.binary(
    max_size=80
)
STATSD_PIECES = [
    b"a",
    b":1",
    b"|c",
    b"|g",
    b"|ms",
    b"|s",
    b"|@0.5",
    b"|#t:v,u",
    b"\n",
    b":-2",
    b"|",
]
STATSD_TEXT = st.lists(st.sampled_from(STATSD_PIECES), max_size=60).map(b"".join)


class Transport(asyncio.Transport):
    """A connection whose bytes a test brings."""

    def get_extra_info(self, _name: str, _default: Any = None) -> Any:
        return self

    def setsockopt(self, *_: object) -> None:
        """Nothing is kept."""


async def arrived(text: bytes, cuts: list[int]) -> list[Received]:
    """What a connection hands on that brings the text in pieces, and then ends."""
    inbox = Inbox("graphite", 1 << 20, 1, lambda: NOW_MS)
    lines = Lines(inbox)
    lines.connection_made(Transport())
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for start, end in itertools.pairwise(places):
        lines.data_received(text[start:end])
    lines.connection_lost(None)
    return await inbox.take()


def samples(received: list[Received]) -> Any:
    """Labels, time and value of each sample; refused lines by reason."""
    batch = graphite.decode(received)
    made = []
    for row, at, value in zip(
        batch.series_of.tolist(), batch.timestamps_ms.tolist(), batch.values.tolist(), strict=True
    ):
        try:
            made.append((batch.labels_at(row), at, value))
        except InvalidLabels:
            made.append(([], at, value))
    return made, Counter(batch.refused)


def slowly(text: bytes) -> Any:
    """The same, a line at a time and obvious."""
    made, refused = [], Counter[str]()
    *lines, cut = text.split(b"\n")
    refused["incomplete_line"] += bool(cut)
    for line in lines:
        parts = line.split()
        try:
            value, at_s = float(parts[1]), float(parts[2]) if len(parts) > 2 else -1.0
        except (ValueError, IndexError):
            value = at_s = math.nan
        is_plain = len(parts) <= 3 and not any(b"_" in part for part in parts[1:])
        if not (is_plain and math.isfinite(value) and abs(at_s) <= 2**53 / 1000):
            refused["malformed_line"] += bool(parts)
            continue
        made.append((parts[0], NOW_MS if at_s == -1 else round(at_s * 1000), value))
    return made, +refused


@given(GRAPHITE_TEXT, st.lists(st.integers(0, 80), max_size=5))
def test_graphite_text_is_the_same_however_it_is_cut(text, cuts):
    """Pieces of a connection, joined or not, make the samples of the whole text, as the obvious
    reader has them; every line that is not blank is a sample or refused.
    """
    received = asyncio.run(arrived(text, cuts))
    made, refused = samples(received)
    wanted, wanted_refused = slowly(text)
    assert [(at, value) for _, at, value in made] == [(at, value) for _, at, value in wanted]
    assert +refused == wanted_refused
    lines = sum(bool(line.strip()) for line in text.split(b"\n")[:-1]) + bool(text.split(b"\n")[-1])
    assert len(made) + sum(refused.values()) == lines


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        (b"servers.web-1.load", {"__name__": "servers_web_1_load"}),
        (b"a;dc=eu;r-x=1;r.x=2", {"__name__": "a", "dc": "eu", "r_x": "1;2"}),
        (b"7up", {"__name__": "_7up"}),
        ("größe;ort=Köln".encode(), {"__name__": "gr__e", "ort": "Köln"}),
        (b";a=b", None),
        (b"a;b", None),
        (b"a;b=", None),
    ],
)
def test_a_path_is_a_name_and_labels(path, labels):
    """What no name of Prometheus holds is `_`; tags that become one label are joined; a path
    without name, and a tag without value, refuse their sample.
    """
    batch = graphite.decode([Received(path + b" 1 -1\n", NOW_MS)])
    if labels is None:
        with pytest.raises(InvalidLabels):
            batch.labels_at(0)
    else:
        made = {name.decode(): value.decode() for name, value in batch.labels_at(0)}
        assert made == labels


@given(st.integers(LINE_BYTES_MAX - 3, LINE_BYTES_MAX * 3), st.integers(1, 5000))
def test_a_long_line_costs_itself(size, piece):
    """It is refused once, however it arrives, and takes no more memory than its bound."""
    text = b"a 1\n" + b"x" * (size - 2) + b" 1\nb 2\n"
    received = asyncio.run(arrived(text, list(range(0, len(text), piece))))
    made, refused = samples(received)
    is_long = size > LINE_BYTES_MAX
    assert (len(made), refused) == (2 + (not is_long), Counter(line_too_long=1) if is_long else {})
    assert max(len(text) for text, _ in received) <= LINE_BYTES_MAX + piece + 10


def totals(**given_: int) -> Totals:
    sizes = {"series_max": 50, "idle_ms": 60_000, "started_ms": NOW_MS} | given_
    return Totals("here", (0.1, 1.0), **sizes)


def flush(state: Totals, at_ms: int, *, stored: bool = True) -> dict[str, list[tuple[int, float]]]:
    """(time since NOW_MS, value) of each series by name and its other labels."""
    batch, series = state.batch(at_ms), dict[str, list[tuple[int, float]]]()
    for row, ms, value in zip(
        batch.series_of.tolist(), batch.timestamps_ms.tolist(), batch.values.tolist(), strict=True
    ):
        labels = {name.decode(): text.decode() for name, text in batch.labels_at(row)}
        assert labels.pop("statsd_receiver") == "here"
        name = labels.pop("__name__") + "".join(f" {key}={labels[key]}" for key in sorted(labels))
        series.setdefault(name, []).append((ms - NOW_MS, value))
    if stored:
        state.settle(at_ms)
    return series


def add(state: Totals, *lines: bytes, at_ms: int = NOW_MS) -> None:
    state.add([Received(b"".join(line + b"\n" for line in lines), at_ms)])


def test_a_counter_grows_from_zero():
    """Its first sample is 0 at the flush before, so that its increase is what was counted; a
    sampled value counts for as many as it stands for; tags in another order are the same series.
    """
    state = totals()
    add(state, b"hits:1|c", b"hits:2:3|c|@0.5", b"hits:1|c|#b:2,a:1", b"hits:1|c|#a:1,b:2|c:box")
    assert flush(state, NOW_MS + 10) == {
        "hits_total": [(0, 0), (10, 11)],
        "hits_total a=1 b=2": [(0, 0), (10, 2)],
    }
    add(state, b"hits_total:1|c")
    assert flush(state, NOW_MS + 20)["hits_total"] == [(20, 12)]


def test_what_was_not_stored_is_in_the_next_flush():
    """Totals, gauges, sets, zeros of new counters and refused lines; nothing is counted twice."""
    state = totals()
    add(state, b"c:1|c", b"s:a|s", b"bad")
    flush(state, NOW_MS + 10, stored=False)
    add(state, b"c:1|c", b"s:b|s", b"bad")
    assert state.batch(NOW_MS + 20).refused == {"malformed_line": 2}
    assert flush(state, NOW_MS + 20) == {"c_total": [(0, 0), (20, 2)], "s": [(20, 2)]}
    assert flush(state, NOW_MS + 30) == {"c_total": [(30, 2)], "s": [(30, 0)]}
    assert state.batch(NOW_MS + 30).refused == {}


def test_gauges_are_set_and_moved():
    """A sign moves a gauge, from zero where there is none."""
    state = totals()
    add(state, b"a:5|g", b"a:+2|g", b"a:-10|g", b"b:-3|g", b"c:1:7|g")
    assert flush(state, NOW_MS + 9) == {"a": [(9, -3)], "b": [(9, -3)], "c": [(9, 7)]}


def test_timers_are_histograms_of_seconds():
    """Buckets grow as Prometheus' do; histograms and distributions keep their unit."""
    state = totals()
    add(state, b"t:100:2000|ms|@0.5", b"h:1|h", b"h:3|d")
    flushed = {name: values[-1][1] for name, values in flush(state, NOW_MS + 1).items()}
    assert flushed == {
        "t_seconds_bucket le=0.1": 2,
        "t_seconds_bucket le=1.0": 2,
        "t_seconds_bucket le=+Inf": 4,
        "t_seconds_sum": pytest.approx(4.2),
        "t_seconds_count": 4,
        "h_bucket le=0.1": 0,
        "h_bucket le=1.0": 1,
        "h_bucket le=+Inf": 2,
        "h_sum": 4,
        "h_count": 2,
    }


def test_the_state_is_bounded():
    """Over its series a new metric is refused, those there go on; idle ones make room, but not
    before their last value was stored.
    """
    state = totals(series_max=2)
    add(state, b"a:1|g", b"b:1|g", b"c:1|g", b"a:2|g")
    assert state.batch(NOW_MS).refused == {"statsd_series_limit": 1}
    assert len(flush(state, NOW_MS + 60_001, stored=False)) == 2
    assert set(flush(state, NOW_MS + 60_001)) == {"a", "b"}
    add(state, b"b:1|g", at_ms=NOW_MS + 60_001)
    assert set(flush(state, NOW_MS + 60_002)) == {"b"}
    add(state, b"c:1|g", b"b:1|s", at_ms=NOW_MS + 60_003)
    assert state.batch(NOW_MS + 60_003).refused == {"statsd_type_conflict": 1}


@pytest.mark.parametrize(
    "line",
    [b"a", b"a:1", b":1|c", b"a:|c", b"a:1|x", b"a:-1|c", b"a:1|c|@0", b"a:1|c|@2", b"a:1|c|@",
     b"a:nan|g", b"a:1_0|g", b"a:1::2|h", b"a:1|c|T17", b"a:1|c|#__name__:x", b"_e{1,1}:a|b",
     b"a:1|c|#x:\xff", b"a:1|c|#x:\0"],
)  # fmt: skip
def test_what_statsd_cannot_take_is_said(line):
    """Each is refused with a reason in words."""
    with pytest.raises(ValueError, match=r"[a-z]"):
        statsd.decode(line)


@given(STATSD_TEXT | st.binary(max_size=60))
def test_every_statsd_line_is_taken_or_refused(text):
    """Whatever the bytes: taken and refused lines are those that are not blank; cut into pieces
    they have the same totals and refusals.
    """
    whole, apart = totals(), totals()
    before = LINES._value.get()
    whole.add([Received(text, NOW_MS)])
    taken, refused = LINES._value.get() - before, sum(whole.batch(NOW_MS).refused.values())
    *lines, cut = text.split(b"\n")
    assert taken + refused == sum(bool(line.strip()) for line in lines) + bool(cut)
    for received in asyncio.run(arrived(text, list(range(0, 60, 7)))):
        apart.add([received])
    assert whole.batch(NOW_MS + 1).refused == apart.batch(NOW_MS + 1).refused
    assert repr(flush(whole, NOW_MS + 1)) == repr(flush(apart, NOW_MS + 1))
