"""One claimed job against fake neighbours and a real Postgres: how it goes and how it can end."""

import math
from datetime import timedelta

import httpx
import probe_kind
import pytest
from job_world import ATTEMPTS, STEPS, World, settings_of
from probe_kind import PROBE, calls
from sqlalchemy import select, update

from analysis_processing.analyses import ANALYSES
from analysis_processing.analyses.block import Part, SeriesResult
from analysis_processing.errors import InvalidJob
from analysis_processing.jobs import chunks, claims, runner
from analysis_processing.jobs.executors import ChunkLost
from analysis_processing.jobs.runner import LOST, NO_SAMPLES
from analysis_processing.jobs.tables import job as job_table
from analysis_processing.jobs.tables import series
from analysis_processing.model import Finding, State

WIDTH = 4


@pytest.fixture
def world(engine, monkeypatch):
    monkeypatch.setitem(ANALYSES, "probe", PROBE)
    monkeypatch.setattr(chunks, "SERIES_MAX", WIDTH)
    return World(engine)


def test_a_kind_is_prepared_run_by_chunks_and_concluded(world):
    """Prepare sees the whole block once, run each chunk once, conclude every result once."""
    world.submit()
    job = world.run()
    assert (job.state, job.error) == (State.SUCCEEDED, None)
    assert calls.prepared == [10]
    assert sorted(calls.ran) == [["00", "01", "02", "03"], ["04", "05", "06", "07"], ["08", "09"]]
    assert [one["n"] for one in calls.concluded[0]] == [f"{n:02}" for n in range(10)]
    rows, numbers = world.stored()
    assert [n for _, n, _, _ in rows] == [f"{n:02}" for n in range(10)]
    assert numbers == [0, 2, 4]
    assert job.summary == {
        "series": 10,
        "judged": 10,
        "points": 10 * STEPS,
        "findings": 0,
        "notes": [],
        "sentence": "0 findings in 0 of 10 series judged",
        "total": sum(score for _, _, score, _ in rows),
    }
    assert (job.progress.done, job.progress.total) == (1, 1)


def test_anomalies_are_found_as_any_kind(world):
    """The kind that is served runs through the same door."""
    world.submit("anomaly")
    job = world.run()
    assert (job.state, job.error) == (State.SUCCEEDED, None)
    assert (job.summary["series"], job.summary["points"]) == (10, 10 * STEPS)


def test_bad_and_silent_series_get_notes(world):
    """What cannot be judged says why, and all others are judged."""
    world.serve(10, trouble=(5, "raise"))
    world.fakes.series.append(({"n": "silent"}, lambda _: math.nan))
    world.submit()
    job = world.run()
    assert job.state is State.SUCCEEDED
    note = "could not be judged: ZeroDivisionError"
    assert {n: text for _, n, _, text in world.stored()[0] if text} == {
        "05": note,
        "silent": NO_SAMPLES,
    }
    assert (job.summary["series"], job.summary["judged"]) == (11, 9)
    assert job.summary["notes"] == [
        {"note": note, "series": 1},
        {"note": NO_SAMPLES, "series": 1},
    ]


def test_a_job_that_judged_nothing_says_why(world, monkeypatch):
    """An error that is meant for people reaches them, of `run` or `written`, whatever the kind."""
    for name in ("run", "written"):
        with monkeypatch.context() as patch:

            def refuse(*_):
                raise InvalidJob(detail="mine.py:3: it is Monday")

            patch.setattr(probe_kind, name, refuse)
            world.submit(write_back=True, salt=len(name))
            job = world.run()
        note = "could not be judged: The job cannot be run as asked: mine.py:3: it is Monday"
        assert (job.state, job.summary["judged"]) == (State.SUCCEEDED, 0)
        assert job.summary["notes"] == [{"note": note, "series": 10}]
        assert job.summary["sentence"] == f"None of 10 series was judged: {note}"


def test_the_summary_holds_a_bounded_number_of_notes(world, monkeypatch):
    """The most frequent ones; each series has its own."""
    monkeypatch.setattr(runner, "NOTES_MAX", 2)

    def run(block, _params, _context):
        series = [SeriesResult(one, note=f"{min(int(one['n']), 6)}") for one in block.labels]
        return Part(block.start_ms, block.step_ms, block.values.shape[1], series)

    monkeypatch.setattr(probe_kind, "run", run)
    world.submit()
    assert [one["note"] for one in world.run().summary["notes"]] == ["6", "0"]


