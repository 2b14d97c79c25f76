"""Laws of rollups: a bucket says what its samples say, and which days are due."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import isnan, nan
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.kernels.rollups import HISTOGRAM_BITS
from data_ingest.limits import DAY_MS
from data_ingest.rollups.plan import QUIET_MS, SETTLED_MS, days_due
from data_ingest.rollups.writing import buckets
from data_ingest.store.block import SortedSamples
from data_ingest.store.refs import BlockRef
from tests.stored_values import STALE, STALE_BITS, bits_of

R = 300_000
RESOLUTIONS = [R, 3_600_000]
HISTOGRAM = float(np.uint64(HISTOGRAM_BITS << 32).view(np.float64))
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, nan, STALE, float("inf"), 0.1, 5e-324, HISTOGRAM]),
    st.integers(-5, 5).map(float),
    st.floats(-1e6, 1e6),
)
SERIES = st.dictionaries(
    st.integers(0, 4), st.dictionaries(st.integers(-2 * R, 2 * R), VALUES, min_size=1)
)


def piece_of(series: dict[int, dict[int, float]]) -> SortedSamples:
    rows = [sorted(samples.items()) for _, samples in sorted(series.items())]
    return SortedSamples(
        np.array(sorted(series), np.int64),
        np.cumsum([0, *map(len, rows)]),
        np.array([at for row in rows for at, _ in row], np.int64),
        np.array([value for row in rows for _, value in row], np.float64),
    )


def same(a: float, b: float) -> bool:
    return bits_of(a) == bits_of(b) or (isnan(a) and isnan(b))


def expected_bucket(samples: list[tuple[int, float]]) -> dict[str, Any] | None:
    """What docs/formats/rollup.md says of the samples of one bucket, in order of time."""
    values = [(at, value) for at, value in samples if bits_of(value) != STALE_BITS]
    if not values:
        return None
    plain = [value for _, value in values]
    if any(bits_of(value) == bits_of(HISTOGRAM) for value in plain):
        return {"count": 0}
    numbers = [value for value in plain if not isnan(value)] or [nan]
    falls = [a for a, b in pairwise(plain) if b < a]
    is_counter = len(falls) <= 3
    return {
        "count": len(plain),
        "first_ms": values[0][0],
        "last_ms": values[-1][0],
        "first": plain[0],
        "last": plain[-1],
        "min": min(numbers),
        "max": max(numbers),
        "is_stale": bits_of(samples[-1][1]) == STALE_BITS,
        "resets": len(falls) if is_counter else -1,
        "reset_sum": sum(falls) if is_counter else 0.0,
    }


@given(SERIES)
def test_a_bucket_says_what_its_samples_say(series: dict[int, dict[int, float]]) -> None:
    """(end - resolution, end]: count, extremes, first, last and falls of what is no stale marker;
    a bucket with a histogram says only that; one without a value is not there.
    """
    table = buckets(piece_of(series), R).to_pylist()
    rows = {(row["series_id"], row["end_ms"]): row for row in table}
    assert list(rows) == sorted(rows)
    of_bucket: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for series_id, samples in series.items():
        for at, value in sorted(samples.items()):
            of_bucket.setdefault((series_id, -(-at // R) * R), []).append((at, value))
    expected = {key: expected_bucket(samples) for key, samples in of_bucket.items()}
    assert rows.keys() == {key for key, bucket in expected.items() if bucket is not None}
    for key, row in rows.items():
        for name, value in (expected[key] or {}).items():
            assert same(float(row[name]), float(value)), (key, name)


@given(st.lists(st.integers(-999, 999).map(lambda i: i / 10) | st.floats(-1e9, 1e9), min_size=1))
def test_sum_and_rest_are_the_exact_sum(values: list[float]) -> None:
    """Where the lowest bit proves it; each value is a multiple of 2 to its power."""
    (row,) = buckets(piece_of({1: dict(enumerate(values, 1))}), R).to_pylist()
    exact = [Fraction(value) for value in values]
    unit = Fraction(2) ** row["lowest_bit"]
    assert all(value % unit == 0 for value in exact)
    if len(values) ** 2 * max(map(abs, exact)) < 2**103 * unit:
        assert Fraction(row["sum"]) + Fraction(row["sum_rest"]) == sum(exact)


NOW = 1_000 * DAY_MS
MIDNIGHT = NOW - 3 * DAY_MS


def block(first_ms: int, last_ms: int, precedence: int = 5, **facts: object) -> BlockRef:
    one = BlockRef(precedence, precedence, 0, first_ms, last_ms, 1, NOW - DAY_MS, "key")
    return replace(one, **facts)  # type: ignore[arg-type]


def starts(
    *blocks: BlockRef,
    rollups: list[BlockRef] | None = None,
    now: int = NOW,
    since: int | None = None,
) -> list[int]:
    return [day.first_ms - 1 for day in days_due(blocks, rollups or [], RESOLUTIONS, now, since)]


def test_a_day_is_due_once_it_is_over_and_quiet() -> None:
    """Three hours after its end, an hour after its newest block, the newest day first; a sample of
    midnight is of the day before.
    """
    assert starts(block(MIDNIGHT, MIDNIGHT)) == [MIDNIGHT - DAY_MS]
    assert starts(block(MIDNIGHT - 5, MIDNIGHT + 5)) == [MIDNIGHT, MIDNIGHT - DAY_MS]
    fresh = block(MIDNIGHT + 1, MIDNIGHT + 2, created_ms=NOW - QUIET_MS + 1)
    assert starts(fresh) == []
    assert starts(fresh, now=NOW + 1) == [MIDNIGHT]
    over = MIDNIGHT + DAY_MS + SETTLED_MS
    early = block(MIDNIGHT + 1, MIDNIGHT + 2, created_ms=0)
    assert starts(early, now=over - 1) == []
    assert starts(early, now=over) == [MIDNIGHT]


def test_a_day_is_due_again_after_late_samples_only() -> None:
    """Blocks merged since change nothing; one of a higher precedence makes it due, and what there
    was is replaced.
    """
    made = [
        block(MIDNIGHT + 1, MIDNIGHT + DAY_MS, block_id=8 + i, resolution_ms=r)
        for i, r in enumerate(RESOLUTIONS)
    ]
    assert starts(block(MIDNIGHT + 1, MIDNIGHT + 2), rollups=made) == []
    assert starts(block(MIDNIGHT + 1, MIDNIGHT + 2), rollups=made[:1]) == [MIDNIGHT]
    late = (block(MIDNIGHT + 1, MIDNIGHT + 2), block(MIDNIGHT + 1, MIDNIGHT + 2, 6))
    (day,) = days_due(late, made, RESOLUTIONS, NOW, None)
    assert (day.precedence, day.replaced) == (6, (8, 9))


def test_what_is_corrupt_or_about_to_go_is_not_rolled_up() -> None:
    """Nor a day in more blocks than a run may have open."""
    good = block(MIDNIGHT + 1, MIDNIGHT + 2)
    assert starts(good, block(MIDNIGHT + 1, MIDNIGHT + 2, 4, is_quarantined=True)) == []
    assert starts(good, since=MIDNIGHT) == [MIDNIGHT]
    assert starts(good, since=MIDNIGHT + 1) == []
    assert starts(*(replace(good, precedence=i) for i in range(65))) == []
