"""What was asked and what it cost: one log line a query, and the latest of each tenant in memory.

A line says what a query cost and how it ended, never what it asked: a text names labels and their
values. Its tenant sees the texts at `/api/v1/status/queries`; at level debug a line has them.
"""

import itertools
import logging
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import structlog

from data_api.admission import Holding
from data_api.chassis.kinds import Kind, ServiceError
from data_api.model import SAMPLE_BYTES, Cost

TEXT_CHARS_MAX: Final = 1024
LISTED_MAX: Final = 20  # of each list of a tenant
TENANTS_MAX: Final = 1000
SLOW_S: Final = 1.0
RUNNING: Final = "running"
ANSWERED: Final = "answered"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReadText:
    """The kind of a read and its text."""

    kind: str
    text: str = ""


@dataclass(slots=True, eq=False)
class Entry:
    """One query, running or over.

    where: `process` or `worker`. answer_bytes: of an answer that is whole in memory.
    """

    read_text: ReadText
    cost: Cost
    holding: Holding
    number: int = 0
    began_s: float = field(default_factory=time.time)
    duration_s: float | None = None
    outcome: str = RUNNING
    where: str = "process"
    answer_bytes: int = 0

    def shown(self) -> dict[str, Any]:
        """What its tenant is told of it."""
        return {
            "id": self.number,
            "text": self.read_text.text[:TEXT_CHARS_MAX],
            "start": round(self.began_s, 3),
            **self.facts(),
        }

    def facts(self) -> dict[str, Any]:
        """How it goes or went, without its text."""
        running_s = max(0.0, time.time() - self.began_s)
        return {
            "kind": self.read_text.kind,
            "outcome": self.outcome,
            "where": self.where,
            "duration_s": round(running_s if self.duration_s is None else self.duration_s, 6),
            "wait_s": round(self.cost.wait_s, 6),
            "cpu_s": round(self.cost.cpu_s, 6),
            "series": self.cost.series,
            "samples": self.cost.samples,
            "peak_bytes": self.holding.most * SAMPLE_BYTES,
            "answer_bytes": self.answer_bytes,
        }


@dataclass(slots=True)
class _Tenant:
    active: dict[int, Entry] = field(default_factory=dict)
    costliest: list[Entry] = field(default_factory=list)
    slow: deque[Entry] = field(default_factory=lambda: deque(maxlen=LISTED_MAX))
    failed: deque[Entry] = field(default_factory=lambda: deque(maxlen=LISTED_MAX))


class QueryLog:
    """The queries of each tenant: those in flight, and LISTED_MAX of the others in each list."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._tenants: dict[UUID, _Tenant] = {}  # the longest unheard of first

    def begin(self, tenant: UUID, entry: Entry) -> None:
        """The query runs, until `end`."""
        entry.number = next(self._numbers)
        state = self._tenants.pop(tenant, None) or _Tenant()
        self._tenants[tenant] = state
        state.active[entry.number] = entry
        self._make_room()

    def end(self, tenant: UUID, entry: Entry, exc: BaseException | None) -> None:
        """It ended, by `exc` or with its answer."""
        entry.outcome = _outcome(exc)
        entry.duration_s = time.time() - entry.began_s
        text = entry.read_text.text
        if len(text) > TEXT_CHARS_MAX:
            entry.read_text = replace(entry.read_text, text=text[:TEXT_CHARS_MAX])
        state = self._tenants[tenant]
        del state.active[entry.number]
        _remember(state, entry)
        is_usual = entry.outcome == ANSWERED and entry.duration_s < SLOW_S
        if not is_usual or log.get_effective_level() <= logging.DEBUG:
            (log.debug if is_usual else log.info)("query", tenant=str(tenant), **entry.facts())
            log.debug("query_text", text=entry.read_text.text)

    def shown(self, tenant: UUID) -> dict[str, list[dict[str, Any]]]:
        """The tenant's queries: active, by cost, slow and failed, the latest of these first."""
        state = self._tenants.get(tenant, _Tenant())

        def listed(entries: Iterable[Entry]) -> list[dict[str, Any]]:
            return [entry.shown() for entry in entries]

        return {
            "active": listed(state.active.values()),
            "costliest": listed(state.costliest),
            "slow": listed(reversed(state.slow)),
            "failed": listed(reversed(state.failed)),
        }

    def _make_room(self) -> None:
        if len(self._tenants) > TENANTS_MAX:
            idle = (one for one, state in self._tenants.items() if not state.active)
            if (oldest := next(idle, None)) is not None:
                del self._tenants[oldest]


def _outcome(exc: BaseException | None) -> str:
    if exc is None:
        return ANSWERED
    if isinstance(exc, ServiceError):
        return str(exc.kind)
    # What is no Exception is a cancelled task, or a reader that left.
    return str(Kind.INTERNAL if isinstance(exc, Exception) else Kind.CANCELED)


def _remember(state: _Tenant, entry: Entry) -> None:
    if entry.duration_s is not None and entry.duration_s >= SLOW_S:
        state.slow.append(entry)
    if entry.outcome != ANSWERED:
        state.failed.append(entry)
    costliest = state.costliest
    if len(costliest) < LISTED_MAX or entry.cost.cpu_s > costliest[-1].cost.cpu_s:
        costliest.append(entry)
        costliest.sort(key=lambda one: -one.cost.cpu_s)
        del costliest[LISTED_MAX:]
