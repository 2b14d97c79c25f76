"""Laws of scheduled reports over a real Postgres: made once, for their tenant, and read as made."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import httpx
import pytest
from neighbours import TENANT_A, TENANT_B
from sqlalchemy import text
from stored import NOW, finish, ranked_parts
from watching import World

from analysis_processing.analyses.report import SECTION
from analysis_processing.clients.data_api import DataApi
from analysis_processing.clients.data_ingest import DataIngest
from analysis_processing.jobs import claims, repository
from analysis_processing.jobs.executors import Local
from analysis_processing.jobs.runner import Runner
from analysis_processing.reports import store
from analysis_processing.reports.issues import Issuer

DAY = timedelta(days=1)


class Stage(World):
    """Reports, and a clock that stands at noon of a Monday."""

    def issuer(self):
        return Issuer(self.engine, lambda _: self.now, self.door, self.settings)

    def put(self, tenant=TENANT_A, every="day", hour=6):
        with self.engine.begin() as db:
            store.put(db, tenant, every, hour, self.now)

    def round(self):
        async def once():
            await anyio.to_thread.run_sync(self.issuer().round)

        anyio.run(once)

    def jobs(self, tenant=TENANT_A):
        with self.engine.begin() as db:
            return repository.newest(db, tenant, 50)

    def run(self):
        """The oldest job that waits has been run."""

        @asynccontextmanager
        async def executor():
            yield Local()

        with self.engine.begin() as db:
            claim = claims.claim(db, "w", self.now, 15, 4)
        door = self.door(TENANT_A)
        runner = Runner(
            engine=self.engine,
            clock=lambda _: self.now,
            settings=self.settings,
            monotonic=lambda: 0.0,
            data_api=lambda _: DataApi(door),
            data_ingest=lambda _: DataIngest(door),
            executor=executor,
        )
        anyio.run(runner.run, claim)


@pytest.fixture
def stage(settings, engine):
    return Stage(settings, engine)


def test_a_report_is_made_when_its_period_has_settled_and_once(stage):
    """Not before five minutes after its end, not again before the next has ended, and of the whole
    period: its job's range has it as the second half.
    """
    stage.put()
    stage.round()
    stage.now = stage.now.replace(hour=6, minute=4) + DAY
    stage.round()
    assert stage.jobs() == []
    stage.now += timedelta(minutes=1)
    stage.round()
    stage.round()
    (job,) = stage.jobs()
    end_ms = int(stage.now.replace(hour=6, minute=0, second=0).timestamp() * 1000)
    assert (job.request.end_ms, job.request.steps) == (end_ms, 288)
    assert job.request.params == {"title": "Report of the day"}


def test_a_late_report_is_made_once_and_not_for_each_missed_period(stage):
    """Nobody was there for ten days: the last day is reported, and the next in its time."""
    stage.put()
    stage.now += 10 * DAY
    stage.round()
    stage.round()
    assert len(stage.jobs()) == 1
    stage.now += DAY
    stage.round()
    assert len(stage.jobs()) == 2


def test_many_who_look_at_once_make_it_once(stage):
    """Each replica reads the same report as due; one of them queues its issue."""
    stage.put()
    stage.now += DAY
    with stage.engine.begin() as db:
        (report,) = store.due(db, stage.now)

    def make(_):
        async def once():
            return await anyio.to_thread.run_sync(stage.issuer().make, report)

        return anyio.run(once)

    with ThreadPoolExecutor(4) as pool:
        made = [job for job in pool.map(make, range(4)) if job]
    assert [job.id for job in made] == [job.id for job in stage.jobs()]


def test_killed_before_it_is_stored_nothing_happened(stage, monkeypatch):
    """Between moving on and queueing: both or neither; the next round makes it."""
    stage.put()
    stage.now += DAY

    class KilledError(Exception):
        """As by kill -9: the transaction never commits."""

    def dies(*_args, **_more):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(repository, "submit", dies)
        with pytest.raises(KilledError):
            stage.round()
    assert stage.jobs() == []
    stage.round()
    assert len(stage.jobs()) == 1


def test_trouble_leaves_it_due_and_stops_nobody_else(stage):
    """A full queue, or data-api-service away: that report waits, another tenant's is made."""
    stage.put()
    stage.put(TENANT_B)
    stage.now += DAY
    stage.refuse["/api/v1/query"] = [httpx.Response(503)] * 4
    stage.round()
    assert sorted(len(stage.jobs(tenant)) for tenant in (TENANT_A, TENANT_B)) == [0, 1]
    stage.round()
    assert [len(stage.jobs(tenant)) for tenant in (TENANT_A, TENANT_B)] == [1, 1]


def test_watches_are_asked_for_unless_their_query_is_refused(stage):
    """A watch that das refuses costs the report its watches, not the report."""
    stage.watch(name="w", query="rate(cpu[5m])")
    stage.put()
    stage.now += DAY
    stage.round()
    stage.now += DAY
    stage.refuse["/api/v1/query"] = [httpx.Response(400, json={"error": "no"})]
    stage.round()
    assert ["rate(cpu[5m])" in job.request.query for job in stage.jobs()] == [False, True]


