"""One claimed job against fake neighbours and a real Postgres: how it goes and how it can end."""

import math
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import probe_kind
import pytest
from neighbours import TENANT_A, Neighbours
from probe_kind import PROBE, calls
from sqlalchemy import select

from analysis_processing.analyses import ANALYSES, resolved_params
from analysis_processing.clients.data_api import DataApi
from analysis_processing.clients.data_ingest import DataIngest
from analysis_processing.clients.http import Door
from analysis_processing.jobs import chunks, claims, repository
from analysis_processing.jobs.executors import ChunkLost, Local
from analysis_processing.jobs.runner import LOST, NO_SAMPLES, Bounds, Runner
from analysis_processing.jobs.tables import chunk, series
from analysis_processing.model import Request, State

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
STEP_MS = 60_000
STEPS = 50
WIDTH = 4
ATTEMPTS = 4


class Failing(Local):
    """Threads here, but `fail` may raise for the labels of a chunk before it is computed."""

    def __init__(self, fail, in_flight):
        super().__init__()
        self.fail, self.in_flight = fail, in_flight

    async def run(self, key, question, block, is_rate):
        self.fail([one["n"] for one in block.labels])
        return await super().run(key, question, block, is_rate)


class World:
    """Neighbours, a job, and `run()` that claims and runs it and returns how it stands then."""

    def __init__(self, engine):
        self.engine = engine
        self.fakes = Neighbours()
        self.bounds = Bounds(100, 10**6, 10**7, 10_000, ATTEMPTS)
        self.now = NOW
        self.fail = lambda _labels: None
        self.in_flight = 3
        self.serve(10)

    def serve(self, count, **more):
        """So many series, n = 00 …; `more`: a label of some of them, by number."""
        self.fakes.series = [
            (
                {"n": f"{n:02}"} | {name: text for name, (at, text) in more.items() if at == n},
                lambda ms, n=n: float(n + ms // STEP_MS % 3),
            )
            for n in range(count)
        ]

    def submit(self, kind="probe", **params):
        resolved = resolved_params(kind, params, STEP_MS)
        request = Request(kind, "q", 0, (STEPS - 1) * STEP_MS, STEP_MS, resolved)
        with self.engine.begin() as db:
            job, _ = repository.submit(
                db, TENANT_A, request, "key:x", now=self.now, unfinished_max=9
            )
        self.id = job.id

    def claim(self):
        with self.engine.begin() as db:
            claim = claims.claim(db, "w", self.now, 15, ATTEMPTS)
        assert claim is not None
        return claim

    def run(self, claim=None):
        async def token() -> str:
            return "t"

        async def nap(_seconds: float) -> None:
            return None

        @asynccontextmanager
        async def executor():
            yield Failing(self.fail, self.in_flight)

        async def go(claim):
            async with httpx.AsyncClient(transport=self.fakes.transport()) as http:
                door = Door("neighbour", "http://n.test", http, token, nap)
                runner = Runner(
                    engine=self.engine,
                    clock=lambda _db: self.now,
                    bounds=self.bounds,
                    monotonic=lambda: 0.0,
                    data_api=lambda _claim: DataApi(door),
                    data_ingest=lambda _claim: DataIngest(door),
                    executor=executor,
                )
                await runner.run(claim)

        calls.clear()
        anyio.run(go, claim or self.claim())
        return self.job()

    def run_until_lost(self):
        """The job's process dies when `fail` says so; the worker notices."""
        claim = self.claim()
        with pytest.raises(claims.LeaseLost):
            self.run(claim)
        with self.engine.begin() as db:
            claims.try_again(db, claim, self.now, "lost", ATTEMPTS, is_lost=True)
        self.now += timedelta(seconds=60)

    def job(self):
        with self.engine.begin() as db:
            return repository.get(db, TENANT_A, self.id)

    def stored(self):
        """(part, n, score, note) of each series of the result, and the numbers of the chunks."""
        with self.engine.begin() as db:
            columns = (
                series.c.chunk_no,
                series.c.labels["n"].astext,
                series.c.score,
                series.c.note,
            )
            rows = db.execute(select(*columns).order_by(series.c.chunk_no, series.c.row_no))
            numbers = db.scalars(select(chunk.c.chunk_no).order_by(chunk.c.chunk_no))
            return [tuple(row) for row in rows], list(numbers)


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
    facts = {name: getattr(world.bounds, name) for name in Bounds.__slots__}
    world.bounds = Bounds(**facts | bounds)
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
    world.bounds = Bounds(100, 10**6, 10**7, 10 * STEPS - 1, ATTEMPTS)
    world.submit(write_back=True)
    job = world.run()
    assert job.state is State.SUCCEEDED
    assert job.written_series == ("probe_alarm",)
    assert "more than 499 samples" in job.error
    assert {dict(labels)["__name__"] for labels in world.fakes.written} == {"probe_alarm"}


def test_scores_that_were_left_out_stay_so(world):
    """What a lost process left out for its number is neither written nor forgotten by the next."""
    world.bounds = Bounds(100, 10**6, 10**7, 5 * STEPS, ATTEMPTS)

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
