"""The worker's loop with children that do what a scenario needs, on a clock that it moves."""

import socket
import subprocess
import sys
from datetime import UTC, datetime
from multiprocessing.connection import Connection

import pytest
from neighbours import TENANT_A

from analysis_processing.analyses import resolved_params
from analysis_processing.jobs import repository
from analysis_processing.model import Request, State
from analysis_processing.worker import Child, Worker

WAITING = "import threading; threading.Event().wait(600)"


class Stage:
    """Children are processes that wait; the far end of each link is the scenario's."""

    def __init__(self, settings, engine):
        self.now_s = 1000.0
        self.far: list[Connection] = []
        self.engine = engine
        self.worker = Worker(settings, engine, "w", start=self.start, monotonic=lambda: self.now_s)

    def start(self, now_s):
        ours, theirs = socket.socketpair()
        self.far.append(Connection(theirs.detach()))
        process = subprocess.Popen([sys.executable, "-c", WAITING])
        return Child(process, Connection(ours.detach()), now_s)

    def submit(self, query="q"):
        request = Request(
            "anomaly", query, 0, 600_000, 60_000, resolved_params("anomaly", {}, 60_000)
        )
        with self.engine.begin() as db:
            job, _ = repository.submit(
                db, TENANT_A, request, "key:x", now=datetime.now(UTC), unfinished_max=9
            )
        return job.id

    def job(self, identity):
        with self.engine.begin() as db:
            return repository.get(db, TENANT_A, identity)

    def cancel(self, identity):
        with self.engine.begin() as db:
            repository.cancel(db, TENANT_A, identity, datetime.now(UTC))

    def close(self):
        self.worker.leave()
        for link in self.far:
            link.close()


@pytest.fixture
def stage(settings, engine):
    made = Stage(settings, engine)
    yield made
    made.close()


def kill(child):
    child.process.kill()
    child.process.wait()


def test_a_job_goes_to_a_child_and_the_next_to_the_same(stage):
    """One child at a time, used again while it lives."""
    first, second = stage.submit("a"), stage.submit("b")
    stage.worker.turn()
    word, held = stage.far[0].recv()
    assert (word, held.job.id) == ("run", first)
    assert stage.job(second).state is State.QUEUED
    stage.far[0].send(("done", held.token))
    stage.worker.turn()
    assert stage.far[0].recv()[1].job.id == second
    assert len(stage.worker.children) == 1


def test_a_child_that_dies_costs_an_attempt(stage):
    """The job waits for another attempt and says why."""
    identity = stage.submit()
    stage.worker.turn()
    kill(stage.worker.children[0])
    stage.worker.turn()
    job = stage.job(identity)
    assert job.state is State.QUEUED
    assert "exit code -9" in job.error
    assert stage.worker.children == []


def test_a_child_that_does_not_stop_is_killed(stage):
    """A cancelled job ends within a second even when its process is deaf."""
    identity = stage.submit()
    stage.worker.turn()
    stage.far[0].recv()
    stage.cancel(identity)
    stage.now_s += 0.5
    stage.worker.turn()
    assert stage.far[0].recv()[0] == "cancel"
    child = stage.worker.children[0]
    stage.now_s += 0.51
    stage.worker.turn()
    assert child.process.returncode == -9
    assert stage.job(identity).state is State.CANCELLED


def test_a_job_that_takes_too_long_fails(stage, settings):
    """Beyond its time the job fails with the limit, and its process is gone."""
    identity = stage.submit()
    stage.worker.turn()
    stage.now_s += settings.job_timeout_s + 1
    stage.worker.turn()
    job = stage.job(identity)
    assert job.state is State.FAILED
    assert "900 s" in job.error


def test_an_idle_child_ends(stage, settings):
    """Its memory is given back a minute after its last job."""
    stage.submit()
    stage.worker.turn()
    _, held = stage.far[0].recv()
    stage.far[0].send(("done", held.token))
    stage.worker.turn()
    (child,) = stage.worker.children
    stage.now_s += settings.worker_idle_s + 1
    stage.worker.turn()
    assert stage.worker.children == []
    assert child.process.returncode is not None


def test_a_lost_lease_stops_the_child(stage, engine):
    """When another worker has the job, ours stops computing it and touches nothing."""
    identity = stage.submit()
    stage.worker.turn()
    with engine.begin() as db:
        db.exec_driver_sql("UPDATE analysis.job SET claim = gen_random_uuid(), attempts = 7")
    stage.now_s += 1
    stage.worker.turn()
    assert stage.worker.children == []
    job = stage.job(identity)
    assert (job.state, job.attempts) == (State.RUNNING, 7)


def test_the_end_of_a_job_is_not_taken_for_a_lost_lease(stage, engine):
    """A heartbeat that comes after the child wrote its end, but before its word, kills nobody."""
    stage.submit()
    stage.worker.turn()
    _, held = stage.far[0].recv()
    with engine.begin() as db:
        db.exec_driver_sql(
            "UPDATE analysis.job SET state = 'succeeded', claim = NULL, lease_until = NULL"
        )
    child = stage.worker.children[0]
    stage.now_s += 1
    stage.worker.reap()
    stage.far[0].send(("done", held.token))
    stage.worker.beat(child, held, stage.now_s)
    assert stage.worker.children == [child]
    assert child.claim is None


def test_a_stopping_worker_gives_its_jobs_back(stage):
    """After `leave` the job is queued as if never claimed."""
    identity = stage.submit()
    stage.worker.turn()
    stage.worker.leave()
    job = stage.job(identity)
    assert (job.state, job.attempts) == (State.QUEUED, 0)


def test_rest_ends_when_work_is_submitted(stage):
    """An idle worker wakes by NOTIFY, not by its poll."""
    stage.worker.settings = stage.worker.settings.model_copy(update={"worker_poll_s": 60.0})
    assert stage.worker._bell.connection() is not None
    stage.submit()
    stage.worker.rest()
    stage.worker.turn()
    assert len(stage.worker.busy()) == 1


def test_lost_connections_are_made_again(stage, engine):
    """After the database dropped every connection the worker rests, wakes and claims as before."""
    stage.submit("first")
    stage.worker.turn()
    assert stage.worker._bell.connection() is not None
    with engine.begin() as db:
        db.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    stage.worker.rest()
    _, held = stage.far[0].recv()
    stage.far[0].send(("done", held.token))
    second = stage.submit("second")
    stage.worker.rest()
    stage.worker.turn()
    assert stage.far[0].recv()[1].job.id == second
    assert stage.worker._bell.connection() is not None


def test_a_signal_ends_the_rest(stage):
    """`stop` is heard at once, however long the rest would be."""
    stage.worker.settings = stage.worker.settings.model_copy(update={"worker_poll_s": 60.0})
    stage.worker.stop()
    stage.worker.rest()
    assert stage.worker.stopping


def test_a_working_worker_shows_life(settings, engine, tmp_path):
    """Each round touches the file that a probe looks at."""
    alive = tmp_path / "alive"
    worker = Worker(settings.model_copy(update={"worker_alive_file": alive}), engine, "w")
    alive_at_each_turn = []

    def turn():
        alive_at_each_turn.append(alive.exists())
        worker.stopping = len(alive_at_each_turn) == 2

    worker.turn = turn
    worker.stop()  # rests end at once
    worker.stopping = False
    worker.run()
    assert alive_at_each_turn == [False, True]
