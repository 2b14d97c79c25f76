"""One run of a watch, in a child of the worker: the next columns are read, judged, stored.

    alarms that are due ─▶ next piece ─▶ das: columns ─▶ memory.judge
      ─▶ ONE transaction: events, journal or state, position ─▶ alarm series ─▶ due again

Killed before the transaction, nothing happened; after it, the next run begins with the alarms. A
watch that is late catches up a piece a run; one that is later than it learns from begins anew.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

import anyio.to_thread
import structlog
from sqlalchemy import Connection, Engine

from analysis_processing.chassis.kinds import ServiceError
from analysis_processing.clients.http import Door
from analysis_processing.frames import F64, series_name
from analysis_processing.jobs.claims import LeaseLost, TimeOf
from analysis_processing.jobs.database import transaction
from analysis_processing.model import Labels
from analysis_processing.settings import Settings
from analysis_processing.watch import claims, doors, events, storage
from analysis_processing.watch.claims import WatchClaim
from analysis_processing.watch.doors import AlarmSeries
from analysis_processing.watch.memory import Judged, Memory, journal_entry
from analysis_processing.watch.watches import Watch

T = TypeVar("T")
log = structlog.get_logger()
PIECE_POINTS = 500_000
PIECE_STEPS_MAX = 3_000
JOURNAL_STEPS_MAX = 60
FORGET_MS = 86_400_000
VERSION_AGO_MS = 900_000
ALARMS_MADE_UP_MS = 3_600_000
"""Alarm samples older than that are not made up for: an alarm is about now."""
SPREAD_MS = 10_000
"""Watches of one step do not all run in one second."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The next columns of a watch, [first_ms, end_ms); what ended before live_ms is no event."""

    first_ms: int
    end_ms: int
    live_ms: int
    is_afresh: bool
    is_last: bool


