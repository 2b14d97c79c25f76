"""Window kernels against slow, obvious Python."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_api.model import STALE_BITS
from data_api.promql.kernels import grouping, growth, windows

finite = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3))
awkward = st.one_of(finite, st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0]))


@st.composite
def rows(draw, values=finite):
    """Offsets, times and values of a few series."""
    offsets, times, out = [0], [], []
    for _ in range(draw(st.integers(1, 3))):
        gaps = draw(st.lists(st.integers(1, 40), max_size=15))
        times.extend(np.cumsum(gaps).tolist())
        out.extend(draw(st.lists(values, min_size=len(gaps), max_size=len(gaps))))
        offsets.append(len(times))
    return (
        np.array(offsets, np.int64),
        np.array(times, np.int64),
        np.array(out, np.float64),
    )


ends = st.lists(st.integers(-10, 400), min_size=1, max_size=8).map(
    lambda items: np.array(sorted(items), np.int64)
)
lengths = st.integers(1, 200)


def slow_windows(samples, ends_ms, length):
    """Each row's and step's (times, values) in ``(end - length, end]``."""
    offsets, times, values = samples
    for row in range(offsets.size - 1):
        part = slice(offsets[row], offsets[row + 1])
        pairs = list(zip(times[part].tolist(), values[part].tolist(), strict=True))
        for step, end in enumerate(ends_ms.tolist()):
            inside = [(t, v) for t, v in pairs if end - length < t <= end]
            yield row, step, end, [t for t, _ in inside], [v for _, v in inside]


def blank(samples, ends_ms):
    shape = (samples[0].size - 1, ends_ms.size)
    return np.zeros(shape), np.zeros(shape, np.bool_)


def folded(op, samples, ends_ms, length, first=0.0):
    """Values and presence that the kernel gives, `first` being its parameter at every step."""
    out, present = blank(samples, ends_ms)
    firsts, seconds = np.full(ends_ms.size, first), np.zeros(ends_ms.size)
    windows.fold(op, *samples, ends_ms, length, firsts, seconds, out, present)
    return out, present


def agrees(got, wanted):
    """Equal, or equal but for the last digits."""
    if math.isnan(wanted):
        return math.isnan(got)
    return got == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def numbers(values):
    return [v for v in values if not math.isnan(v)]


EXACT = {
    windows.SUM: lambda v: float(sum(map(Fraction, v))),
    windows.AVG: lambda v: float(sum(map(Fraction, v)) / len(v)),
    windows.STDVAR: lambda v: float(
        sum((Fraction(x) - sum(map(Fraction, v)) / len(v)) ** 2 for x in v) / len(v)
    ),
}
SIMPLE = {
    windows.MIN: lambda v: min(numbers(v), default=math.nan),
    windows.MAX: lambda v: max(numbers(v), default=math.nan),
    windows.COUNT: len,
    windows.FIRST: lambda v: v[0],
    windows.LAST: lambda v: v[-1],
    windows.PRESENT: lambda _: 1.0,
    windows.RESETS: lambda v: sum(b < a for a, b in pairwise(v)),
    windows.CHANGES: lambda v: sum(
        a != b and not (math.isnan(a) and math.isnan(b)) for a, b in pairwise(v)
    ),
}


@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("op", EXACT)
@given(samples=rows(), ends_ms=ends, length=lengths)
def test_sums_agree_with_exact_arithmetic(op, samples, ends_ms, length):
    """Sum, mean and variance of a window agree with rational arithmetic."""
    out, present = folded(op, samples, ends_ms, length)
    for row, step, _, _, values in slow_windows(samples, ends_ms, length):
        assert present[row, step] == bool(values)
        if values:
            wanted = EXACT[op](values)
            assert out[row, step] == pytest.approx(wanted, rel=1e-9, abs=1e-6)


@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("op", SIMPLE)
@given(samples=rows(awkward), ends_ms=ends, length=lengths)
def test_folds_agree_with_python(op, samples, ends_ms, length):
    """The folds of a window agree with a list comprehension, NaN and infinities included."""
    out, present = folded(op, samples, ends_ms, length)
    for row, step, _, _, values in slow_windows(samples, ends_ms, length):
        assert present[row, step] == bool(values)
        if values:
            assert agrees(out[row, step], SIMPLE[op](values))


def slow_growth(times, values, start, end, *, counter, rate):
    """Prometheus's extrapolation, written down once more."""
    if len(values) < 2:
        return None
    grown = values[-1] - values[0]
    if counter:
        grown += sum(a for a, b in pairwise(values) if b < a)
    sampled = (times[-1] - times[0]) / 1000
    between = sampled / (len(values) - 1)
    before, after = (times[0] - start) / 1000, (end - times[-1]) / 1000
    before = before if before < between * 1.1 else between / 2
    after = after if after < between * 1.1 else between / 2
    if counter and grown > 0 and values[0] >= 0:
        before = min(before, sampled * values[0] / grown)
    return grown * (sampled + before + after) / sampled / ((end - start) / 1000 if rate else 1)


