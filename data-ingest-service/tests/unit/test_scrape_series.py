"""Laws of scraped series: what is written of each scrape, and when a series ends."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.errors import BadBody
from data_ingest.model import SampleBatch
from data_ingest.protocols.prometheus_text import BadExposition, decode
from data_ingest.scrape.reading import Reading
from data_ingest.scrape.relabel import Rule
from data_ingest.scrape.samples import Family, from_exposition, from_families
from data_ingest.scrape.series import OverLimit, TargetSeries, with_target_labels
from tests.scrapes import rows, scraped, values

UP = [("up", 1.0)]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
NAME = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
BLANK = st.sampled_from(["", " ", "\t", "  "])


def _series(instance: str = "h:1") -> TargetSeries:
    return TargetSeries((("instance", instance), ("job", "j")))


def _batch(
    series: TargetSeries, text: str, at_ms: int, report: Sequence[tuple[str, float]] = UP
) -> SampleBatch:
    return series.batch(series.match(scraped(text), at_ms), at_ms, report)


def _scrape(series: TargetSeries, text: str, at_ms: int) -> SampleBatch:
    """As `_batch`, and it is durable."""
    batch = _batch(series, text, at_ms)
    series.finish_scrape(durable=True)
    return batch


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@st.composite
def writings(draw: Any) -> tuple[str, str]:
    """One series, written in two of the ways the format allows."""
    name = draw(NAME.filter(lambda n: n != "up"))
    labels = draw(st.dictionaries(NAME.filter(lambda n: n not in {"job", "instance"}), TEXT))
    spare = draw(NAME.filter(lambda n: n not in {*labels, "job", "instance"}))
    return draw(_writing(name, labels, spare)), draw(_writing(name, labels, spare))


@st.composite
def _writing(draw: Any, name: str, labels: dict[str, str], spare: str) -> str:
    pairs = draw(st.permutations([*labels.items()]))
    shown = [(n, v) for n, v in pairs if v or draw(st.booleans())]
    shown += [(spare, "")] * draw(st.integers(0, 1))
    inside = [
        f'{draw(st.sampled_from([n, _quoted(n)]))}{draw(BLANK)}={draw(BLANK)}"{_escaped(v)}"'
        for n, v in shown
    ]
    if draw(st.booleans()):
        inside.insert(draw(st.integers(0, len(inside))), f'"{name}"')
        name = ""
    elif not inside and draw(st.booleans()):
        return name
    blank = draw(BLANK)
    ends = draw(st.sampled_from(["", ","])) if inside else ""
    return f"{name}{{{blank}{f'{blank},{blank}'.join(inside)}{blank}{ends}{blank}}}"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _exemplars(batch: SampleBatch) -> list[tuple[bytes, int, float, str]]:
    return [
        (dict(batch.labels_at(one.series))[b"__name__"], one.timestamp_ms, one.value, one.labels)
        for one in batch.exemplars
    ]


def test_an_exemplar_is_written_once() -> None:
    """What the last page had already is not written again; after a failed write it comes again; one
    of a dropped series goes with it.
    """
    drop = Rule(action="drop", source_labels=("__name__",), regex="gone")
    series = TargetSeries((), Reading(metric_relabel_configs=(drop,)))
    page = 'gone 1 # {t="0"} 1\na 1 # {t="1"} 0.5\nb 1 # {t="2"} 0.5 1.5\n# EOF\n'

    def batch(text: str, at_ms: int) -> SampleBatch:
        samples = from_exposition(decode(text.encode(), openmetrics=True))
        return series.batch(series.match(samples, at_ms), at_ms, UP)

    both = [(b"a", 5_000, 0.5, '{"t": "1"}'), (b"b", 1_500, 0.5, '{"t": "2"}')]
    assert _exemplars(batch(page, 5_000)) == both
    series.finish_scrape(durable=False)
    assert _exemplars(batch(page, 5_000)) == both
    series.finish_scrape(durable=True)
    assert _exemplars(batch(page.replace('t="1"', 't="3"'), 10_000)) == [
        (b"a", 10_000, 0.5, '{"t": "3"}')
    ]


@given(writings())
def test_a_series_is_its_labels_not_their_text(writing: tuple[str, str]) -> None:
    """However a page writes the same labels next time, the series goes on: one sample, no stale
    marker, no new series; and twice on one page it is one series, of which the first sample counts.
    """
    one, other = writing
    series = _series()
    first = rows(_scrape(series, f"{one} 1\n", 1000))
    matched = series.match(scraped(f"{other} 2\n"), 2000)
    assert matched.added == 0
    batch = series.batch(matched, 2000, UP)
    series.finish_scrape(durable=True)
    assert rows(batch) == {key: (2000, 1.0 if key.startswith("up{") else 2.0) for key in first}
    matched = series.match(scraped(f"{one} 3\n{other} 4\n"), 3000)
    assert (matched.duplicates, len(matched.identities), matched.kept) == (1, 1, 2)
    assert 3.0 in {value for _, value in rows(series.batch(matched, 3000, [])).values()}


@pytest.mark.parametrize(
    ("kind", "pages"),
    [
        ("histogram", ('a_bucket{le="1"}', 'a_bucket{le="1.0"}', 'a_bucket{le="1e0"}')),
        ("summary", ('a{quantile="0.5"}', 'a{quantile=".50"}')),
    ],
)
def test_boundaries_are_numbers(kind: str, pages: tuple[str, ...]) -> None:
    """Bucket boundaries and quantiles that are written in another way are the same series."""
    series = _series()
    for at, line in enumerate(pages):
        batch = _scrape(series, f"# TYPE a {kind}\n{line} {at}\n", at)
        assert batch.samples == 2


def test_the_type_is_part_of_what_a_text_means() -> None:
    """When a metric becomes a histogram, its text means other labels: the old series ends."""
    series = _series()
    line = 'a_bucket{le="1"} 1\n'
    _scrape(series, line, 1)
    assert set(rows(_scrape(series, f"# TYPE a histogram\n{line}", 2)).items()) >= {
        ("a_bucket{instance=h:1,job=j,le=1}", (2, "stale")),
        ("a_bucket{instance=h:1,job=j,le=1.0}", (2, 1.0)),
    }


def test_equal_series_at_other_times_are_other_samples() -> None:
    """A page may bring one series at several times of its own; of equal times the first counts."""
    series = _series()
    matched = series.match(scraped("a 1 10\na 2 20\na 3 20\na 4\na 5 99\n"), 99)
    assert (matched.values.tolist(), matched.timestamps_ms.tolist()) == ([1, 2, 4], [10, 20, 99])
    assert matched.duplicates == 2


def test_a_page_that_has_up_itself() -> None:
    """A series about the scrape that the page brings itself is the page's; `up` goes on when it
    stops doing so.
    """
    series = _series()
    assert values(_scrape(series, "up 7\n", 1)) == {"up": 7.0}
    assert values(_scrape(series, "a 1\n", 2)) == {"a": 1.0, "up": 1.0}


def test_series_added() -> None:
    """What the last page did not have is new; a failed scrape between two makes nothing new."""
    series = _series()
    added = []
    for text in ("a 1\nb 1\n", "a 1\nc 1\nc 1\n", None, "a 1\nb 1\nc 1\n"):
        matched = None if text is None else series.match(scraped(text), 1)
        series.batch(matched, 1, UP)
        series.finish_scrape(durable=True)
        added.append(matched.added if matched else None)
    assert added == [2, 1, None, 1]


def test_labels_that_cannot_be_read_leave_nothing() -> None:
    """A page with one bad series fails as a whole, each time, and the next good one goes on."""
    series = _series()
    _scrape(series, "a 1\n", 1)
    for at in (2, 3):
        with pytest.raises(BadExposition, match="twice"):
            series.match(scraped('a 1\nb 2\nc{x="1",x="2"} 1\n'), at)
        series.batch(None, at, UP)
        series.finish_scrape(durable=True)
    assert values(_scrape(series, "b 1\n", 4)) == {"b": 1.0, "up": 1.0}


def test_a_scrape_carries_the_targets_labels() -> None:
    """Each sample has the scrape's time and the target's job and instance.

    What the target itself called so is `exported_job`, `exported_instance`.
    """
    assert rows(_batch(_series(), 'a{job="own",x="1"} 2\nb 3 77\n', 1000)) == {
        "a{exported_job=own,instance=h:1,job=j,x=1}": (1000, 2.0),
        "b{instance=h:1,job=j}": (77, 3.0),
        "up{instance=h:1,job=j}": (1000, 1.0),
    }


def test_exported_labels_never_collide() -> None:
    """A target that has both `job` and `exported_job` keeps both; an empty label is none."""
    labels = [(b"__name__", b"a"), (b"job", b"1"), (b"exported_job", b"2"), (b"instance", b"")]
    assert dict(with_target_labels(labels, [("job", "j"), ("instance", "i")])) == {
        b"__name__": b"a",
        b"exported_exported_job": b"1",
        b"exported_job": b"2",
        b"job": b"j",
        b"instance": b"i",
    }


def _keeping(series: TargetSeries, **keeping: Any) -> TargetSeries:
    series.reading = Reading(**keeping)
    return series


def test_labels_of_the_page_that_are_honoured() -> None:
    """With `honor_labels` the page's own labels win, and an empty one means that there is none."""
    series = _keeping(_series(), honor_labels=True)
    assert rows(_batch(series, 'a{job="own"} 2\nb{instance=""} 3\n', 1, [])) == {
        "a{instance=h:1,job=own}": (1, 2.0),
        "b{job=j}": (1, 3.0),
    }


