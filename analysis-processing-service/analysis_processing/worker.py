"""`python -m analysis_processing.worker`: claims jobs and has them run by child processes.

    Postgres ◀─claim, heartbeat (1 s)─ worker ──▶ child: pandas, numba, HTTP; ends when idle
             ─NOTIFY──────────────────▶  │  └───▶ child …            (APS_WORKER_JOBS of them)

The worker itself stays small and never computes, so its heartbeats come on time; a child that is
killed by the kernel, hangs or leaks costs one attempt of one job. SIGTERM gives running jobs back.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from multiprocessing.connection import wait
from typing import Any

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from analysis_processing import __version__
from analysis_processing.chassis import telemetry
from analysis_processing.chassis.database import DatabaseUnavailable
from analysis_processing.chassis.settings import load
from analysis_processing.jobs import claims
from analysis_processing.jobs.database import engine_for, transaction
from analysis_processing.jobs.process import Child, start_child
from analysis_processing.jobs.repository import CHANNEL
from analysis_processing.model import Claim
from analysis_processing.settings import Settings
from analysis_processing.watch import minder

log = structlog.get_logger()
HEARTBEAT_S = 0.5
CANCEL_GRACE_S = 0.5
SWEEP_INTERVAL_S = 600.0


class Bell:
    """Rings when a job was submitted or cancelled: a connection that LISTENs, remade if lost."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._db: Db | None = None
        self._raw: Any = None

    def connection(self) -> Any | None:
        """What to wait on; None while the database is away (the poll serves)."""
        if self._db is None:
            try:
                db = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                db.execute(text(f"LISTEN {CHANNEL}"))
            except SQLAlchemyError as exc:
                log.warning("listen_failed", reason=type(exc).__name__)
                return None
            self._db, self._raw = db, db.connection.dbapi_connection
        return self._raw

    def silence(self) -> None:
        """Notifications so far are read; a broken connection is let go."""
        try:
            self._raw.poll()
            self._raw.notifies.clear()
        except Exception as exc:  # noqa: BLE001  psycopg2's errors: whatever it is, reconnect
            log.warning("listen_lost", reason=type(exc).__name__)
            self.close()

    def close(self) -> None:
        """The connection is gone."""
        if self._db is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._db.invalidate()
                self._db.close()
        self._db = self._raw = None