@pytest.mark.parametrize("size", [1e308, math.inf, 0.5])
def test_a_stored_part_is_concluded_like_a_computed_one(world, monkeypatch, size):
    """`conclude` gets equal results after a lost process, numbers beyond int64 among them."""
    finding = Finding("x", 0, None, 0, size, size, 1e20, None, None, "up", "a\0b")

    def run(block, _params, _context):
        facts = {"size": size, "names": ("a", "b")}
        series = [SeriesResult(one, size, facts, [finding]) for one in block.labels]
        return Part(block.start_ms, block.step_ms, block.values.shape[1], series)

    def conclude(results, _params, _context):
        return {"seen": repr(results)}

    monkeypatch.setattr(probe_kind, "run", run)
    monkeypatch.setattr(probe_kind, "conclude", conclude)
    world.submit()
    computed = world.run().summary
    with world.engine.begin() as db:
        again = {"state": "queued", "finished_at": None, "attempts": 0}
        db.execute(update(job_table).values(**again))
    assert world.run().summary == computed


def test_counters_are_taken_as_rates(world):
    """A raw counter, by its type or its looks, is judged by its growth a second and says so."""
    world.fakes.types = {"typed": "counter", "gauge_total": "gauge"}
    names = ("typed", "x_total", "gauge_total")
    world.fakes.series = [({"n": n, "__name__": n}, lambda ms: ms / 500) for n in names]
    world.submit()
    assert world.run().state is State.SUCCEEDED
    with world.engine.begin() as db:
        rows = db.execute(select(series.c.labels, series.c.detail, series.c.score)).all()
    facts = {
        labels["n"]: (detail["facts"].get("taken_as"), score) for labels, detail, score in rows
    }
    assert facts["typed"] == facts["x_total"] == ("rate", 2.0 * (STEPS - 1))
    assert facts["gauge_total"][0] is None


def test_stored_parts_are_not_computed_again(world):
    """After a lost process the next attempt computes what is missing; each part is there once."""
    world.submit()
    whole = world.run()
    expected = world.stored()
    with world.engine.begin() as db:
        db.exec_driver_sql("TRUNCATE analysis.job CASCADE")
    world.submit()

    def fail(labels):
        if labels[0] == "08":
            raise claims.LeaseLost

    world.fail, world.in_flight = fail, 1
    world.run_until_lost()
    assert world.stored()[1] == [0, 2]
    world.fail = lambda _labels: None
    job = world.run()
    assert (job.state, job.summary) == (State.SUCCEEDED, whole.summary)
    assert world.stored() == expected
    assert calls.ran == [["08", "09"]]


def test_parts_of_other_data_are_computed_again(world):
    """A part is taken over only when its series, values and context are what they were."""

    def fail(labels):
        if labels[0] == "08":
            raise claims.LeaseLost

    world.submit()
    world.fail = fail
    world.run_until_lost()
    world.fail = lambda _labels: None
    world.fakes.series[0] = ({"n": "00"}, lambda _: 1000.0)
    assert world.run().state is State.SUCCEEDED
    assert len(calls.ran) == 3
    assert world.stored()[0][0] == (0, "00", 1000.0 * STEPS, None)


def test_a_chunk_that_kills_its_process_is_split_and_then_noted(world):
    """Twice lost, a chunk is computed in halves; the half that kills again has notes, all else
    is judged, within the attempts of a job.
    """

    def fail(labels):
        if "05" in labels:
            raise claims.LeaseLost

    world.submit()
    world.fail = fail
    for _ in range(ATTEMPTS - 1):
        world.run_until_lost()
    job = world.run()
    assert (job.state, job.attempts) == (State.SUCCEEDED, ATTEMPTS)
    rows, numbers = world.stored()
    assert {n for _, n, _, note in rows if note == LOST} == {"04", "05"}
    assert [n for _, n, _, _ in rows] == [f"{n:02}" for n in range(10)]
    assert numbers == [0, 2, 3, 4]


def test_a_process_that_was_told_to_stop_makes_nobody_suspect(world):
    """A claim that is given back leaves no chunk under suspicion."""
    world.submit()
    world.fail = lambda _labels: (_ for _ in ()).throw(claims.LeaseLost)
    for _ in range(ATTEMPTS + 2):
        claim = world.claim()
        with pytest.raises(claims.LeaseLost):
            world.run(claim)
        with world.engine.begin() as db:
            claims.give_back(db, claim, world.now)
    world.fail = lambda _labels: None
    job = world.run()
    assert (job.state, job.attempts, job.summary["judged"]) == (State.SUCCEEDED, 1, 10)


def test_a_chunk_that_kills_workers_elsewhere_is_split_and_then_noted(world):
    """As for a process of its own, at once: the executor says which chunk it was."""

    def fail(labels):
        if "05" in labels:
            raise ChunkLost

    world.submit()
    world.fail = fail
    job = world.run()
    assert (job.state, job.attempts) == (State.SUCCEEDED, 1)
    rows, _ = world.stored()
    assert {n for _, n, _, note in rows if note == LOST} == {"04", "05"}
    assert job.summary["judged"] == 8