def test_samples_are_relabelled() -> None:
    """Rules see the target's labels too, drop and rename; what they drop is not stored and never
    was, and of two series that they make one the first sample counts.
    """
    rules = (
        Rule(action="drop", source_labels=("__name__",), regex="b"),
        Rule(action="drop", source_labels=("__name__", "instance"), regex="c;h:1"),
        Rule(action="labeldrop", regex="pod"),
    )
    series = _keeping(_series(), metric_relabel_configs=rules)
    page = 'a{pod="1"} 1\nb 2\na{pod="2"} 3\nc 4\n'
    for at in (1, 2):
        matched = series.match(scraped(page), at)
        assert (len(matched.scraped), matched.kept, matched.duplicates) == (4, 2, 1)
        assert matched.added == (at == 1)
        assert values(series.batch(matched, at, [])) == {"a": 1.0}
        series.finish_scrape(durable=True)
    assert series.match(scraped("b 1\n"), 3).kept == 0
    nameless = _keeping(
        _series(), metric_relabel_configs=(Rule(action="labeldrop", regex="__name__"),)
    )
    with pytest.raises(BadBody, match="without a name"):
        nameless.match(scraped("a 1\n"), 1)


@pytest.mark.parametrize(
    ("keeping", "page"),
    [({"sample_limit": 2}, "a 1\nb 1\nc 1\n"), ({"label_limit": 3}, 'a 1\nb{x="1"} 1\n')],
)
def test_a_page_over_a_limit_fails(keeping: dict[str, int], page: str) -> None:
    """One sample or label too many, and the scrape has failed as a whole; at the limit it has not.

    The name and the target's labels count; samples that relabelling drops do not.
    """
    series = _keeping(_series(), **keeping)
    with pytest.raises(OverLimit, match="limit"):
        series.match(scraped(page), 1)
    _scrape(series, page.rsplit("\n", 2)[0] + "\n", 2)
    dropping = (Rule(action="drop", source_labels=("__name__",), regex="a"),)
    relabelled = _keeping(_series(), metric_relabel_configs=dropping, sample_limit=2)
    assert relabelled.match(scraped("a 1\nb 1\nc 1\n"), 1).kept == 2