class Worker:
    """The loop. `start` makes children; tests hand in their own."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        name: str,
        start: Callable[[float], Child] = start_child,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.name = name
        self.start = start
        self.monotonic = monotonic
        self.children: list[Child] = []
        self.stopping = False
        self._beat_s = float("-inf")
        self._swept_s = float("-inf")
        self._bell = Bell(engine)
        start_watching = partial(start_child, module=minder.CHILD)
        self.watches = minder.Minder(settings, engine, name, start_watching, monotonic)
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_write.setblocking(False)
        self._wake_read.setblocking(False)

    def stop(self, *_signal: object) -> None:
        """The loop ends soon; safe in a signal handler."""
        self.stopping = True
        with contextlib.suppress(OSError):
            self._wake_write.send(b"x")

    def run(self) -> None:
        """Work until stopped; then every claim is given back and every child is gone."""
        log.info("worker_started", worker=self.name, jobs=self.settings.worker_jobs)
        try:
            while not self.stopping:
                try:
                    self.turn()
                except DatabaseUnavailable as error:
                    log.warning("database_unavailable", reason=str(error))
                if (alive := self.settings.worker_alive_file) is not None:
                    alive.touch()  # its age tells a probe, which has no port to ask
                self.rest()
        finally:
            self.leave()

    def turn(self) -> None:
        """One round: reap, heartbeat, claim what there is room for, sweep now and then."""
        self.reap()
        now_s = self.monotonic()
        if now_s - self._beat_s >= HEARTBEAT_S:
            self._beat_s = now_s
            for child in self.busy():
                if child.claim is not None:
                    self.beat(child, child.claim, now_s)
        while len(self.busy()) < self.settings.worker_jobs and self.claim_one():
            pass
        self.watches.turn()
        if now_s - self._swept_s >= SWEEP_INTERVAL_S:
            self._swept_s = now_s
            with transaction(self.engine) as db:
                days = self.settings.job_retention_days
                gone = claims.sweep(db, claims.database_clock(db), days)
            if gone:
                log.info("jobs_swept", jobs=gone)

    def busy(self) -> list[Child]:
        """Children with a job."""
        return [child for child in self.children if child.claim is not None]

    def reap(self) -> None:
        """Children that finished are idle, that died or were idle too long are gone."""
        now_s = self.monotonic()
        for child in list(self.children):
            with contextlib.suppress(EOFError, OSError):
                while child.link.poll():
                    _, token = child.link.recv()
                    if child.claim is not None and child.claim.token == token:
                        child.claim, child.idle_since_s, child.cancelled_s = None, now_s, None
            if child.process.poll() is not None:
                self.lost(child)
            elif child.claim is None and now_s - child.idle_since_s > self.settings.worker_idle_s:
                self.discard(child)

    def lost(self, child: Child) -> None:
        """The child died: its job waits for another attempt."""
        code, claim = child.process.returncode, child.claim
        self.discard(child)
        if claim is None:
            return
        log.warning("job_process_lost", job=str(claim.job.id), exit_code=code)
        reason = f"its process ended with exit code {code}"
        self.end_job(
            claim,
            lambda db, now: claims.try_again(
                db, claim, now, reason, self.settings.attempts_max, is_lost=True
            ),
        )

    def beat(self, child: Child, claim: Claim, now_s: float) -> None:
        """The lease has moved on, or the child was told, or made, to stop."""
        try:
            with transaction(self.engine) as db:
                now = claims.database_clock(db)
                cancel_requested = claims.heartbeat(db, claim, now, self.settings.worker_lease_s)
        except claims.LeaseLost:
            # also the child's own ending, written just before its "done" arrives
            if child.link.poll(0.2):
                self.reap()
            else:
                log.warning("lease_lost", job=str(claim.job.id))
                self.discard(child)
            return
        if cancel_requested and child.cancelled_s is None:
            child.cancelled_s = now_s
            with contextlib.suppress(OSError):
                child.link.send(("cancel", claim.token))
        elif child.cancelled_s is not None and now_s - child.cancelled_s > CANCEL_GRACE_S:
            self.discard(child)
            self.end_job(claim, lambda db, now: claims.cancelled(db, claim, now))
        elif now_s - child.began_s > self.settings.job_timeout_s:
            self.discard(child)
            limit = f"it ran longer than {self.settings.job_timeout_s:g} s"
            self.end_job(claim, lambda db, now: claims.fail(db, claim, now, limit))

    def claim_one(self) -> bool:
        """Whether a job was claimed and handed to a child."""
        with transaction(self.engine) as db:
            claim = claims.claim(
                db,
                self.name,
                claims.database_clock(db),
                self.settings.worker_lease_s,
                self.settings.attempts_max,
            )
        if claim is None:
            return False
        now_s = self.monotonic()
        child = next((child for child in self.children if child.claim is None), None)
        if child is None:
            child = self.start(now_s)
            self.children.append(child)
        child.claim, child.began_s, child.cancelled_s = claim, now_s, None
        log.info("job_claimed", job=str(claim.job.id), attempt=claim.job.attempts)
        with contextlib.suppress(OSError):  # a child that just died: reaped in the next round
            child.link.send(("run", claim))
        return True

    def discard(self, child: Child) -> None:
        """The child is gone and forgotten."""
        child.end()
        self.children.remove(child)

    def end_job(self, claim: Claim, act: Callable[[Db, datetime], None]) -> None:
        """The job's end is written; see `claims.write`."""
        claims.write(self.engine, act, "job_left_to_its_lease", job=str(claim.job.id))

    def rest(self) -> None:
        """Until something happens: work was submitted, a child spoke or died, a beat is due."""
        timeout_s = HEARTBEAT_S if self.busy() else self.settings.worker_poll_s
        bell = self._bell.connection()
        watched: list[Any] = [self._wake_read, *(child.link for child in self.children)]
        if self.watches.child is not None:
            watched.append(self.watches.child.link)
        ready = wait([*watched, *([bell] if bell is not None else [])], timeout_s)
        if bell is not None and bell in ready:
            self._bell.silence()
        if self._wake_read in ready:
            with contextlib.suppress(OSError):
                self._wake_read.recv(64)

    def leave(self) -> None:
        """Every claim is given back, every child is gone."""
        for child in list(self.children):
            claim = child.claim
            self.discard(child)
            if claim is not None:
                self.end_job(claim, lambda db, now, mine=claim: claims.give_back(db, mine, now))  # type: ignore[misc]
        self.watches.leave()
        self._bell.close()
        self._wake_read.close()
        self._wake_write.close()
        log.info("worker_stopped", worker=self.name)


def main() -> None:
    """Serve the queue of DATABASE_URL until SIGTERM or SIGINT."""
    settings = load(Settings)
    telemetry.configure("aps-worker", settings.log_level, __version__)
    engine = engine_for(settings.database_url.get_secret_value(), pool_size=2)
    worker = Worker(settings, engine, f"{socket.gethostname()}:{os.getpid()}")
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    worker.run()
    engine.dispose()


if __name__ == "__main__":
    main()
