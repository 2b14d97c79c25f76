"""The worker's side of watches: claims what is due, has a child run it, and answers for the child.

    worker ──socket: ("watch", claims)──▶ child ──("done", token)──▶ worker

Watches have a child of their own, so that a long job does not make them late; it ends after
IDLE_S without one. As light as the worker: nothing here computes.
"""

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import Engine

from analysis_processing.jobs.claims import database_clock, write
from analysis_processing.jobs.database import transaction
from analysis_processing.jobs.process import Child
from analysis_processing.settings import Settings
from analysis_processing.watch import claims, events

if TYPE_CHECKING:
    from uuid import UUID

log = structlog.get_logger()
CHILD = "analysis_processing.watch.child"
BEAT_S = 2.0
BATCH_S_MAX = 300.0
SWEEP_S = 600.0
IDLE_S = 600.0
"""Longer than the usual step: a child that ended would load its memory again each minute."""


class Minder:
    """One batch of due watches at a time, in one child. monotonic: seconds that only grow."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        name: str,
        start: Callable[[float], Child],
        monotonic: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.name = name
        self.start = start
        self.monotonic = monotonic
        self.child: Child | None = None
        self.token: UUID | None = None
        self._since_s = self._beat_s = 0.0
        self._swept_s = float("-inf")

    def turn(self) -> None:
        """One round: reap, heartbeat, claim what is due, sweep events now and then."""
        self._reap()
        now_s = self.monotonic()
        if self.token is not None and now_s - self._since_s > BATCH_S_MAX:
            self._lose(f"it ran longer than {BATCH_S_MAX:g} s")
        elif self.token is not None and now_s - self._beat_s >= BEAT_S:
            token, self._beat_s = self.token, now_s
            lease_s = self.settings.worker_lease_s
            self._write(lambda db, now: claims.heartbeat(db, token, now, lease_s))
        if self.token is None and self.settings.watch_series_max > 0:
            self._claim(now_s)
        if now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            self._write(lambda db, now: events.sweep(db, now, self.settings.watch_event_days))

    def leave(self) -> None:
        """The claims are given back, the child is gone."""
        token = self.token
        self._discard()
        if token is not None:
            self._write(lambda db, _now: claims.give_back(db, token))

    def _reap(self) -> None:
        if self.child is None:
            return
        with contextlib.suppress(EOFError, OSError):
            while self.child.link.poll():
                if self.child.link.recv() == ("done", self.token):
                    self.token, self._since_s = None, self.monotonic()
        if self.child.process.poll() is not None:
            code = self.child.process.returncode
            log.warning("watch_process_lost", exit_code=code)
            self._lose(f"its process ended with exit code {code}")
        elif self.token is None and self.monotonic() - self._since_s > IDLE_S:
            self._discard()

    def _lose(self, reason: str) -> None:
        """What was left of the batch waits for another attempt, each watch on its own."""
        token = self.token
        self._discard()
        if token is not None:
            self._write(lambda db, now: claims.try_again(db, token, now, reason))

    def _claim(self, now_s: float) -> None:
        with transaction(self.engine) as db:
            lease_s = self.settings.worker_lease_s
            batch = claims.claim(db, self.name, database_clock(db), lease_s)
        if not batch:
            return
        if self.child is None:
            self.child = self.start(now_s)
        self.token, self._since_s, self._beat_s = batch[0].token, now_s, now_s
        with contextlib.suppress(OSError):  # a child that just died: reaped in the next round
            self.child.link.send(("watch", batch))

    def _discard(self) -> None:
        if self.child is not None:
            self.child.end()
        self.child = self.token = None

    def _write(self, act: Callable[[Db, datetime], object]) -> None:
        write(self.engine, act, "watches_left_to_their_lease")
