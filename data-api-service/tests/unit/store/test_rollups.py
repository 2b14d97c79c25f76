"""Laws of reading rollups: whatever is mixed, the answer is that of a plain list of samples."""

import contextlib
import math
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from factories import write_block, write_rollup
from histograms import Written
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from stored_values import STALE, bits_of, stored

from data_api import promql
from data_api.chassis.objects import Directory
from data_api.model import Buckets, Columns, QueryLimits
from data_api.store.batch import SampleColumns
from data_api.store.block import BlockReader, BlockRef
from data_api.store.catalogue import Snapshot
from data_api.store.head import BatchRef, Head
from data_api.store.postings import SeriesIndex
from data_api.store.reader import Store
from data_api.store.rollups import RollupReader

TENANT = uuid.UUID(int=1)
R, HOUR = 300_000, 3_600_000
END = 2 * HOUR
LABELS = {n: {"__name__": "x_total", "n": str(n)} for n in (1, 2, 3)}


@dataclass
class Stored:
    """A store in a folder: blocks and rollups in the order they were made, then the head."""

    folder: Path
    arrived: list = field(default_factory=list)
    blocks: list = field(default_factory=list)
    rollups: list = field(default_factory=list)
    head: Head = field(default_factory=Head)

    def _ref(self, first_ms, last_ms, digest, resolution_ms=0):
        number = len(self.blocks) + len(self.rollups)
        return BlockRef(
            number, len(self.blocks), first_ms, last_ms, 1, 1, str(number), digest, resolution_ms
        )

    def block(self, samples):
        number = len(self.blocks) + len(self.rollups)
        digest = write_block(self.folder / str(number), TENANT, samples)
        times = [ts for _, ts, _ in samples]
        self.blocks.append(self._ref(min(times), max(times), digest))
        self.arrived += samples

    def rollup(self, resolution_ms, first, last):
        """Of the buckets `first` … `last`, both inclusive, and all blocks so far."""
        number = len(self.blocks) + len(self.rollups)
        span = (first * resolution_ms + 1, (last + 1) * resolution_ms)
        digest = write_rollup(
            self.folder / str(number), TENANT, self.arrived, resolution_ms, span, group=3
        )
        ref = self._ref(*span, digest, resolution_ms)
        self.rollups.append(
            BlockRef(
                **{
                    **{n: getattr(ref, n) for n in BlockRef.__slots__},
                    "precedence": len(self.blocks) - 1,
                }
            )
        )

    def batch(self, samples):
        ids, times, values = (np.array(column) for column in zip(*samples, strict=True))
        ref = BatchRef(len(self.arrived), 1, int(times.min()), int(times.max()), times.size)
        self.head = self.head.add({ref: SampleColumns(ids, times, values.astype(np.float64))})
        self.arrived += samples

    def load(self, spans, **limits):
        places = Directory(self.folder)
        index = SeriesIndex()
        index.add(LABELS.items())
        store = Store(None, BlockReader(places, 1 << 20), places, RollupReader(places, 1 << 20))
        snapshot = Snapshot(index, self.head, tuple(self.blocks), tuple(self.rollups))
        limits = QueryLimits(**limits)
        return store._load(snapshot, [span.since(limits.kept_since_ms) for span in spans], limits)

    def plain(self, span, kept_since_ms=-(2**62)):
        """The samples of a span, from the list of all that arrived."""
        rows = {n: [] for n in LABELS}
        for (series, ts), bits in sorted(stored(self.arrived).items()):
            if max(span.start_ms + 1, kept_since_ms) <= ts <= span.end_ms:
                rows[series].append((ts, bits))
        rows = {n: row for n, row in rows.items() if row}
        return Columns(
            [LABELS[n] for n in rows],
            np.cumsum([0, *map(len, rows.values())]),
            np.array([ts for row in rows.values() for ts, _ in row], np.int64),
            np.array([bits for row in rows.values() for _, bits in row], np.uint64).view(
                np.float64
            ),
        )


def answer(query, loaded, steps):
    result = promql.evaluate(promql.parse(query), loaded, *steps)
    rows = {}
    for labels, values, present in zip(
        result.value.labels, result.value.values, result.value.present, strict=True
    ):
        rows[labels["n"]] = [
            (math.nan if np.isnan(v) else bits_of(v)) if p else None
            for v, p in zip(values.tolist(), present.tolist(), strict=True)
        ]
    return str(rows), result.infos


TIMES = st.integers(1, 24 * 5).map(lambda n: n * 60_000) | st.integers(1, END)
VALUES = st.one_of(
    st.integers(0, 9).map(float),
    st.integers(-999, 999).map(lambda n: n / 10),
    st.sampled_from([STALE, 0.0, -0.0, math.nan]),
)
SAMPLES = st.lists(st.tuples(st.sampled_from([1, 2, 3]), TIMES, VALUES), min_size=1, max_size=12)
MADE = st.one_of(
    st.tuples(st.just(R), st.integers(0, 9), st.integers(14, 23)),
    st.tuples(st.just(HOUR), st.integers(0, 1), st.just(1)),
)
FUNCTIONS = [
    *("min", "max", "count", "sum", "avg", "first", "last", "present"),
]
QUERIES = st.one_of(
    st.sampled_from(["x_total", "timestamp(x_total)", "x_total offset 5m", "x_total offset 1h"]),
    st.tuples(
        st.sampled_from(
            [f"{name}_over_time" for name in FUNCTIONS]
            + ["rate", "increase", "delta", "stddev_over_time"]
        ),
        st.sampled_from(["5m", "15m", "1h", "2h"]),
        st.sampled_from(["", " offset 10m", " @ 3600"]),
    ).map(lambda q: f"{q[0]}(x_total[{q[1]}]{q[2]})"),
)
STEPS = st.sampled_from([(0, END, R), (R, END - 7, 3 * R), (HOUR, 2 * HOUR, HOUR), (END, END, 1)])