def test_a_vanished_series_gets_one_stale_marker() -> None:
    """A series that is missing ends at that scrape, once; when it returns, it goes on."""
    series = _series()
    for at, text, expected in (
        (1, "a 1\nb 1\n", {"a": 1.0, "b": 1.0}),
        (2, "a 2\n", {"a": 2.0, "b": "stale"}),
        (3, "a 3\n", {"a": 3.0}),
        (4, "a 4\nb 4\n", {"a": 4.0, "b": 4.0}),
    ):
        batch = _scrape(series, text, at)
        assert values(batch) == {**expected, "up": 1.0}
        assert set(batch.timestamps_ms.tolist()) == {at}


def test_a_target_that_is_down_ends_its_series_but_not_up() -> None:
    """When a target does not answer, all its series end and `up` is 0."""
    series = _series()
    _scrape(series, "a 1\nb 1\n", 1)
    assert values(series.batch(None, 2, [("up", 0.0)])) == {"a": "stale", "b": "stale", "up": 0.0}


def test_series_with_their_own_time_never_go_stale() -> None:
    """A series that brings its own timestamps is not ended by its absence."""
    series = _series()
    _scrape(series, "a 1 500\n", 1000)
    assert values(_batch(series, "", 2000)) == {"up": 1.0}


def test_what_was_not_stored_still_ends() -> None:
    """After a failed write the series before it and those of the failed scrape both end later."""
    series = _series()
    _scrape(series, "a 1\n", 1)
    _batch(series, "b 1\n", 2)
    series.finish_scrape(durable=False)
    assert values(_batch(series, "c 1\n", 3)) == {"a": "stale", "b": "stale", "c": 1.0, "up": 1.0}


