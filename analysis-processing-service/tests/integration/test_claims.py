"""The queue in a real Postgres: races, leases, fairness, ends. Time is injected."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from neighbours import TENANT_A, TENANT_B
from sqlalchemy import func, select, text

from analysis_processing.analyses import resolved_params
from analysis_processing.errors import TooManyJobs, WrongState
from analysis_processing.jobs import claims, parts, repository
from analysis_processing.jobs.chunks import Chunk, Outcome
from analysis_processing.jobs.tables import chunk, job
from analysis_processing.model import Progress, Request, State

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LEASE_S = 15.0
ATTEMPTS = 3
CHUNK = Chunk(0, 0, 1, b"digest", is_half=True)


def after(seconds):
    return NOW + timedelta(seconds=seconds)


def request(query="up"):
    return Request("anomaly", query, 0, 600_000, 60_000, resolved_params("anomaly", {}, 60_000))


def submit(engine, query="up", tenant=TENANT_A, now=NOW, unfinished_max=100):
    with engine.begin() as db:
        return repository.submit(
            db, tenant, request(query), "key:x", now=now, unfinished_max=unfinished_max
        )


def claim(engine, now=NOW, worker="w"):
    with engine.begin() as db:
        return claims.claim(db, worker, now, LEASE_S, ATTEMPTS)


def read(engine, identity, tenant=TENANT_A):
    with engine.begin() as db:
        return repository.get(db, tenant, identity)


def act(engine, what, *args, **kwargs):
    with engine.begin() as db:
        return what(db, *args, **kwargs)


def done(engine, held, now=NOW, chunks=0):
    act(
        engine,
        claims.succeed,
        held,
        now,
        chunks=chunks,
        summary={},
        written_series=[],
        warning=None,
    )


def store(db, held, stored, outcome):
    parts.store(db, held, stored, outcome, digest=stored.digest)


def outcome(payload):
    return Outcome(payload, [], [], 0, [], [])


def test_the_same_question_is_the_same_job(engine):
    """A repeated submit returns the first job; another tenant, query or parameter is another."""
    first, is_new = submit(engine)
    again, is_new_again = submit(engine, now=after(60))
    assert (is_new, is_new_again) == (True, False)
    assert again == first
    ids = {
        first.id,
        submit(engine, tenant=TENANT_B)[0].id,
        submit(engine, "down")[0].id,
        repository.job_id(TENANT_A, request(), "another version"),
    }
    assert len(ids) == 4


def test_submits_that_race_make_one_job(engine):
    """Eight equal submits at once make one job, and exactly one of them made it."""
    barrier = threading.Barrier(8)

    def race(_):
        barrier.wait(600)
        return submit(engine)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(race, range(8)))
    assert len({made.id for made, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1


def test_a_full_queue_refuses_new_questions_only(engine):
    """Beyond its bound a tenant's new job is refused; a known one is still found, others submit."""
    for n in range(3):
        submit(engine, f"q{n}", unfinished_max=3)
    with pytest.raises(TooManyJobs, match="limit=3"):
        submit(engine, "one more", unfinished_max=3)
    assert submit(engine, "q1", unfinished_max=3)[1] is False
    assert submit(engine, "one more", tenant=TENANT_B, unfinished_max=3)[1] is True


def test_workers_that_race_never_share_a_job(engine):
    """Eight workers claiming twelve jobs at once get each job once."""
    wanted = {submit(engine, f"q{n}")[0].id for n in range(12)}
    barrier = threading.Barrier(8)

    def race(n):
        barrier.wait(600)
        held = []
        while (one := claim(engine, worker=f"w{n}")) is not None:
            held.append(one.job.id)
        return held

    with ThreadPoolExecutor(8) as pool:
        taken = [identity for held in pool.map(race, range(8)) for identity in held]
    assert len(taken) == 12
    assert set(taken) == wanted


def test_a_lease_that_ran_out_is_claimed_by_another(engine):
    """A silent worker's job is another's after the lease, not before; it can write nothing."""
    submit(engine)
    first = claim(engine)
    assert claim(engine, after(LEASE_S - 1)) is None
    second = claim(engine, after(LEASE_S + 1))
    assert second.job.id == first.job.id
    assert second.job.attempts == 2
    late = [
        (claims.heartbeat, first, after(16), LEASE_S),
        (claims.report, first, Progress(1, 2)),
        (store, first, CHUNK, outcome(b"late")),
        (claims.fail, first, after(16), "late"),
        (claims.give_back, first, after(16)),
    ]
    for what, *args in late:
        with pytest.raises(claims.LeaseLost):
            act(engine, what, *args)
    with pytest.raises(claims.LeaseLost):
        done(engine, first)
    done(engine, second)
    assert read(engine, first.job.id).state is State.SUCCEEDED


