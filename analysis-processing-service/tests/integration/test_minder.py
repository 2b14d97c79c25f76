"""The worker's side of watches, with children that do what a scenario needs."""

import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection

import pytest
from neighbours import TENANT_A
from sqlalchemy import text

from analysis_processing.watch import watches
from analysis_processing.watch.minder import BATCH_S_MAX, IDLE_S, Minder
from analysis_processing.worker import Child

WAITING = "import threading; threading.Event().wait(120)"


class Stage:
    """Children are processes that wait; the far end of each link is the scenario's."""

    def __init__(self, settings, engine):
        self.now_s = 1000.0
        self.far = []
        self.engine = engine
        self.minder = Minder(settings, engine, "w", self.start, lambda: self.now_s)

    def start(self, now_s):
        ours, theirs = socket.socketpair()
        self.far.append(Connection(theirs.detach()))
        process = subprocess.Popen([sys.executable, "-c", WAITING])
        return Child(process, Connection(ours.detach()), now_s)

    def watch(self, name):
        wanted = {"name": name, "query": "up", "step_ms": 60_000, "params": {}, "enabled": True}
        now = datetime.now(UTC) - timedelta(seconds=30)
        with self.engine.begin() as db:
            watches.make(db, TENANT_A, wanted, created_by="x", now=now, count_max=9)

    def rows(self, columns):
        with self.engine.begin() as db:
            return db.execute(text(f"SELECT {columns} FROM analysis.watch ORDER BY name")).all()


@pytest.fixture
def stage(settings, engine):
    made = Stage(settings, engine)
    yield made
    made.minder.leave()
    for link in made.far:
        link.close()


def test_what_is_due_goes_to_a_child_of_its_own_as_one_batch(stage):
    """One batch at a time; the next goes to the same child, once it is done with the first."""
    assert stage.minder.turn() is None
    assert stage.far == []
    stage.watch("a")
    stage.watch("b")
    stage.minder.turn()
    word, batch = stage.far[0].recv()
    assert (word, [claim.watch.name for claim in batch]) == ("watch", ["a", "b"])
    stage.watch("c")
    stage.minder.turn()
    assert not stage.far[0].poll()
    stage.far[0].send(("done", batch[0].token))
    stage.minder.turn()
    assert [claim.watch.name for claim in stage.far[0].recv()[1]] == ["c"]
    assert len(stage.far) == 1


def test_a_heartbeat_keeps_the_leases(stage):
    """While the child works, the leases of its batch move on."""
    stage.watch("a")
    stage.minder.turn()
    (before,) = stage.rows("lease_until")
    stage.now_s += 5
    stage.minder.turn()
    assert stage.rows("lease_until")[0] > before


@pytest.mark.parametrize("is_dead", [True, False], ids=["died", "hangs"])
def test_a_lost_child_leaves_its_watches_to_another_try(stage, is_dead):
    """Dead, or at work for too long: the watches say so, and wait a while."""
    stage.watch("a")
    stage.minder.turn()
    if is_dead:
        stage.minder.child.process.kill()
        stage.minder.child.process.wait()
    else:
        stage.now_s += BATCH_S_MAX + 1
    stage.minder.turn()
    ((claim, error, attempts, is_later),) = stage.rows(
        "claim, error, attempts, due_at > clock_timestamp()"
    )
    assert (claim, attempts, is_later) == (None, 1, True)
    assert "exit code -9" in error if is_dead else "longer than" in error
    assert stage.minder.child is None


def test_leaving_gives_the_watches_back(stage):
    """An orderly stop leaves them due, with no attempt spent, and no child."""
    stage.watch("a")
    stage.minder.turn()
    child = stage.minder.child
    stage.minder.leave()
    assert stage.rows("claim, claimed_by, attempts, lease_until") == [(None, None, 0, None)]
    assert child.process.poll() is not None


def test_an_idle_child_ends(stage):
    """A child without a watch for so long is gone."""
    stage.watch("a")
    stage.minder.turn()
    stage.far[0].send(("done", stage.far[0].recv()[1][0].token))
    with stage.engine.begin() as db:
        db.execute(text("UPDATE analysis.watch SET enabled = false"))
    stage.minder.turn()
    assert stage.minder.child is not None
    stage.now_s += IDLE_S + 1
    stage.minder.turn()
    assert stage.minder.child is None
