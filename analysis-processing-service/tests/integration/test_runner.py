"""One claimed job against fake neighbours and a real Postgres: how it can end."""

import json
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import numpy as np
import pytest
from neighbours import TENANT_A, Neighbours

from analysis_processing.analyses import resolved_params
from analysis_processing.api.deps import Services
from analysis_processing.api.jobs import assembled
from analysis_processing.chassis.probes import Drain
from analysis_processing.clients.data_api import DataApi
from analysis_processing.clients.data_ingest import DataIngest
from analysis_processing.clients.http import Door
from analysis_processing.jobs import claims, repository
from analysis_processing.jobs.runner import Bounds, Runner
from analysis_processing.model import Request, State

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
STEP_MS = 60_000
STEPS = 700


@pytest.fixture
def world(engine):
    """Neighbours, a submitted job, and `run()` that claims and runs it and returns its end."""

    class World:
        fakes = Neighbours(series=[({"host": "a"}, lambda ms: 10.0 + (ms // STEP_MS) % 3)])
        bounds = Bounds(10, 10 * STEPS, 10_000, 2)
        now = NOW
        id = None

        def submit(self, **params):
            resolved = resolved_params("anomaly", params, STEP_MS)
            last_ms = (STEPS - 1) * STEP_MS
            request = Request("anomaly", "q", 0, last_ms, STEP_MS, resolved)
            with engine.begin() as db:
                job, _ = repository.submit(
                    db, TENANT_A, request, "key:x", now=self.now, unfinished_max=9
                )
            self.id = job.id

        def run(self):
            async def token() -> str:
                return "t"

            async def nap(_seconds: float) -> None:
                return None

            async def go():
                async with httpx.AsyncClient(transport=self.fakes.transport()) as http:
                    door = Door("neighbour", "http://n.test", http, token, nap)
                    runner = Runner(
                        engine=engine,
                        clock=lambda _db: self.now,
                        bounds=self.bounds,
                        monotonic=lambda: 0.0,
                        data_api=lambda _claim: DataApi(door),
                        data_ingest=lambda _claim: DataIngest(door),
                    )
                    with engine.begin() as db:
                        held = claims.claim(db, "w", self.now, 15, 2)
                    assert held is not None
                    await runner.run(held)

            anyio.run(go)
            with engine.begin() as db:
                return repository.get(db, TENANT_A, self.id)

        def result(self, job):
            services = Services(None, engine, None, None, Drain())
            return json.loads("".join(assembled(services, job)))

    made = World()
    made.submit()
    return made


def test_a_job_ends_with_its_result(world):
    """Succeeded, with the points counted, the result stored and the scores written."""
    job = world.run()
    assert (job.state, job.error) == (State.SUCCEEDED, None)
    assert job.summary == {"series": 1, "points": STEPS, "anomalies": 0}
    (series,) = world.result(job)["series"]
    assert series["values"][:3] == [10, 11, 12]
    ((_, written),) = world.fakes.written.items()
    scored = [
        at for at, s in zip(series["timestamps_ms"], series["score"], strict=True) if s is not None
    ]
    assert sorted(written) == scored


def test_running_it_again_gives_the_same_bytes(world, engine):
    """A job whose worker was lost after everything but its end ends as it would have."""
    first = world.result(world.run())
    written = {labels: dict(samples) for labels, samples in world.fakes.written.items()}
    with engine.begin() as db:
        db.exec_driver_sql("UPDATE analysis.job SET state = 'failed'")
        repository.retry(db, TENANT_A, world.id, NOW)
    assert world.result(world.run()) == first
    assert world.fakes.written == written


def test_many_series_are_stored_in_chunks(world, engine):
    """Every series is in the result once, in the order of its labels."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(150, STEPS))
    world.fakes.series = [
        ({"n": f"{n:03}"}, lambda ms, n=n: float(values[n, ms // STEP_MS])) for n in range(150)
    ]
    world.bounds = Bounds(200, 200 * STEPS, 0, 2)
    job = world.run()
    assert job.state is State.SUCCEEDED
    assert "the limit is 0" in job.error
    result = world.result(job)
    assert [series["labels"]["n"] for series in result["series"]] == [f"{n:03}" for n in range(150)]
    assert len(list(repository.payloads(engine, TENANT_A, job.id))) == 3
    assert result["written_series"] == []


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ([], "no samples in this range"),
        ([({"n": str(n)}, lambda _: 1.0) for n in range(11)], "limit=10"),
        ([({"__name__": "x_total"}, lambda ms: ms / 1000)], r"rate(x_total[5m])"),
    ],
    ids=["no data", "too many series", "a counter"],
)
def test_what_cannot_be_analysed_fails_at_once(world, series, words):
    """Errors in the data are not tried again, and say what to do."""
    world.fakes.series = series
    job = world.run()
    assert (job.state, job.attempts) == (State.FAILED, 1)
    assert words in job.error


def test_a_refused_query_fails_with_its_reason(world):
    """A parse error reaches the person who wrote the query."""
    said = httpx.Response(400, json={"status": "error", "error": "parse error: unexpected )"})
    world.fakes.refuse["/api/v1/query_range"] = [said]
    job = world.run()
    assert job.state is State.FAILED
    assert "parse error: unexpected )" in job.error


def test_a_service_that_is_away_costs_an_attempt(world):
    """IO trouble queues the job again with the reason; the next attempt succeeds."""
    world.fakes.refuse["/api/v1/query_range"] = [httpx.Response(503)] * 4
    job = world.run()
    assert job.state is State.QUEUED
    assert "does not answer" in job.error
    world.now = NOW + timedelta(seconds=5)
    job = world.run()
    assert (job.state, job.attempts, job.error) == (State.SUCCEEDED, 2, None)


def test_attempts_are_bounded(world):
    """A service that stays away fails the job, which says so."""
    world.fakes.refuse["/api/v1/query_range"] = [httpx.Response(503)] * 8
    world.run()
    world.now = NOW + timedelta(seconds=5)
    job = world.run()
    assert job.state is State.FAILED
    assert "given up after 2 attempts" in job.error


@pytest.mark.parametrize("status", [400, 503])
def test_a_failed_write_back_is_told_and_the_result_stands(world, status):
    """Scores that could not be written are an error of a job that succeeded."""
    world.fakes.refuse["/api/v1/write"] = [httpx.Response(status, text="no room")] * 4
    job = world.run()
    assert job.state is State.SUCCEEDED
    assert "scores not written back" in job.error
    result = world.result(job)
    assert result["written_series"] == []
    assert len(result["series"]) == 1


def test_nothing_is_written_back_when_not_wanted(world, engine):
    """write_back=false leaves the metric store alone."""
    with engine.begin() as db:
        repository.cancel(db, TENANT_A, world.id, NOW)
    world.submit(write_back=False)
    job = world.run()
    assert (job.state, job.written_series, job.error) == (State.SUCCEEDED, (), None)
    assert world.fakes.written == {}