def next_piece(watch: Watch, now_ms: int, settings: Settings, *, afresh: bool = False) -> Piece:
    """What of the past is to be judged next; empty when no further column has settled."""
    step_ms = watch.step_ms
    settled_ms = (now_ms - round(settings.watch_settle_s * 1000)) // step_ms * step_ms + step_ms
    learn_ms = round(settings.watch_learn_s * 1000) // step_ms * step_ms
    first_ms, live_ms = watch.next_ms, watch.live_ms
    afresh = afresh or first_ms is None or settled_ms - first_ms > learn_ms
    if afresh or first_ms is None or live_ms is None:
        first_ms, live_ms = settled_ms - learn_ms, settled_ms
    series = watch.series or settings.watch_series_max
    steps = max(1, min(PIECE_STEPS_MAX, PIECE_POINTS // series))
    end_ms = min(first_ms + steps * step_ms, max(settled_ms, first_ms))
    return Piece(first_ms, end_ms, live_ms, afresh, end_ms >= settled_ms)


@dataclass(slots=True)
class Runner:
    """Runs claims, and remembers the watches that it ran last: `watch_remembered_max` series.

    das, dis: a tenant's doors to the other services.
    """

    engine: Engine
    clock: TimeOf
    settings: Settings
    das: Callable[[UUID], Door]
    dis: Callable[[UUID], Door]
    memories: "OrderedDict[UUID, Memory]" = field(default_factory=OrderedDict)

    async def run(self, claim: WatchClaim) -> None:
        """The claim is out of our hands: the watch is due again, or later after trouble.

        Raises LeaseLost when somebody else has it, DatabaseUnavailable when nothing can be written:
        the lease will run out.
        """
        try:
            await self._run(claim)
        except LeaseLost:
            self.memories.pop(claim.watch.id, None)
            raise
        except ServiceError as error:
            reason = str(error)
            log.warning("watch_waits", watch=str(claim.watch.id), reason=reason)
        except Exception as error:
            reason = f"an unexpected {type(error).__name__}; the log has it"
            log.exception("watch_broke", watch=str(claim.watch.id))
        else:
            return
        self.memories.pop(claim.watch.id, None)
        await self._in_transaction(
            lambda db, now: claims.try_again(db, claim.token, now, reason, claim.watch.id)
        )

    async def _run(self, claim: WatchClaim) -> None:
        watch = claim.watch
        trouble = None
        if watch.live_ms is not None and watch.next_ms is not None and watch.is_alarm_due:
            trouble = await self._alarm(claim, watch.live_ms, watch.next_ms)
        now = await self._in_transaction(lambda _db, now: now)
        piece, memory = await self._begin(watch, round(now.timestamp() * 1000))
        if piece.end_ms > piece.first_ms:
            note = await self._advance(claim, piece, memory)
            trouble = trouble or await self._alarm(claim, piece.live_ms, piece.end_ms) or note
        self._remember(watch.id, memory)
        due_at = now
        if piece.is_last:
            wait_s = self.settings.watch_settle_s + watch.id.int % SPREAD_MS / 1000
            settled = datetime.fromtimestamp(piece.end_ms / 1000 + wait_s, UTC)
            due_at = max(now, settled)
        await self._in_transaction(lambda db, now: claims.finish(db, claim, due_at, now, trouble))

    async def _begin(self, watch: Watch, now_ms: int) -> tuple[Piece, Memory]:
        """What to judge next, and what is remembered of all before."""
        piece, memory = next_piece(watch, now_ms, self.settings), self.memories.get(watch.id)
        if piece.is_afresh or watch.next_ms is None:
            return piece, Memory(watch.params, watch.step_ms, piece.first_ms)
        if memory is not None and memory.next_ms == watch.next_ms:
            return piece, memory
        try:
            stored = await self._in_transaction(lambda db, _now: storage.memory_of(db, watch))
            of_watch = partial(Memory.loaded, watch.params, watch.step_ms, watch.next_ms)
            return piece, await anyio.to_thread.run_sync(of_watch, *stored)
        except ValueError as error:
            log.warning("watch_begins_anew", watch=str(watch.id), reason=str(error))
        piece = next_piece(watch, now_ms, self.settings, afresh=True)
        return piece, Memory(watch.params, watch.step_ms, piece.first_ms)

    async def _advance(self, claim: WatchClaim, piece: Piece, memory: Memory) -> str | None:
        """The piece is judged, and all that follows is stored; what is wrong with the watch."""
        watch, limit = claim.watch, self.settings.watch_series_max
        das, steps = self.das(watch.tenant_id), (piece.end_ms - piece.first_ms) // watch.step_ms
        answer = await doors.columns(das, watch, piece.first_ms, steps)
        series = len(set(memory.names).union(series_name(labels) for labels, _ in answer))

        def compute() -> tuple[list[str], F64, list[Judged]]:
            new = memory.welcome((series_name(labels) for labels, _ in answer), limit)
            values = memory.aligned(answer, steps)
            return new, values, memory.judge(values, piece.live_ms)

        new, values, judged = await anyio.to_thread.run_sync(compute)
        versions = await self._versions(watch, piece) if any(one[2] for one in judged) else []
        gone, state = [], None
        if memory.journal_steps > JOURNAL_STEPS_MAX:
            gone = memory.forget(piece.end_ms - FORGET_MS)
            state = await anyio.to_thread.run_sync(memory.payloads)
        columns = journal_entry(new, piece.first_ms, values)
        place = {"live_ms": piece.live_ms, "series": len(memory.names)}

        def commit(db: Connection, now: datetime) -> None:
            claims.lock(db, claim)
            if piece.is_afresh:
                events.close(db, watch.tenant_id, watch.id, watch.next_ms)
                storage.clear(db, watch)
            seen = [one[:2] for one in judged]
            events.store(db, watch, seen, now=now, next_ms=piece.end_ms, versions=versions)
            events.close(db, watch.tenant_id, watch.id, piece.end_ms, gone)
            if state is None:
                storage.add_columns(db, watch, piece.first_ms, columns)
            else:
                storage.replace_state(db, watch, state)
            storage.move(db, watch, next_ms=piece.end_ms, **place)

        await self._in_transaction(commit)
        if series <= limit:
            return None
        return f"the query has {series} series, the limit is {limit}: {limit} are judged"

    async def _versions(self, watch: Watch, piece: Piece) -> list[Labels]:
        try:
            das = self.das(watch.tenant_id)
            return await doors.new_versions(das, piece.end_ms - watch.step_ms, VERSION_AGO_MS)
        except ServiceError as error:
            log.warning("versions_unknown", watch=str(watch.id), reason=str(error))
            return []

    async def _alarm(self, claim: WatchClaim, live_ms: int, to_ms: int) -> str | None:
        """The alarm series goes up to the column `to_ms`; why not, when it does not."""
        watch = claim.watch

        def read(db: Connection, now: datetime) -> list[AlarmSeries]:
            from_ms = max(storage.alarm_ms(db, watch) or live_ms, to_ms - ALARMS_MADE_UP_MS)
            rows = events.lasting(db, watch.id, from_ms, to_ms)
            return doors.alarms(watch, rows, from_ms, to_ms, now)

        def mark(db: Connection, _now: datetime) -> None:
            claims.lock(db, claim)
            storage.mark_alarmed(db, watch, to_ms)

        series = await self._in_transaction(read)
        try:
            await doors.write_alarms(self.dis(watch.tenant_id), series)
        except ServiceError as error:
            log.warning("alarms_not_written", watch=str(watch.id), reason=str(error))
            return f"alarm series not written: {error}"
        await self._in_transaction(mark)
        return None

    def _remember(self, identity: UUID, memory: Memory) -> None:
        """The memory is the last to be forgotten; the oldest go until all are within the bound."""
        self.memories[identity] = memory
        self.memories.move_to_end(identity)
        while sum(one.size for one in self.memories.values()) > self.settings.watch_remembered_max:
            self.memories.popitem(last=False)

    async def _in_transaction(self, act: Callable[[Connection, datetime], T]) -> T:
        def work() -> T:
            with transaction(self.engine) as db:
                return act(db, self.clock(db))

        return await anyio.to_thread.run_sync(work)