@settings(max_examples=150, deadline=None)
@given(
    samples=rows(st.floats(0, 1e6).map(lambda v: round(v, 2))),
    ends_ms=ends,
    length=lengths,
    op=st.sampled_from([growth.RATE, growth.INCREASE, growth.DELTA]),
)
def test_growth_agrees_with_python(samples, ends_ms, length, op):
    """rate, increase and delta agree with the extrapolation written plainly."""
    out, present = blank(samples, ends_ms)
    growth.extrapolated(op, *samples, ends_ms, length, out, present)
    counter, rate = op != growth.DELTA, op == growth.RATE
    for row, step, end, times, values in slow_windows(samples, ends_ms, length):
        wanted = slow_growth(times, values, end - length, end, counter=counter, rate=rate)
        assert present[row, step] == (wanted is not None)
        if wanted is not None:
            assert agrees(out[row, step], wanted)


@settings(max_examples=60, deadline=None)
@given(samples=rows(), ends_ms=ends, length=lengths, q=st.floats(0, 1))
def test_quantile_agrees_with_numpy(samples, ends_ms, length, q):
    """A window's quantile interpolates between ranks as numpy does by default."""
    out, present = folded(windows.QUANTILE, samples, ends_ms, length, q)
    for row, step, _, _, values in slow_windows(samples, ends_ms, length):
        assert present[row, step] == bool(values)
        if values:
            assert agrees(out[row, step], float(np.quantile(values, q)))


@settings(max_examples=60, deadline=None)
@given(samples=rows(), ends_ms=ends, length=lengths)
def test_slope_agrees_with_least_squares(samples, ends_ms, length):
    """Deriv is the slope of the least-squares line, a second."""
    out, present = folded(windows.DERIV, samples, ends_ms, length)
    for row, step, _, times, values in slow_windows(samples, ends_ms, length):
        assert present[row, step] == (len(values) > 1)
        if len(values) > 1:
            x = [Fraction(t - times[0], 1000) for t in times]
            y = [Fraction(v) for v in values]
            n = len(x)
            top = sum(a * b for a, b in zip(x, y, strict=True)) - sum(x) * sum(y) / n
            slope = float(top / (sum(a * a for a in x) - sum(x) ** 2 / n))
            assert out[row, step] == pytest.approx(slope, rel=1e-6, abs=1e-3)


@settings(max_examples=100, deadline=None)
@given(samples=rows(), steps=ends, lookback=lengths, stale=st.sets(st.integers(0, 44)))
def test_newest_sample_or_none(samples, steps, lookback, stale):
    """The newest sample within the lookback is chosen; a stale marker hides the older ones."""
    offsets, times, values = samples
    bits = values.view(np.int64).copy()
    bits[[i for i in stale if i < bits.size]] = STALE_BITS
    indexes = np.empty((offsets.size - 1, steps.size), np.int64)
    windows.newest(offsets, times, bits, steps, lookback, indexes)
    for row in range(offsets.size - 1):
        for step, end in enumerate(steps):
            inside = [
                i for i in range(offsets[row], offsets[row + 1]) if end - lookback < times[i] <= end
            ]
            wanted = inside[-1] if inside and bits[inside[-1]] != STALE_BITS else -1
            assert indexes[row, step] == wanted


@settings(max_examples=80, deadline=None)
@given(data=st.data(), op=st.sampled_from([grouping.SUM, grouping.AVG, grouping.STDVAR]))
def test_aggregation_agrees_with_exact_arithmetic(data, op):
    """Sum, mean and variance of each group at each step agree with rational arithmetic."""
    n, m, g = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 3)), 3
    values = np.array(data.draw(st.lists(finite, min_size=n * m, max_size=n * m))).reshape(n, m)
    given_mask = np.array(
        data.draw(st.lists(st.booleans(), min_size=n * m, max_size=n * m))
    ).reshape(n, m)
    groups = np.array(data.draw(st.lists(st.integers(0, g - 1), min_size=n, max_size=n)), np.int64)
    out, present = np.zeros((g, m)), np.zeros((g, m), np.bool_)
    grouping.aggregate(op, values, given_mask, groups, out, present)
    exact = {grouping.SUM: windows.SUM, grouping.AVG: windows.AVG, grouping.STDVAR: windows.STDVAR}
    for group in range(g):
        for step in range(m):
            chosen = values[(groups == group) & given_mask[:, step], step].tolist()
            assert present[group, step] == bool(chosen)
            if chosen:
                wanted = EXACT[exact[op]](chosen)
                assert out[group, step] == pytest.approx(wanted, rel=1e-9, abs=1e-6)
