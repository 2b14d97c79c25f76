"""Laws of a page in protobuf: the same series as in text, native histograms, and hostile bytes."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.errors import BodyTooLarge
from data_ingest.model import SampleBatch
from data_ingest.protocols.prometheus_text import BadExposition
from data_ingest.scrape import protobuf_page
from data_ingest.scrape.reading import Reading
from data_ingest.scrape.samples import ScrapedSamples
from data_ingest.scrape.series import OverLimit, TargetSeries
from tests import wire
from tests.native_histograms import meaning, stored_form, valid_histograms
from tests.protobuf_pages import (
    COUNTER,
    GAUGE,
    GAUGE_HISTOGRAM,
    HISTOGRAM,
    SUMMARY,
    UNTYPED,
    delimited,
    family,
    labels,
)
from tests.scrapes import rows, scraped

TRACE = {"label": labels(trace_id="abc"), "value": 0.3, "timestamp": {"seconds": 7, "nanos": 5**9}}
TIMELESS = {"label": labels(trace_id="def"), "value": 0.4}
BUCKETS = [
    {"count": 2, "bound": 0.5, "exemplar": TRACE},
    {"count": 3, "bound": 1e6, "exemplar": TIMELESS},
]
NATIVE = {
    "count": 4,
    "sum": 2.5,
    "schema": 3,
    "zero_threshold": 1e-9,
    "zero": 1,
    "positive_span": [{"offset": -2, "length": 2}],
    "positive_delta": [1, 1],
}
PAGE = b"".join(
    (
        family(
            "hits_total",
            COUNTER,
            {"label": labels(code="200"), "counter": {"value": 3, "created": {"seconds": 1}}},
            {"label": labels(code="ü\n"), "counter": {"value": 1, "exemplar": TRACE}},
            about="Hits.",
        ),
        family("heat", GAUGE, {"gauge": {"value": math.nan}, "timestamp_ms": 77}),
        family("odd", UNTYPED, {"untyped": {"value": -math.inf}}),
        family(
            "lag",
            SUMMARY,
            {"summary": {"count": 5, "sum": 2.5, "quantile": [{"quantile": 0.5, "value": 0.1}]}},
        ),
        family("size", HISTOGRAM, {"histogram": {"count": 4, "sum": 9.5, "bucket": BUCKETS}}),
        family(
            "queue",
            GAUGE_HISTOGRAM,
            {
                "histogram": {
                    "real": 1.5,
                    "sum": 1,
                    "bucket": [{"real": 0.5, "bound": 1}, {"real": 1.5, "bound": math.inf}],
                }
            },
        ),
    )
)
TEXT = """# HELP hits_total Hits.
# TYPE hits_total counter
hits_total{code="200"} 3
hits_total{code="ü\\n"} 1
# TYPE heat gauge
heat NaN 77
# TYPE odd untyped
odd -Inf
# TYPE lag summary
lag_count 5
lag_sum 2.5
lag{quantile="0.5"} 0.1
# TYPE size histogram
size_count 4
size_sum 9.5
size_bucket{le="0.5"} 2
size_bucket{le="1e+06"} 3
size_bucket{le="+Inf"} 4
# TYPE queue gaugehistogram
queue_count 1.5
queue_sum 1
queue_bucket{le="1"} 0.5
queue_bucket{le="+Inf"} 1.5
"""


def _decode(page: bytes, *, native: bool = True, classic: bool = False) -> ScrapedSamples:
    return protobuf_page.decode(page, native=native, classic=classic)


def _batch(samples: ScrapedSamples, **reading: Any) -> SampleBatch:
    series = TargetSeries((("instance", "h:1"), ("job", "j")), Reading(**reading))
    return series.batch(series.match(samples, 1000), 1000, [])


def _native(**fields: Any) -> bytes:
    return family("size", HISTOGRAM, {"histogram": {**NATIVE, **fields}})


def test_a_page_is_the_same_in_protobuf_and_text() -> None:
    """Each type has the series, values, times and descriptions that the text format has."""
    in_protobuf, in_text = _decode(PAGE), scraped(TEXT)
    assert str(rows(_batch(in_protobuf))) == str(rows(_batch(in_text)))  # NaN is not itself
    assert in_protobuf.metadata == in_text.metadata


def test_a_series_goes_on_where_the_format_changes() -> None:
    """A target that answers in the other format ends no series and begins none."""
    series = TargetSeries((("job", "j"),))
    for at, samples in ((1, scraped(TEXT)), (2, _decode(PAGE))):
        matched = series.match(samples, at)
        batch = series.batch(matched, at, [])
        series.finish_scrape(durable=True, scraped=samples)
        assert batch.samples == len(samples)
        assert bool(matched.added) == (at == 1)


def test_exemplars_are_those_of_their_sample() -> None:
    """Counters and buckets have theirs, with its time or without; native histograms those that have
    a time, their own or else those of their buckets.
    """
    page = _decode(PAGE)
    assert [(page.texts[one.sample], one.timestamp_ms, one.value) for one in page.exemplars] == [
        ("__name__ÿhits_totalÿcodeÿü\n".encode().replace("ÿ".encode(), b"\xff"), 7001, 0.3),
        (b"__name__\xffsize_bucket\xffle\xff0.5", 7001, 0.3),
        (b"__name__\xffsize_bucket\xffle\xff1e+06", None, 0.4),
    ]
    for fields in ({"exemplars": [TRACE, TIMELESS]}, {"bucket": BUCKETS}):
        (one,) = _decode(_native(**fields)).exemplars
        assert (one.sample, one.labels) == (0, ((b"trace_id", b"abc"),))


@given(sent=valid_histograms(), is_gauge=st.booleans())
def test_native_buckets_are_stored_as_remote_write_stores_them(sent: Any, is_gauge: bool) -> None:
    """The stored histogram has the meaning of that of the page; the one of a gauge says so."""
    is_float = sent.WhichOneof("count") == "count_float"
    if is_float:
        sent.count_float += 1  # without a count it is of the integer kind, as in Prometheus
        numbers = {"real": sent.count_float, "zero_real": sent.zero_count_float}
    else:
        numbers = {"count": sent.count_int, "zero": sent.zero_count_int}
    sent.schema, sent.zero_threshold = max(sent.schema, -4), sent.zero_threshold or 1e-9
    for name in ("custom_values", "start_timestamp"):
        sent.ClearField(name)
    fields: dict[str, Any] = {"sum": sent.sum, "schema": sent.schema, **numbers}
    fields["zero_threshold"] = sent.zero_threshold
    kind = "count" if is_float else "delta"
    for side in ("positive", "negative"):
        spans = getattr(sent, f"{side}_spans")
        fields[f"{side}_span"] = [{"offset": one.offset, "length": one.length} for one in spans]
        fields[f"{side}_{kind}"] = list(getattr(sent, f"{side}_{kind}s"))
    page = _decode(family("x", GAUGE_HISTOGRAM if is_gauge else HISTOGRAM, {"histogram": fields}))
    (stored,) = page.histograms.values()
    assert meaning(stored) == meaning(stored_form(sent))
    assert wire.Histogram.FromString(stored).reset_hint == (3 if is_gauge else 0)


@pytest.mark.parametrize(
    ("native", "classic", "expected"),
    [
        (True, False, {"size"}),
        (True, True, {"size", "size_count", "size_sum", "size_bucket"}),
        (False, True, {"size_count", "size_sum", "size_bucket"}),
    ],
)
def test_which_buckets_are_read(native: bool, classic: bool, expected: set[str]) -> None:
    """Native buckets where they are wanted, and then the classic ones only where these are too."""
    page = _decode(_native(bucket=BUCKETS), native=native, classic=classic)
    names = [page.labels(i)[0][1].decode() for i in range(len(page))]
    assert set(names) == expected
    assert [names[i] for i in page.histograms] == ["size"] * native
    classic_only = family("size", HISTOGRAM, {"histogram": {"count": 1, "bucket": BUCKETS}})
    assert not _decode(classic_only).histograms
    assert len(_decode(_native(), native=True, classic=True)) == 1


def test_a_histogram_keeps_its_place() -> None:
    """Where another sample of the page is left out, each histogram is still that of its series; of
    the same series twice the first counts, and it is one sample of `sample_limit`.
    """
    twice = family("a", GAUGE, {"gauge": {"value": 1}}, {"gauge": {"value": 2}})
    page = _decode(twice + _native() + _native(sum=7.0))
    batch = _batch(page, sample_limit=4)
    assert set(rows(batch)) == {"a{instance=h:1,job=j}", "size{instance=h:1,job=j}"}
    assert batch.histogram_at.tolist() == [1]
    assert [meaning(one)["sum"] for one in batch.histograms] == [2.5]
    with pytest.raises(OverLimit, match="sample_limit"):
        _batch(page, sample_limit=3)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (PAGE[:-1], "cut: "),
        (b"\xff" * 11, "malformed protobuf"),
        (b"\x80", "malformed protobuf"),
        (delimited(b"\x0a\x05ab"), "arsing"),
        (family("", GAUGE), "without a name"),
        (family("a", 6), "type 6"),
        (family("a", GAUGE, {"label": labels(x="1") * 2}), "stands twice"),
        (family("a", GAUGE, {"label": labels(__name__="b")}), "stands twice"),
        (family("a", SUMMARY, {"label": labels(quantile="b"), "summary": {"quantile": [{}]}}),
         "stands twice"),
        (family("a", GAUGE, {"label": [{"value": b"x"}]}), "a label without a name"),
        (family("a", GAUGE, {"label": [{"name": b"x", "value": b"\xff"}]}), "utf-8"),
        (_native(count=5), "the buckets add up to 4, the count is 5"),
        (_native(schema=9), "schema 9"),
        (_native(positive_span=[{"offset": 0, "length": 2**31}]), "spans have 2147483648 buckets"),
    ],
)  # fmt: skip
def test_a_page_that_is_none_is_refused(page: bytes, why: str) -> None:
    """One fault refuses the whole page, and says what is wrong and in which family."""
    whole = family("first", GAUGE, {"gauge": {"value": 1}})
    with pytest.raises(BadExposition) as raised:
        _decode(whole + page)
    assert why in str(raised.value)
    assert raised.value.facts["offset"] >= len(whole)


@given(page=st.one_of(st.binary(), st.just(PAGE)), data=st.data())
def test_any_bytes_are_read_or_refused(page: bytes, data: st.DataObject) -> None:
    """However a page is damaged, it is read or refused as one, and nothing else is raised."""
    damaged = bytearray(page + _native(bucket=BUCKETS))
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = _decode(bytes(damaged), classic=True)
    except (BadExposition, BodyTooLarge):
        return
    assert len(decoded) == len(decoded.values) == len(decoded.timestamps_ms)
    _batch(decoded)


def test_a_page_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of two bytes each are counted before there is memory for them all, and one metric is
    not over METRIC_BYTES_MAX.
    """
    monkeypatch.setattr(protobuf_page, "SAMPLES_MAX", 1000)
    with pytest.raises(BodyTooLarge, match="limit=1000"):
        _decode(delimited(b"\x0a\x01a\x18\x01" + b"\x22\x00" * 1001))
    assert len(_decode(delimited(b"\x0a\x01a\x18\x01" + b"\x22\x00" * 1000))) == 1000
    large = {"label": [{"name": b"a", "value": b"x" * protobuf_page.METRIC_BYTES_MAX}]}
    with pytest.raises(BodyTooLarge, match="one metric"):
        _decode(family("a", GAUGE, large))