def test_a_heartbeat_keeps_the_lease(engine):
    """Each heartbeat moves the lease on, and brings the cancel flag."""
    submit(engine)
    held = claim(engine)
    assert act(engine, claims.heartbeat, held, after(10), LEASE_S) is False
    assert claim(engine, after(20)) is None
    act(engine, repository.cancel, TENANT_A, held.job.id, after(20))
    assert act(engine, claims.heartbeat, held, after(21), LEASE_S) is True


def test_tenants_take_turns(engine):
    """A tenant with twenty queued jobs does not keep another's single job waiting."""
    for n in range(20):
        submit(engine, f"q{n}")
    submit(engine, "mine", tenant=TENANT_B, now=after(5))
    order = [claim(engine, after(10 + n)).job.tenant for n in range(4)]
    assert order == [TENANT_A, TENANT_B, TENANT_A, TENANT_A]


def test_turns_count_jobs_that_run_and_jobs_that_ran(engine):
    """With nothing running, the tenant served longest ago is next."""
    for n in range(3):
        submit(engine, f"q{n}")
        submit(engine, f"q{n}", tenant=TENANT_B)
    order = []
    for n in range(6):
        held = claim(engine, after(n))
        order.append(held.job.tenant)
        done(engine, held, after(n))
    assert [a != b for a, b in pairwise(order)] == [True] * 5


def test_io_trouble_backs_off_then_gives_up(engine):
    """Attempts wait 2, then 4 s, and end after their number with the trouble on record."""
    identity = submit(engine)[0].id
    now = NOW
    for wait_s in (2, 4):
        held = claim(engine, now)
        act(engine, claims.try_again, held, now, "no answer", ATTEMPTS)
        assert claim(engine, now + timedelta(seconds=wait_s - 1)) is None
        now += timedelta(seconds=wait_s)
    held = claim(engine, now)
    act(engine, claims.try_again, held, now, "no answer", ATTEMPTS)
    ended = read(engine, identity)
    assert (ended.state, ended.attempts) == (State.FAILED, 3)
    assert "no answer" in ended.error
    assert ended.finished_at == now


def test_a_job_that_kills_its_workers_ends(engine):
    """Lost workers use up attempts, so a poisonous job does not go round for ever."""
    identity = submit(engine)[0].id
    for n in range(ATTEMPTS):
        assert claim(engine, after(100 * n)) is not None
    assert claim(engine, after(1000)) is None
    assert read(engine, identity).state is State.FAILED


def test_a_cancelled_job_of_a_lost_worker_ends_as_cancelled(engine):
    """A worker that died before it could stop does not revive what somebody cancelled."""
    identity = submit(engine)[0].id
    claim(engine)
    act(engine, repository.cancel, TENANT_A, identity, after(1))
    assert claim(engine, after(100)) is None
    assert read(engine, identity).state is State.CANCELLED


def test_cancel_by_state(engine):
    """Queued: at once. Running: asked. Cancelled: no change. Ended: a conflict."""
    identity = submit(engine)[0].id
    assert act(engine, repository.cancel, TENANT_A, identity, NOW).state is State.CANCELLED
    assert act(engine, repository.cancel, TENANT_A, identity, NOW).state is State.CANCELLED
    identity = submit(engine, "other")[0].id
    held = claim(engine)
    asked = act(engine, repository.cancel, TENANT_A, identity, NOW)
    assert (asked.state, asked.cancel_requested) == (State.RUNNING, True)
    act(engine, claims.cancelled, held, NOW)
    assert read(engine, identity).state is State.CANCELLED
    identity = submit(engine, "third")[0].id
    done(engine, claim(engine))
    with pytest.raises(WrongState):
        act(engine, repository.cancel, TENANT_A, identity, NOW)


def payloads(engine, identity):
    with engine.begin() as db:
        mine = select(chunk.c.payload).where(chunk.c.job_id == identity)
        return list(db.scalars(mine.order_by(chunk.c.chunk_no)))