def test_a_stop_ends_everything() -> None:
    """At the stop every series that is alive ends, `up` too, and only once."""
    series = _series()
    _scrape(series, "a 1\n", 1)
    assert values(series.batch(None, 2, ())) == {"a": "stale", "up": "stale"}
    series.finish_scrape(durable=True)
    assert series.batch(None, 3, ()).samples == 0


def test_a_target_remembers_only_what_it_saw_last() -> None:
    """A target whose series, or their texts, change all the time does not fill the memory."""
    series = _series()
    for i in range(100):
        _scrape(series, f'a{{i="{i}"}} 1\nb{{i="{i}"}} 1 5\nc{" " * i} 1\n', i)
    assert len(series) == 4
    assert len(series._identity_of) == 3


def test_metadata_is_written_when_it_changes() -> None:
    """What a target says about its metrics is written when it is new or was not stored before."""
    series, page = _series(), scraped("# TYPE a counter\na 1\n")
    described = []
    for durable in (False, True, True):
        described.append(series.batch(series.match(page, 1), 1, UP).metadata)
        series.finish_scrape(durable=durable, scraped=page)
    assert [[m.metric_name for m in metadata] for metadata in described] == [["a"], ["a"], []]


def test_a_key_is_that_of_the_labels() -> None:
    """The cache key of a series depends on its target's labels, and not on how it was written."""
    one, other = _batch(_series(), "a 1\n", 1), _batch(_series("h:2"), "a 1\n", 1)
    assert not np.array_equal(one.keys, other.keys)
    assert np.array_equal(one.keys, _batch(_series(), "a{} 1\n", 1).keys)


def test_families_are_samples_of_this_moment() -> None:
    """Metrics of our own making become samples with metadata."""
    page = from_families(
        [Family("a", "gauge", "text", [({"x": "é"}, 1.0), ({"x": "\udcff"}, 2.0)])]
    )
    series = _series()
    assert rows(series.batch(series.match(page, 9), 9, [])) == {
        "a{instance=h:1,job=j,x=é}": (9, 1.0),
        "a{instance=h:1,job=j,x=?}": (9, 2.0),
    }
    assert page.metadata[0].type == "gauge"
