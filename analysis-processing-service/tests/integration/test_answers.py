"""When a job answers a question, when it is asked again, and what is listed, deleted, watched."""

import json
from datetime import timedelta
from itertools import pairwise

import anyio
import httpx
import pytest
from neighbours import TENANT_A
from sqlalchemy import func, select, update
from stored import ASKED, NOW, NOW_MS, finish, ranked_parts

from analysis_processing.analyses import resolved_params
from analysis_processing.api import jobs as routes
from analysis_processing.clients import http
from analysis_processing.errors import TooManyJobs
from analysis_processing.jobs import repository
from analysis_processing.jobs.tables import chunk, job, series
from analysis_processing.model import Request

SETTLED = NOW + timedelta(minutes=5)
SECOND = timedelta(seconds=1)


def submit(engine, now, **more):
    """A question whose range ends at NOW."""
    params = resolved_params("anomaly", {}, 60_000)
    request = Request("anomaly", "up", NOW_MS - 600_000, NOW_MS, 60_000, params)
    with engine.begin() as db:
        more = {"unfinished_max": 100} | more
        return repository.submit(db, TENANT_A, request, "key:x", now=now, **more)


def stored_rows(engine):
    with engine.begin() as db:
        return [db.scalar(select(func.count()).select_from(table)) for table in (chunk, series)]


def test_an_answer_before_its_range_settled_is_given_again_later(engine):
    """A job that ran before the range had settled answers until then, and is run again after."""
    first, _ = submit(engine, NOW)
    finish(engine, first.id, ranked_parts([[1.0]]), NOW, started_at=SETTLED - SECOND)
    assert submit(engine, SETTLED - SECOND) == (repository_job(engine, first.id), False)
    again, is_new = submit(engine, SETTLED)
    assert (again.id, is_new, again.state) == (first.id, True, "queued")
    assert (again.created_at, again.summary, again.started_at) == (SETTLED, {}, None)
    finish(engine, first.id, ranked_parts([[1.0]]), SETTLED)
    assert submit(engine, SETTLED + 30 * SECOND)[1] is False


def repository_job(engine, identity):
    with engine.begin() as db:
        return repository.get(db, TENANT_A, identity)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_question_without_an_answer_is_asked_again(engine, state):
    """A job that failed or was cancelled is queued by the next submit, and counts as unfinished."""
    first, _ = submit(engine, NOW)
    with engine.begin() as db:
        ended = {"state": state, "attempts": 4, "error": "no", "finished_at": SETTLED}
        db.execute(update(job).values(**ended))
    with pytest.raises(TooManyJobs):
        submit(engine, SETTLED, unfinished_max=0)
    again, is_new = submit(engine, SETTLED)
    assert (again.id, is_new, again.state) == (first.id, True, "queued")
    assert (again.attempts, again.error, again.finished_at) == (0, None, None)
    assert submit(engine, SETTLED, force=True)[1] is False


@pytest.mark.parametrize(("force", "rows"), [(False, [2, 3]), (True, [0, 0])])
def test_chunks_of_an_earlier_run(engine, force, rows):
    """They wait for their digests to be compared, and are no result; by force there are none."""
    first, _ = submit(engine, NOW)
    parts, written = ranked_parts([[1.0, 2.0], [3.0]]), ["alarms"]
    finish(engine, first.id, parts, SETTLED if force else NOW, written_series=written)
    assert submit(engine, SETTLED - SECOND)[1] is False
    again, is_new = submit(engine, SETTLED, force=force)
    assert is_new
    assert list(again.written_series) == ([] if force else written)
    assert stored_rows(engine) == rows
    with engine.begin() as db:
        assert repository.heads(db, again) == {}
        assert repository.ranked(db, again, repository.Selection(), 10) == []


def test_force_over_http(call, engine):
    """`"force": true` queues what has an answer; without it the answer stands."""
    first = call("POST", "/api/v1/jobs", "a", json=ASKED).json()
    finish(engine, first["id"], [], NOW, started_at=SETTLED)
    assert call("POST", "/api/v1/jobs", "a", json=ASKED).status_code == 200
    forced = call("POST", "/api/v1/jobs", "a", json=ASKED | {"force": True})
    assert (forced.status_code, forced.json()["state"]) == (202, "queued")


