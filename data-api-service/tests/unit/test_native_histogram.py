"""Native histograms as values: their arithmetic against plain counting of observations."""

import hashlib
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_api.errors import TooManySamples
from data_api.native_histogram import (
    CUSTOM,
    FLOAT_MAX,
    KEY_OF_BUCKET_0,
    Hint,
    Histogram,
    IncompatibleBucketsError,
    Layout,
    aligned,
    joined_hint,
)
from data_api.promql.native_histogram_functions import fraction, quantile, trimmed

OBSERVED = st.lists(
    st.one_of(st.floats(1e-3, 1e3), st.floats(-1e3, -1e-3), st.just(0.0)), min_size=1, max_size=40
)
SCHEMAS = st.integers(-4, 8)
THRESHOLDS = st.sampled_from([0.0, 0.001, 0.25, 3.0])
BOUNDS = st.lists(st.sampled_from([-8.0, 0.5, 1.0, 2.0, 16.0]), unique=True).map(sorted)


def index_of(value, schema):
    """The exponential bucket that |value| > 0 lies in: the first whose upper bound reaches it."""
    return math.ceil(math.log2(abs(value)) * 2.0**schema - 1e-12)


def observed(values, schema, threshold):
    """The exponential histogram of some observations, one by one."""
    counts = Counter({0: 0})
    for value in values:
        if abs(value) <= threshold:
            counts[0] += 1
        else:
            key = index_of(value, schema) + KEY_OF_BUCKET_0
            counts[key if value > 0 else -key] += 1
    keys = sorted(counts)
    numbers = [len(values), math.fsum(values), *(counts[key] for key in keys)]
    return Histogram(Layout(schema, threshold), np.array(keys), np.array(numbers, np.float64))


def custom(values, bounds):
    """The histogram with custom bounds of some observations."""
    counts = Counter(int(np.searchsorted(bounds, value)) for value in values)
    keys = np.array(sorted(counts), np.int64)
    numbers = [len(values), math.fsum(values), *(counts[key] for key in keys.tolist())]
    layout = Layout(CUSTOM, 0.0, tuple(bounds))
    return Histogram(layout, keys + KEY_OF_BUCKET_0, np.array(numbers, np.float64))


def buckets(histogram):
    return dict(zip(*(column.tolist() for column in histogram.filled()), strict=True))


@given(OBSERVED, OBSERVED, SCHEMAS, SCHEMAS)
def test_a_sum_is_the_histogram_of_all_observations(first, second, schema, other):
    """Two resolutions meet at the coarser one, and there nothing is lost or moved."""
    both = aligned([observed(first, schema, 0.0), observed(second, other, 0.0)])
    added = both.histogram(both.rows.sum(axis=0), Hint.UNKNOWN)
    wanted = observed([*first, *second], min(schema, other), 0.0)
    assert buckets(added) == buckets(wanted)
    assert added.count == wanted.count
    assert added.sum == pytest.approx(wanted.sum)


@given(OBSERVED, OBSERVED, SCHEMAS, THRESHOLDS, THRESHOLDS)
def test_zero_buckets_meet_at_the_wider_one(first, second, schema, threshold, other):
    """No observation is lost on the way."""
    both = aligned([observed(first, schema, threshold), observed(second, schema, other)])
    added = both.histogram(both.rows.sum(axis=0), Hint.UNKNOWN)
    assert sum(buckets(added).values()) == len(first) + len(second)
    assert both.layout.zero_threshold >= max(threshold, other)


@given(OBSERVED, SCHEMAS, THRESHOLDS)
def test_a_wider_zero_bucket_cuts_no_other(values, schema, threshold):
    """It grows to the end of each filled bucket that it would reach into."""
    wider = observed(values, schema, 0.0).widened(threshold)
    lowers, uppers = wider.edges()
    is_filled = (wider.keys != 0) & (wider.numbers[2:] > 0)
    nearest = np.minimum(np.abs(lowers), np.abs(uppers))[is_filled]
    assert (nearest >= wider.layout.zero_threshold).all()
    assert sum(buckets(wider).values()) == len(values)


@given(OBSERVED, OBSERVED, BOUNDS, BOUNDS)
def test_custom_bounds_meet_at_those_that_both_have(first, second, bounds, others):
    """The result is what the shared bounds alone would have counted."""
    both = aligned([custom(first, bounds), custom(second, others)])
    shared = sorted({*bounds} & {*others})
    wanted = custom([*first, *second], shared)
    assert both.layout.bounds == tuple(shared)
    assert both.is_reconciled == (bounds != others)
    assert buckets(both.histogram(both.rows.sum(axis=0), Hint.UNKNOWN)) == buckets(wanted)


def test_exponential_and_custom_buckets_do_not_mix():
    """There is no common layout."""
    with pytest.raises(IncompatibleBucketsError):
        aligned([observed([1.0], 0, 0.0), custom([1.0], [2.0])])


def test_histograms_that_share_no_bucket_have_a_bound():
    """Their common buckets are as many as all of them together."""
    keys = np.arange(200) + KEY_OF_BUCKET_0
    apart = [Histogram(Layout(0), keys + 200 * n, np.ones(202)) for n in range(300)]
    with pytest.raises(TooManySamples):
        aligned(apart)