@pytest.mark.parametrize(
    ("count", "bounds", "words"),
    [
        (0, {}, "no samples in this range"),
        (101, {}, "limit=100"),
        (10, {"points_max": 499}, "limit=499"),
        (10, {"block_bytes_max": 3_999}, "limit_bytes=3999"),
    ],
    ids=["no data", "series", "points", "memory"],
)
def test_what_cannot_be_analysed_fails_at_once(world, count, bounds, words):
    """Errors in the data are not tried again, and name the limit."""
    world.serve(count)
    world.settings = settings_of(**bounds)
    world.submit()
    job = world.run()
    assert (job.state, job.attempts) == (State.FAILED, 1)
    assert words in job.error


def test_a_refused_query_fails_with_its_reason(world):
    """A parse error reaches the person who wrote the query."""
    said = httpx.Response(400, json={"status": "error", "error": "parse error: unexpected )"})
    world.fakes.refuse["/api/v1/query_range_arrow"] = [said]
    world.submit()
    job = world.run()
    assert job.state is State.FAILED
    assert "parse error: unexpected )" in job.error


def test_a_service_that_is_away_costs_attempts_and_they_are_bounded(world):
    """IO trouble queues the job again with the reason, until its attempts are used up."""
    world.fakes.refuse["/api/v1/query_range_arrow"] = [httpx.Response(503)] * 4 * ATTEMPTS
    world.submit()
    for attempt in range(1, ATTEMPTS):
        job = world.run()
        assert (job.state, job.attempts) == (State.QUEUED, attempt)
        assert "does not answer" in job.error
        world.now += timedelta(seconds=60)
    job = world.run()
    assert job.state is State.FAILED
    assert "given up after 4 attempts" in job.error


def test_what_is_written_back_is_told(world):
    """Scores and alarms are in the metric store, with the labels of question and series."""
    world.submit(write_back=True)
    job = world.run()
    assert (job.written_series, job.error) == (("probe_alarm", "probe_score"), None)
    assert len(world.fakes.written) == 20
    assert {dict(labels)["job_kind"] for labels in world.fakes.written} == {"probe"}


def test_beyond_the_bound_only_alarms_are_written(world):
    """A job over more samples than may be written says so and writes its alarms alone."""
    world.settings = settings_of(write_back_samples_max=10 * STEPS - 1)
    world.submit(write_back=True)
    job = world.run()
    assert job.state is State.SUCCEEDED
    assert job.written_series == ("probe_alarm",)
    assert "more than 499 samples" in job.error
    assert {dict(labels)["__name__"] for labels in world.fakes.written} == {"probe_alarm"}


def test_scores_that_were_left_out_stay_so(world):
    """What a lost process left out for its number is neither written nor forgotten by the next."""
    world.settings = settings_of(write_back_samples_max=5 * STEPS)

    def fail(labels):
        if labels[0] == "08":
            raise claims.LeaseLost

    world.submit(write_back=True)
    world.fail, world.in_flight = fail, 1
    world.run_until_lost()
    world.fail = lambda _labels: None
    job = world.run()
    assert calls.ran == [["00", "01", "02", "03"], ["08", "09"]]
    assert (job.state, job.written_series) == (State.SUCCEEDED, ("probe_alarm",))
    assert "more than 250 samples" in job.error


@pytest.mark.parametrize("status", [400, 503])
def test_a_failed_write_back_is_told_and_the_result_stands(world, status):
    """Series that could not be written are an error of a job that succeeded."""
    world.fakes.refuse["/api/v1/write"] = [httpx.Response(status, text="no room")] * 4
    world.submit(write_back=True)
    job = world.run()
    assert job.state is State.SUCCEEDED
    assert "not written back" in job.error
    assert job.summary["judged"] == 10


def test_what_was_not_written_back_is_done_again(world):
    """A part whose series did not go back is no reason to leave them out after a lost process."""
    world.fakes.refuse["/api/v1/write"] = [httpx.Response(400)]

    def fail(labels):
        if labels[0] == "08":
            raise claims.LeaseLost

    world.submit(write_back=True)
    world.fail, world.in_flight = fail, 1
    world.run_until_lost()
    assert world.fakes.written == {}
    world.fail = lambda _labels: None
    job = world.run()
    assert (job.state, job.error) == (State.SUCCEEDED, None)
    assert len(world.fakes.written) == 20


def test_nothing_is_written_back_when_not_wanted(world):
    """write_back=false leaves the metric store alone."""
    world.submit()
    job = world.run()
    assert (job.state, job.written_series, job.error) == (State.SUCCEEDED, (), None)
    assert world.fakes.written == {}


def test_an_unexpected_error_fails_the_job_without_its_words(world, monkeypatch):
    """A defect ends the job; what it says is in the log alone."""

    def broken(_block, _params):
        raise KeyError("a secret")

    monkeypatch.setattr(probe_kind, "prepare", broken)
    world.submit()
    job = world.run()
    assert (job.state, job.error) == (
        State.FAILED,
        "an unexpected KeyError; the log has it",
    )
