"""The nouns of analysis: a job, its progress, what it found. Imports none of our modules."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

Labels = dict[str, str]


class State(StrEnum):
    """Where a job stands.

    queued ──claim──▶ running ──▶ succeeded
      ▲  │               │ ├────▶ failed ────┐
      │  └──▶ cancelled ◀┘ │                 │ retry
      └────────────────────┴─────────────────┘   IO trouble, a lost worker, or a person's wish
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to know: everything that decides the answer, and nothing else."""

    kind: str
    query: str
    start_ms: int
    end_ms: int
    step_ms: int
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Evaluation times in the range; both ends count, as in Prometheus's `query_range`."""
        return (self.end_ms - self.start_ms) // self.step_ms + 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `done` of `total` pieces of work, and seconds left when that is known."""

    done: int = 0
    total: int = 0
    message: str = ""
    eta_s: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stands in the database."""

    id: UUID
    tenant: UUID
    request: Request
    state: State
    progress: Progress
    attempts: int
    error: str | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested: bool = False
    written_series: tuple[str, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to run a job until its lease ends; `token` fences off earlier holders."""

    job: Job
    token: UUID


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that happened in a series, or will: one alarm, one row of the event feed.

    kind: spike, shift, drift, stuck, missing, spread, rhythm, pattern, full, change … end_ms: None
    while it lasts. size: how far beyond usual, in usual deviations or the analysis' own unit.
    text: a sentence for people, with the numbers in it.
    """

    kind: str
    start_ms: int
    end_ms: int | None
    peak_ms: int
    size: float
    value: float | None
    expected: float | None
    lower: float | None
    upper: float | None
    direction: str
    text: str