@given(OBSERVED, OBSERVED, SCHEMAS, SCHEMAS, THRESHOLDS)
def test_a_counter_that_only_grows_never_fell(first, more, schema, coarser, threshold):
    """More observations are no reset, neither is a coarser resolution; fewer are one."""
    before = observed(first, max(schema, coarser), threshold)
    after = observed([*first, *more], min(schema, coarser), threshold)
    assert not after.fell_from(before)
    assert before.fell_from(after)


@pytest.mark.parametrize(
    ("hint", "fell"), [(Hint.RESET, True), (Hint.NOT_RESET, False), (Hint.GAUGE, True)]
)
def test_a_hint_decides_where_there_is_one(hint, fell):
    """RESET and NOT_RESET are believed; otherwise the counts say it, also of a whole series."""
    before, after = observed([1.0, 2.0], 0, 0.0), replace(observed([1.0], 0, 0.0), hint=hint)
    assert after.fell_from(before) is fell
    rows = aligned([before, after])
    assert rows.falls([Hint.UNKNOWN, hint]).tolist()[1] is fell


def test_hints_of_a_sum():
    """A gauge makes a gauge; what is not alike is unknown; a reset and none contradict."""
    one = observed([1.0], 0, 0.0)

    def joined(*hints):
        return joined_hint([replace(one, hint=hint) for hint in hints])

    assert joined(Hint.NOT_RESET, Hint.NOT_RESET) == (Hint.NOT_RESET, False)
    assert joined(Hint.NOT_RESET, Hint.UNKNOWN) == (Hint.UNKNOWN, False)
    assert joined(Hint.GAUGE, Hint.RESET, Hint.NOT_RESET) == (Hint.GAUGE, True)
    assert joined(Hint.RESET, Hint.NOT_RESET) == (Hint.UNKNOWN, True)


@pytest.mark.parametrize("schema", range(-4, 9))
def test_the_last_bucket_ends_at_the_largest_float(schema):
    """No bound of a bucket that holds floats is infinite."""
    key = index_of(FLOAT_MAX, schema) + KEY_OF_BUCKET_0
    both = Histogram(Layout(schema), np.array([-key, key]), np.array([2.0, 0.0, 1.0, 1.0]))
    lowers, uppers = both.edges()
    assert lowers[0] == -FLOAT_MAX
    assert uppers[1] == FLOAT_MAX


@given(OBSERVED, SCHEMAS, st.floats(0.01, 0.99))
def test_quantile_and_fraction_are_inverse(values, schema, q):
    """At most the share `q` lies below the quantile, and at least that up to just above it."""
    histogram = observed(values, schema, 1e-9)
    value = quantile(q, histogram, pytest.fail)
    near = abs(value) * 1e-9 + 1e-15
    below, up_to = (
        fraction(-math.inf, bound, histogram, pytest.fail) for bound in (value - near, value + near)
    )
    assert below <= q + 1e-6
    assert up_to >= q - 1e-6


@given(OBSERVED, SCHEMAS, st.floats(-100, 100))
def test_what_is_trimmed_above_and_below_is_all(values, schema, bound):
    """Each observation is on one side of a bound."""
    histogram = observed(values, schema, 1e-9)
    sides = [trimmed(bound, histogram, keeps_below=keeps).count for keeps in (True, False)]
    assert sum(sides) == pytest.approx(len(values))
    share = fraction(-math.inf, bound, histogram, lambda _: None)
    assert sides[0] == pytest.approx(share * len(values), abs=1e-9)


PROMETHEUS_BOUNDS = {
    1: [0.35355339059327373, 0.5, 0.7071067811865475, 1.0, 1.414213562373095],
    2: [0.5946035575013605, 0.7071067811865475, 0.8408964152537144, 1.0, 1.189207115002721],
    3: [0.7711054127039704, 0.8408964152537144, 0.9170040432046711, 1.0, 1.0905077326652577],
    8: [0.9919100824251095, 0.9945994234836328, 0.9972960560854698, 1.0, 1.0027112750502025],
}
"""Of buckets -3 to 1, as Prometheus 3.5.3 shows them in `/api/v1/query`."""
DIGEST_OF_SCHEMA_8 = "b705893252affda57067d65a6b29ff1e5a81a452f0023274cb44336021a7ce5c"
"""SHA-256 of what it shows of buckets -3 to 252, as doubles."""


@pytest.mark.parametrize("schema", PROMETHEUS_BOUNDS)
def test_bounds_are_those_that_prometheus_shows(schema):
    """A bucket ends where Prometheus says it does, to the last digit."""
    keys = np.arange(-3, 2) + KEY_OF_BUCKET_0
    assert (
        Histogram(Layout(schema), keys, np.ones(7)).edges()[1].tolist()
        == (PROMETHEUS_BOUNDS[schema])
    )


def test_all_bounds_of_the_finest_schema_are_those_that_prometheus_shows():
    """So are all of schema 8, among which are those of every lower one."""
    keys = np.arange(-3, 253) + KEY_OF_BUCKET_0
    uppers = Histogram(Layout(8), keys, np.ones(258)).edges()[1]
    assert hashlib.sha256(uppers.astype("<f8").tobytes()).hexdigest() == DIGEST_OF_SCHEMA_8