def test_a_bad_query_is_refused_at_once(call, neighbours):
    """data-api-service's words and position come back as 400, and there is no job."""
    words = {"error": "1:5: parse error: unexpected end of input"}
    neighbours.refuse["/api/v1/format_query"] = [httpx.Response(400, json=words)]
    answer = call("POST", "/api/v1/jobs", "a", json=ASKED | {"query": "sum("})
    assert answer.status_code == 400
    assert words["error"] in answer.json()["error"]
    assert call("GET", "/api/v1/jobs", "a").json()["jobs"] == []
    assert ("/api/v1/format_query", f"Bearer token:{TENANT_A}:das:metrics:read") in neighbours.asked


@pytest.mark.parametrize("status", [503, 403, 500])
def test_a_query_that_cannot_be_checked_is_accepted(call, neighbours, status, monkeypatch):
    """While data-api-service does not answer, or answers anything else, the job is taken."""
    monkeypatch.setattr(http, "BACK_OFF_S", 0.0)
    monkeypatch.setattr(routes, "QUERY_CHECK_S", 600.0)
    neighbours.refuse["/api/v1/format_query"] = [httpx.Response(status)] * http.TRIES
    assert call("POST", "/api/v1/jobs", "a", json=ASKED).status_code == 202


@pytest.fixture
def listed(call, engine):
    """Twelve jobs, a minute apart but for two at once; every third one has ended."""
    identities = []
    for n in range(12):
        query = f"rate(up{n}[5m]) % {n}"
        made = call("POST", "/api/v1/jobs", "a", json=ASKED | {"query": query}).json()
        with engine.begin() as db:
            at = NOW - timedelta(minutes=max(n, 1))
            db.execute(update(job).where(job.c.id == made["id"]).values(created_at=at))
        if n % 3 == 0:
            notes = [{"note": "all gaps", "series": 1}] if n else []
            counts = {"series": 4, "judged": 3, "points": 9, "findings": 2, "sentence": "So."}
            finish(engine, made["id"], [], NOW, summary=counts | {"notes": notes, "table": [n]})
        identities.append(made["id"])
    return identities


@pytest.mark.parametrize("limit", [1, 2, 5, 11, 12, 13])
def test_pages_list_each_job_once(call, listed, limit):
    """Whatever the limit, pages joined are all jobs, newest first."""
    pages, cursor = [], ""
    while cursor is not None:
        answer = call("GET", f"/api/v1/jobs?limit={limit}{cursor and '&cursor=' + cursor}", "a")
        pages.append(answer.json()["jobs"])
        cursor = answer.json()["next"]
    jobs = [one for page in pages for one in page]
    assert sorted(one["id"] for one in jobs) == sorted(listed)
    assert all(a["created_at"] >= b["created_at"] for a, b in pairwise(jobs))


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("state=succeeded", [0, 3, 6, 9]),
        ("state=succeeded&state=queued&limit=3", [0, 1, 2]),
        ("state=queued&q=UP1", [1, 10, 11]),
        ("q=%25 7", [7]),
        ("q=_", []),
        ("kind=anomaly&kind=other&q=up5", [5]),
        ("kind=other", []),
        (f"from={NOW_MS - 180_000}&to={NOW_MS - 120_000}", [2, 3]),
    ],
)
def test_filters_of_the_list(call, listed, asked, numbers):
    """Kind, state, any part of the query as it stands, and when it was asked."""
    jobs = call("GET", f"/api/v1/jobs?{asked}", "a").json()["jobs"]
    assert sorted(listed.index(one["id"]) for one in jobs) == numbers


@pytest.mark.parametrize(
    "asked", ["state=sleeping", "cursor=x", "cursor=WyJhIiwgImIiXQ==", "q=%00"]
)
def test_a_bad_list_is_refused(call, asked):
    """What is no state, cursor or text is bad data."""
    assert call("GET", f"/api/v1/jobs?{asked}", "a").status_code == 400