@example(
    [[(1, 60_000, 1.0)], (R, 0, 13), [(1, 81 * 60_000, 1.0), (1, 85 * 60_000, STALE)]],
    [],
    "x_total",
    (0, END, R),
    -(2**62),
)
@settings(deadline=None, max_examples=200)
@given(
    st.lists(SAMPLES | MADE, min_size=2, max_size=8),
    st.lists(SAMPLES, max_size=2),
    QUERIES,
    STEPS,
    st.sampled_from([-(2**62), R, R + 1, HOUR - 5]),
)
def test_rollups_change_no_answer(made, late, query, steps, kept_since_ms):
    """Any mix of head, blocks, rollups, late samples, stale markers, resets and retention answers
    bit for bit what a plain list answers, or says that it cannot.
    """
    with TemporaryDirectory() as folder:
        store = Stored(Path(folder))
        for one in made:
            if isinstance(one, list):
                store.block(one)
            else:
                store.rollup(one[0], min(one[1:]), max(one[1:]))
        for one in late:
            store.batch(one)
        spans = promql.needed(promql.parse(query), *steps)
        loaded = dict(zip(spans, store.load(spans, kept_since_ms=kept_since_ms), strict=True))
    plain = {span: store.plain(span, kept_since_ms) for span in spans}
    try:
        rows, _ = answer(query, loaded, steps)
    except promql.InexactRollup:
        assume(False)
    assert rows == answer(query, plain, steps)[0]


def filled(folder):
    """Two hours of a counter each 15 s, of which the first has a rollup of each length."""
    store = Stored(folder)
    store.block([(1, n * 15_000, float(n % 200)) for n in range(1, 241)])
    store.rollup(R, 0, 11)
    store.rollup(HOUR, 0, 0)
    store.block([(1, n * 15_000, float(n % 200)) for n in range(241, 481)])
    return store


HOURLY = (HOUR, END, HOUR)


@pytest.mark.parametrize(
    ("query", "steps", "rows"),
    [
        ("max_over_time(x_total[1h])", HOURLY, 1 + 240),
        ("rate(x_total[1h])", HOURLY, 1 + 240),
        ("irate(x_total[1h])", HOURLY, None),
        ("x_total", (R, END, R), 12 + 240),
        ("x_total", HOURLY, None),  # of two hours one is not whole, the other has no rollup
        ("avg_over_time(x_total[5m])", (R, END, R), 12 + 240),
        ("max_over_time(x_total[1h])", (HOUR, HOUR, 1), 1),
        ("max_over_time(x_total[7m])", (HOUR, END, HOUR), None),
        ("max_over_time(x_total[1h])", (HOUR + 1, END, HOUR), None),
        ("stddev_over_time(x_total[1h])", HOURLY, None),
        ("max_over_time(x_total[1h:5m])", HOURLY, 1 + 12 + 240),
        ("rate((x_total[1h]))", HOURLY, None),
        ("quantile_over_time(0.5, (x_total[5m]))", (R, END, R), None),
        ("increase(x_total[1h] anchored)", HOURLY, None),
    ],
)
def test_rollups_are_read_where_windows_are_whole_buckets(tmp_path, query, steps, rows):
    """A bucket is one row, what has no rollup a row a sample; the answer says so. Other windows and
    functions read samples.
    """
    store = filled(tmp_path)
    spans = promql.needed(promql.parse(query), *steps)
    (loaded,) = store.load(spans)
    _, infos = answer(query, {spans[0]: loaded}, steps)
    assert isinstance(loaded, Buckets) == (rows is not None)
    assert any("read from rollups" in info for info in infos) == (rows is not None)
    if isinstance(loaded, Buckets) and ":" not in query:
        assert loaded.columns["end_ms"].size == rows


def test_a_counter_that_falls_twice_in_a_bucket_is_asked_of_samples(tmp_path):
    """Only the sum of its values before each fall is known then, not how it is rounded."""
    store = Stored(tmp_path)
    store.block([(1, n * 15_000, float(n % 100)) for n in range(1, 481)])
    store.rollup(HOUR, 0, 1)
    for query, is_exact in (("increase(x_total[1h])", False), ("delta(x_total[1h])", True)):
        spans = promql.needed(promql.parse(query), *HOURLY)
        loaded = dict(zip(spans, store.load(spans), strict=True))
        with contextlib.nullcontext() if is_exact else pytest.raises(promql.InexactRollup):
            answer(query, loaded, HOURLY)


def test_histograms_beside_rollups_are_read_as_samples(tmp_path):
    """Buckets are of floats: a series that begins to send histograms is none of them."""
    store = filled(tmp_path)
    message = Written(positive=((0, 3),), total=1.5).encoded()
    store.block([(2, END - 60_000, message), (2, END - 30_000, message)])
    (span,) = promql.needed(promql.parse("last_over_time(x_total[1h])"), *HOURLY)
    (loaded,) = store.load([span])
    assert isinstance(loaded, Columns)
    assert loaded.histograms == [message, message]