def test_another_hour_counts_from_now_and_the_same_hour_changes_nothing(stage):
    """What is late under its schedule stays late; under another it is not."""
    stage.put()
    stage.now += DAY
    stage.put(hour=6)
    with stage.engine.begin() as db:
        assert len(store.due(db, stage.now)) == 1
    stage.put(hour=7)
    with stage.engine.begin() as db:
        assert store.due(db, stage.now) == []


def test_from_schedule_to_sections(stage):
    """The job of an issue ends with all sections, from whatever series there are."""
    up = {SECTION: "availability", "job": "a"}
    stage.series = [({SECTION: "none"}, lambda _: 1.0), (up, lambda ms: float(ms % 86_400_000 > 0))]
    stage.put(every="week")
    stage.now += 7 * DAY
    stage.round()
    stage.run()
    (job,) = stage.jobs()
    assert (job.state, job.error) == ("succeeded", None)
    sentences = [(one["title"], one["sentence"][:8]) for one in job.summary["sections"]]
    assert sentences[0] == ("Availability", "Up 95.83")
    assert {sentence for _, sentence in sentences[1:]} == {"No data."}


SECTIONS = [{"title": "Availability", "sentence": "<b>Up</b>", "chart": [1, None, 0], "rows": []}]


def test_the_routes_of_reports(call, engine):
    """Scheduled, listed, run now, read as a page and as a PDF, ended; each for its tenant alone."""
    assert call("PUT", "/api/v1/reports/week", "a", json={"hour": 7}).status_code == 204
    (row,) = call("GET", "/api/v1/reports", "r").json()["reports"]
    assert row == {"every": "week", "hour": 7, "next_at": "2026-01-05T07:05:00.000Z"}
    assert call("GET", "/api/v1/reports", "b").json() == {"reports": []}
    job = call("POST", "/api/v1/reports/day/run", "a")
    assert job.status_code == 202
    path = f"/api/v1/reports/issues/{job.json()['id']}"
    assert call("GET", path, "a").status_code == 409
    finish(engine, job.json()["id"], ranked_parts([[1.0]]), NOW, summary={"sections": SECTIONS})
    page = call("GET", path, "r")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha")
    assert "<p>&lt;b&gt;Up&lt;/b&gt;</p>" in page.text
    assert "No event began." in page.text
    pdf = call("GET", f"{path}?format=pdf", "r")
    assert (pdf.headers["content-type"], pdf.content[:5]) == ("application/pdf", b"%PDF-")
    assert [call("GET", path, key).status_code for key in ("b", "w", None)] == [404, 403, 401]
    assert call("DELETE", "/api/v1/reports/week", "b").status_code == 204
    assert len(call("GET", "/api/v1/reports", "a").json()["reports"]) == 1
    assert call("DELETE", "/api/v1/reports/week", "a").status_code == 204
    assert call("GET", "/api/v1/reports", "a").json() == {"reports": []}


@pytest.mark.parametrize(
    ("path", "body", "key", "status"),
    [
        ("/api/v1/reports/year", {}, "a", 400),
        ("/api/v1/reports/day", {"hour": 24}, "a", 400),
        ("/api/v1/reports/day", {"hour": 1, "more": 1}, "a", 400),
        ("/api/v1/reports/day", {}, "r", 403),
    ],
)
def test_what_is_refused(call, path, body, key, status):
    """By the route's own words, and nothing is scheduled."""
    assert call("PUT", path, key, json=body).status_code == status
    assert call("GET", "/api/v1/reports", "r").json() == {"reports": []}


def test_events_of_the_period_are_in_the_page(call, engine):
    """Counted by kind, the largest with its sentence; those of others and before it are not."""
    job = call("POST", "/api/v1/reports/day/run", "a").json()
    finish(engine, job["id"], ranked_parts([[1.0]]), NOW, summary={"sections": SECTIONS})
    query = text("""
        INSERT INTO analysis.event (tenant_id, watch_id, watch, labels, kind, start_ms, peak_ms,
          size, direction, text, created_at)
        VALUES (:tenant, gen_random_uuid(), 'cpu', '{"host": "<a>"}', 'shift', :at, :at, 2, 'up',
          'It rose.', now())""")
    now_ms = int(NOW.timestamp() * 1000)
    with engine.begin() as db:
        for tenant, at in ((TENANT_A, now_ms - 1), (TENANT_A, 0), (TENANT_B, now_ms - 1)):
            db.execute(query, {"tenant": tenant, "at": at})
    page = call("GET", f"/api/v1/reports/issues/{job['id']}", "a").text
    assert "1 shift; the largest:" in page
    assert "<td>host=&lt;a&gt;</td><td>It rose.</td>" in page
