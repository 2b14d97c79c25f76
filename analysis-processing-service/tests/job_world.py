"""Neighbours, Postgres, and one job that is claimed and run: a small world for tests of runs."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest
from neighbours import TENANT_A, Neighbours
from probe_kind import calls
from sqlalchemy import select

from analysis_processing.analyses import resolved_params
from analysis_processing.clients.data_api import DataApi
from analysis_processing.clients.data_ingest import DataIngest
from analysis_processing.clients.http import Door
from analysis_processing.jobs import claims, repository
from analysis_processing.jobs.executors import Local
from analysis_processing.jobs.runner import Runner
from analysis_processing.jobs.tables import chunk, series
from analysis_processing.model import Request
from analysis_processing.settings import Settings

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
STEP_MS = 60_000
STEPS = 50
ATTEMPTS = 4


def settings_of(**changed):
    """Settings of a run with small bounds."""
    urls = dict.fromkeys(("ubs_url", "das_url", "dis_url"), "http://n.test")
    bounds = {"series_max": 100, "points_max": 10**6, "block_bytes_max": 10**7}
    bounds |= {"write_back_samples_max": 10_000, "attempts_max": ATTEMPTS}
    secrets = {"database_url": "postgresql://n.test", "service_token": "x" * 43}
    return Settings(**urls, **secrets, **bounds | changed)


class Failing(Local):
    """Threads here, but `fail` may raise for the labels of a chunk before it is computed."""

    def __init__(self, fail, in_flight):
        super().__init__()
        self.fail, self.in_flight = fail, in_flight

    async def run(self, key, question, block, is_rate):
        self.fail([one.get("n") for one in block.labels])
        return await super().run(key, question, block, is_rate)


class World:
    """Neighbours, a job, and `run()` that claims and runs it and returns how it stands then."""

    def __init__(self, engine):
        self.engine = engine
        self.fakes = Neighbours()
        self.settings = settings_of()
        self.now = NOW
        self.fail = lambda _labels: None
        self.in_flight = 3
        self.steps = STEPS
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
        request = Request(kind, "q", 0, (self.steps - 1) * STEP_MS, STEP_MS, resolved)
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
                    settings=self.settings,
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