def test_what_came_of_a_job(call, listed):
    """A job tells its outcome and how many series were judged; a list, no tables of a kind."""
    whole, noted, queued = (call("GET", f"/api/v1/jobs/{listed[n]}", "a").json() for n in (0, 3, 1))
    assert (whole["outcome"], whole["judged"], whole["of"]) == ("completed", 3, 4)
    assert noted["outcome"] == "completed with notes"
    assert (queued["outcome"], queued["judged"], queued["of"]) == (None, None, None)
    rows = {one["id"]: one for one in call("GET", "/api/v1/jobs", "a").json()["jobs"]}
    assert noted["summary"] == rows[listed[3]]["summary"] | {"table": [3]}


def test_delete(call, engine, listed):
    """A job that has ended is gone with its result; one that has not is a conflict."""
    finish(engine, listed[0], ranked_parts([[1.0]]), NOW)
    assert call("DELETE", f"/api/v1/jobs/{listed[1]}", "a").status_code == 409
    answer = call("DELETE", f"/api/v1/jobs/{listed[0]}", "a")
    assert (answer.status_code, answer.content) == (204, b"")
    assert call("DELETE", f"/api/v1/jobs/{listed[0]}", "a").status_code == 404
    assert stored_rows(engine) == [0, 0]


def test_events_of_a_job_that_has_ended(call, listed):
    """The job is sent once, and the stream ends; nothing on the way may hold it back."""
    answer = call("GET", f"/api/v1/jobs/{listed[0]}/events", "a")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    (name, data), *rest = events(answer.text)
    assert (name, rest) == ("job", [])
    assert data == call("GET", f"/api/v1/jobs/{listed[0]}", "a").json()


def events(text):
    return [
        ("job", json.loads(block.removeprefix("event: job\ndata: ")))
        if block.startswith("event: job\ndata: ")
        else block
        for block in text.split("\n\n")[:-1]
    ]


def watched(app, read, happenings):
    """What a stream sends while one thing after another happens between its looks."""

    async def pause(_):
        happenings.pop(0)()

    async def go():
        return "".join([text async for text in routes.changes(app.state.services, read, pause)])

    return events(anyio.run(go))


def test_events_follow_the_job(app, engine):
    """Each change is sent once, a comment when there is none for long, until the job has ended."""
    first, _ = submit(engine, NOW)

    def progress():
        with engine.begin() as db:
            db.execute(update(job).values(progress_done=7))

    def end():
        finish(engine, first.id, [], NOW)

    quiet = [lambda: None] * (routes.POLLS_SILENT + 2)
    sent = watched(app, lambda: repository_job(engine, first.id), [progress, *quiet, end])
    assert [one if isinstance(one, str) else one[1]["progress"]["done"] for one in sent] == [
        0,
        7,
        ": nothing new",
        7,
    ]
    assert sent[-1][1]["state"] == "succeeded"


def test_events_end_with_the_process_and_with_the_job(app, engine):
    """A process that is about to stop, and a job that is deleted, end the stream."""
    first, _ = submit(engine, NOW)

    def remove():
        with engine.begin() as db:
            db.execute(job.delete())

    assert len(watched(app, lambda: repository_job(engine, first.id), [remove])) == 1
    second, _ = submit(engine, NOW)
    app.state.services.drain.draining = True
    assert len(watched(app, lambda: repository_job(engine, second.id), [])) == 1


def test_streams_are_bounded(app, call, listed):
    """When as many watch as one process serves, one more is told to come later."""

    async def take_all():
        for _ in range(routes.STREAMS_MAX):
            await app.state.services.streams.acquire()

    anyio.run(take_all)
    answer = call("GET", f"/api/v1/jobs/{listed[1]}/events", "a")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")


def test_ends_are_metrics(call, engine, listed):
    """Jobs that ended within the hour are counted by kind and state."""
    with engine.begin() as db:
        now = db.scalar(select(func.clock_timestamp()))
        ended = {"started_at": now - timedelta(seconds=8), "finished_at": now}
        db.execute(update(job).where(job.c.state == "succeeded").values(**ended))
        old = {"finished_at": now - timedelta(hours=2)}
        db.execute(update(job).where(job.c.id == listed[9]).values(**old))
    lines = call("GET", "/metrics").text.splitlines()
    name = "cloudopshub_analysis_jobs_ended"
    assert f'{name}{{kind="anomaly",state="succeeded"}} 3.0' in lines
