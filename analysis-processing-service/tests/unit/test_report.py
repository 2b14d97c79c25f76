"""Laws of reports: when periods end, what is asked, what each section says, what a reader gets."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis_processing.analyses.block import Block
from analysis_processing.analyses.report import SECTION, run
from analysis_processing.errors import DoesNotFit
from analysis_processing.reports import document
from analysis_processing.reports.issues import QUERY_MAX, question
from analysis_processing.reports.store import period

STEPS, HOUR_MS = 336, 3_600_000
EVERY = st.sampled_from(["day", "week", "month"])
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  of Hypothesis
HOSTILE = '<script>alert(1)</script>"&\u202e\x07 ölçüm 温度 😀'


@given(every=EVERY, hour=st.integers(0, 23), now=TIMES)
def test_periods_follow_each_other_without_a_gap(every, hour, now):
    """The last period is over and the next is not; each begins where the one before ends; all end
    at the hour, weeks on Monday and months on the first.
    """
    start, end, following = period(every, hour, now)
    assert start < end <= now < following
    assert period(every, hour, end)[:2] == (start, end)
    assert period(every, hour, end - timedelta(seconds=1))[1:] == (start, end)
    assert period(every, hour, following)[:2] == (end, following)
    for at in (start, end, following):
        assert (at.hour, at.minute) == (hour, 0)
        assert every != "week" or at.weekday() == 0
        assert every != "month" or at.day == 1


def test_a_month_is_as_long_as_it_is():
    """February of a leap year has 29 days, and January 31."""
    start, end, following = period("month", 6, datetime(2028, 3, 1, 5, tzinfo=UTC))
    assert (end - start, following - end) == (timedelta(days=31), timedelta(days=29))


@given(st.lists(st.tuples(st.text(max_size=200), st.text(max_size=4_000)), max_size=50))
def test_the_question_stays_within_what_a_job_may_ask(watches):
    """However many watches there are, and whatever they are called."""
    assert len(question("week", watches)) <= QUERY_MAX


def test_a_name_with_a_dollar_stays_a_name():
    """label_replace takes `$1` for a group, and a quote ends a text."""
    assert '"a $$1 \\"b\\""' in question("day", [('a $1 "b"', "up")])


def sections(*series):
    """The sections of series given as (section or None, labels, values)."""
    labels = [labels | ({SECTION: name} if name else {}) for name, labels, _ in series]
    values = np.array([np.broadcast_to(values, STEPS) for _, _, values in series], dtype=float)
    block = Block(labels, 0, HOUR_MS, values)
    made = run.prepare(block, {})
    assert len(run.run(block, {}, made).series) == len(series)
    assert run.conclude([], {}, made)["sections"] == made
    return {one["title"]: one for one in made}


def test_a_section_without_data_says_so():
    """A tenant that has nothing gets a report that says it."""
    assert {one["sentence"] for one in sections(("none", {}, 1.0)).values()} == {"No data."}


def test_availability_is_of_the_period_alone_and_worst_first():
    """What was down before the period does not count; a gap is a gap."""
    values = np.ones((3, STEPS))
    values[0, : STEPS // 2] = 0
    values[1, -42:] = 0
    values[2, STEPS // 2 : -84] = np.nan
    series = [("availability", {"job": str(n)}, row) for n, row in enumerate(values)]
    made = sections(*series)["Availability"]
    shares = [(row["cells"][0], row["cells"][1]) for row in made["rows"]]
    assert shares == [('job="1"', "75.000%"), ('job="0"', "100.000%"), ('job="2"', "100.000%")]
    assert made["sentence"].endswith("2 of 3 jobs and services always were.")
    assert made["rows"][2]["values"][0] is None
    assert len(made["chart"]) == STEPS // 2
    assert made["chart"][-1] == pytest.approx(2 / 3)


def test_what_changed_and_what_will_be_full_are_named():
    """A step between the periods, and a disk that has ten percent less each day."""
    noise = np.random.default_rng(5).normal(0, 1, (2, STEPS))
    noise[0, STEPS // 2 :] += 20
    room = np.linspace(0.9, 0.03, STEPS) + 0.001 * noise[1]
    made = sections(
        (None, {"watch": "moved"}, noise[0]),
        (None, {"watch": "same"}, noise[1]),
        ("capacity", {"host": "a"}, room),
        ("capacity", {"host": "b"}, 0.5),
        ("usage", {}, 10.0),
    )
    assert [row["cells"][0] for row in made["Changes"]["rows"]] == ['watch="moved"']
    assert "of 2 series 1 changed" in made["Changes"]["sentence"]
    first, second = made["Capacity"]["rows"]
    assert (first["cells"][0], second["cells"][2]) == ('host="a"', "not soon")
    assert "falls to 0 in" in first["cells"][2]
    assert made["Usage"]["sentence"].startswith("1,680 samples")


def test_too_short_a_range_is_refused_by_name():
    """Halves of a step or two are no periods."""
    with pytest.raises(DoesNotFit):
        run.prepare(Block([{}], 0, HOUR_MS, np.ones((1, 4))), {})


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=50))
def test_a_chart_stays_in_its_box(values):
    """Whatever the values, every point is inside, and a chart without values is none."""
    drawn = document.svg(values, 150, 26)
    points = re.findall(r"([\d.-]+),([\d.-]+)", drawn)
    assert all(0 <= float(x) <= 152 and 0 <= float(y) <= 28 for x, y in points)
    assert bool(drawn) == any(value is not None for value in values)


def full(text, rows=10):
    """A document in which every text is this one."""
    row = {"cells": [text] * 4, "values": [*range(STEPS)]}
    one = {"title": text, "sentence": text, "chart": [*range(STEPS)], "rows": [row] * rows}
    return text, [one] * 5


def test_labels_of_an_enemy_are_text():
    """In the page they are escaped, and nothing in it can run or load; the PDF has letters that
    Latin-1 lacks, and says which letters its glyphs are.
    """
    page = document.html(*full(HOSTILE)).decode()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&amp;   ölçüm 温度 😀") == 212
    assert set(re.findall(r"<(\w+)", page)) <= {
        *("html", "meta", "title", "style", "h1", "h2", "p", "table", "tr", "td", "svg"),
        "polyline",
    }
    assert "default-src 'none'" in document.CSP
    pdf = document.pdf(*full(HOSTILE, rows=1))
    assert pdf.startswith(b"%PDF")
    assert b"/ToUnicode" in pdf


def test_a_document_is_bounded_whatever_its_texts():
    """The longest texts in every place make a page below 1 MB and a PDF below 2 MB."""
    title, parts = full("ä" * 100_000)
    assert len(document.html(title, parts)) < 1_000_000
    assert len(document.pdf(title, parts)) < 2_000_000