def test_retry_by_state(engine):
    """A failed or cancelled job starts over, its parts there to be compared; others conflict.

    Nor does it start over where the tenant's queue is full.
    """
    identity = submit(engine)[0].id
    with pytest.raises(WrongState):
        act(engine, repository.retry, TENANT_A, identity, NOW, unfinished_max=9)
    held = claim(engine)
    act(engine, store, held, CHUNK, outcome(b"old"))
    act(engine, claims.fail, held, NOW, "broken")
    with pytest.raises(TooManyJobs, match="limit=0"):
        act(engine, repository.retry, TENANT_A, identity, NOW, unfinished_max=0)
    fresh = act(engine, repository.retry, TENANT_A, identity, after(5), unfinished_max=9)
    assert (fresh.state, fresh.attempts, fresh.error) == (State.QUEUED, 0, None)
    assert payloads(engine, identity) == [b"old"]
    assert claim(engine, after(5)).job.attempts == 1


def test_a_job_given_back_spends_no_attempt(engine):
    """An orderly stop leaves the job as it was before the claim."""
    submit(engine)
    act(engine, claims.give_back, claim(engine), after(1))
    again = claim(engine, after(1))
    assert again.job.attempts == 1


def test_chunks_are_upserted_and_leftovers_go(engine):
    """A second attempt overwrites chunks by number; those beyond its own number are gone."""
    identity = submit(engine)[0].id
    first = claim(engine)
    for n in range(3):
        act(engine, store, first, replace(CHUNK, number=n), outcome(b"old"))
    second = claim(engine, after(100))
    for payload in (b"tried", b"new"):
        act(engine, store, second, CHUNK, outcome(payload))
    done(engine, second, after(101), chunks=1)
    assert payloads(engine, identity) == [b"new"]


def test_progress_is_shown(engine):
    """What a worker reports is what a reader sees."""
    identity = submit(engine)[0].id
    held = claim(engine)
    progress = Progress(250, 1000, "reading", 30)
    act(engine, claims.report, held, progress)
    assert read(engine, identity).progress == progress


def test_old_jobs_are_swept_with_their_results(engine):
    """Finished jobs go after their retention, results with them; queued and recent ones stay."""
    old = submit(engine, "old")[0].id
    held = claim(engine)
    act(engine, store, held, CHUNK, outcome(b"x"))
    done(engine, held, NOW, chunks=1)
    recent = submit(engine, "recent")[0].id
    done(engine, claim(engine, after(1)), NOW + timedelta(days=20))
    submit(engine, "queued")
    assert act(engine, claims.sweep, NOW + timedelta(days=31), 30) == 1
    with engine.begin() as db:
        assert {found.id for found in repository.newest(db, TENANT_A, 10)} >= {recent}
        assert db.scalar(select(func.count()).select_from(job).where(job.c.id == old)) == 0
        assert db.scalar(select(func.count()).select_from(chunk)) == 0


def test_a_submit_notifies(engine):
    """An idle worker that listens hears of a new job when it is committed."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as listener:
        listener.execute(text("LISTEN analysis_job"))
        submit(engine)
        listener.execute(text("SELECT 1"))
        raw = listener.connection.dbapi_connection
        raw.poll()
        assert [heard.channel for heard in raw.notifies] == ["analysis_job"]


def test_a_claim_token_is_never_guessed(engine):
    """Only the token given by the claim moves a job."""
    submit(engine)
    held = claim(engine)
    forged = type(held)(held.job, uuid4())
    with pytest.raises(claims.LeaseLost):
        done(engine, forged)


def test_only_a_lost_process_makes_its_chunks_suspect(engine):
    """What was being computed when a lease ran out or a process died is suspect, once a loss."""
    submit(engine)

    def begun(now):
        held = claim(engine, now)
        act(engine, parts.begin, held, b"\x01")
        return held, act(engine, parts.suspects, held)

    held, suspects = begun(NOW)
    assert suspects == []
    act(engine, claims.give_back, held, NOW)
    held, suspects = begun(after(1))
    assert suspects == []
    act(engine, claims.try_again, held, after(1), "away", 9)
    held, suspects = begun(after(10))
    assert suspects == []
    act(engine, claims.try_again, held, after(10), "killed", 9, is_lost=True)
    held, suspects = begun(after(20))
    assert suspects == ["01"]
    act(engine, store, held, replace(CHUNK, digest=b"\x01"), outcome(b""))
    act(engine, parts.begin, held, b"\x02")
    with engine.begin() as db:
        again = claims.claim(db, "w", after(60), LEASE_S, 9)
    assert act(engine, parts.suspects, again) == ["01", "02"]
    act(engine, claims.fail, again, after(60), "enough")
    act(engine, repository.retry, TENANT_A, again.job.id, after(61), unfinished_max=9)
    assert act(engine, parts.suspects, claim(engine, after(61))) == []
