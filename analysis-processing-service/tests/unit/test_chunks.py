"""Chunks: how series are cut, what a chunk is known by, and what becomes of a bad series."""

import pickle

import numpy as np
import probe_kind
from hypothesis import given
from hypothesis import strategies as st

from analysis_processing.analyses.block import Block
from analysis_processing.jobs.chunks import (
    Question,
    chunk_series,
    compute,
    digest,
    halves,
    noted,
    plan,
)
from analysis_processing.model import Request


def block(bad=(), series=10, steps=4):
    labels = [
        {"n": str(n), "trouble": "raise"} if n in bad else {"n": str(n)} for n in range(series)
    ]
    return Block(labels, 0, 1_000, np.arange(float(series * steps)).reshape(series, steps))


def question(query="q", context=None, **params):
    request = Request("probe", query, 0, 3_000, 1_000, {"write_back": True, "salt": 0, **params})
    return Question.of(probe_kind.PROBE, request, context or {"mean": 1.0})


def test_chunks_are_bounded():
    """A chunk has at most 256 series and about 650,000 points, and at least one series."""
    assert chunk_series(100) == 256
    assert chunk_series(10_080) == 64
    assert chunk_series(10**7) == 1


@given(series=st.integers(1, 700))
def test_every_series_is_in_one_chunk(series):
    """Chunks, or their halves, follow each other over all series; no two have one number."""
    made, asked = block(series=series), question()
    planned = plan(made, [False] * series, asked)
    pieces = [
        piece
        for chunk in planned
        for piece in (
            halves(chunk, made, [False] * series, asked)
            if chunk.last - chunk.first > 1
            else [chunk]
        )
    ]
    for some in (planned, pieces):
        covered = [row for chunk in some for row in range(chunk.first, chunk.last)]
        assert covered == list(range(series))
        assert len({chunk.number for chunk in some}) == len(some)


def test_a_digest_is_of_all_that_decides_the_outcome():
    """Equal input has an equal digest; another value, label, parameter or context has another."""
    made = block()
    other_values, other_labels = block(), block(bad=[3])
    other_values.values[2, 1] = np.nan
    fresh = [
        digest(made, [False] * 10, question(), 0, 10),
        digest(other_values, [False] * 10, question(), 0, 10),
        digest(other_labels, [False] * 10, question(), 0, 10),
        digest(made, [True] + [False] * 9, question(), 0, 10),
        digest(made, [False] * 10, question(salt=1), 0, 10),
        digest(made, [False] * 10, question(context={"mean": 2.0}), 0, 10),
        digest(made, [False] * 10, question(), 0, 9),
    ]
    assert len(set(fresh)) == len(fresh)
    assert digest(block(), [False] * 10, question(), 0, 10) == fresh[0]


@given(bad=st.sets(st.integers(0, 9)))
def test_bad_series_fail_no_others(bad):
    """Each series that an analysis cannot take has a note; all others are judged, in order."""
    computed = compute(question(), block(bad), [False] * 10)
    notes = [one.note for one in computed.series]
    assert [one.labels["n"] for one in computed.series] == [str(n) for n in range(10)]
    assert {n for n, note in enumerate(notes) if note} == bad
    assert {note for note in notes if note} <= {"could not be judged: ZeroDivisionError"}
    assert [row["note"] for row in computed.rows] == notes


def test_rates_are_told():
    """A series that was a counter says so among its facts."""
    computed = compute(question(), block(series=2), [True, False])
    assert [one.facts.get("taken_as") for one in computed.series] == ["rate", None]


def test_questions_have_series_of_their_own():
    """Alarms and scores go back with marks, so that two questions about a series stay apart."""
    computed, other = (compute(question(query), block(series=1), [False]) for query in "pq")
    assert [one.labels["__name__"] for one in computed.alarms] == ["probe_alarm"]
    assert [one.labels["__name__"] for one in computed.scores] == ["probe_score"]
    assert computed.scores[0].labels["job_kind"] == "probe"
    assert computed.scores[0].labels != other.scores[0].labels


def test_a_chunk_travels():
    """Question, block and outcome survive a pickle: they go to other machines."""
    asked, made = question(), block(bad=[1])
    computed = compute(*pickle.loads(pickle.dumps((asked, made, [False] * 10))))
    assert (
        pickle.loads(pickle.dumps(computed)).payload == compute(asked, made, [False] * 10).payload
    )


def test_series_that_were_not_judged_are_an_outcome():
    """A part of notes alone is stored as any other."""
    stored = noted(block(), [{"n": "1"}], "why")
    assert [(row["note"], row["score"]) for row in stored.rows] == [("why", -1.0)]
    assert stored.points == 0
