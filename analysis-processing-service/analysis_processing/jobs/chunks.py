"""The unit of progress, retry, resume, quarantine and fan-out: some series over the whole range.

    rows of the block + Question ──compute──▶ Outcome     any thread, any process, any machine

Pure. A chunk is known by the digest of all that it is computed from, so what is stored under an
equal digest need not be computed again.
"""

import hashlib
import importlib
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog

from analysis_processing.analyses.block import Block, Part, SeriesResult, Written
from analysis_processing.analyses.parameters import Analysis
from analysis_processing.chassis.kinds import ServiceError
from analysis_processing.jobs import results
from analysis_processing.model import Labels, Request

log = structlog.get_logger()
SERIES_MAX = 256
POINTS = 650_000
NOT_JUDGED = "could not be judged"
ALARM = "_alarm"
"""How the names of series end that are written back whatever their number."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every chunk of a job; picklable.

    marks: labels that written series get, so that two questions about the same series stay apart.
    """

    module: str
    params: dict[str, Any]
    context: Any
    marks: Labels
    writes_back: bool
    fingerprint: bytes

    @classmethod
    def of(cls, analysis: Analysis, request: Request, context: Any) -> "Question":
        """The question of a job, over a context from `prepare`."""
        fields = [request.kind, analysis.version, request.params, request.start_ms, request.step_ms]
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
        digest.update(pickle.dumps(context, protocol=5))
        query_hash = hashlib.sha256(request.query.encode()).hexdigest()[:8]
        return cls(
            module=analysis.module,
            params=request.params,
            context=context,
            marks={"job_kind": request.kind, "query_hash": query_hash},
            writes_back=request.params.get("write_back", False),
            fingerprint=digest.digest(),
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Series [first, last) of a block; `is_half` of a chunk that was split."""

    number: int
    first: int
    last: int
    digest: bytes
    is_half: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is stored of a chunk, its results without columns, and the series to write back.

    alarms: written whatever their number. scores: all others, within the bound of a job.
    """

    payload: bytes
    rows: list[dict[str, Any]]
    series: list[SeriesResult]
    points: int
    alarms: list[Written]
    scores: list[Written]


def chunk_series(steps: int) -> int:
    """Series in a chunk: at most SERIES_MAX, fewer when the range is long."""
    return max(1, min(SERIES_MAX, POINTS // max(steps, 1)))


def plan(block: Block, is_rate: Sequence[bool], question: Question) -> list[Chunk]:
    """The chunks of a block. Numbers are even; a half has its chunk's and the one after."""
    width, count = chunk_series(block.values.shape[1]), len(block.labels)
    return [
        Chunk(
            2 * place,
            first,
            min(first + width, count),
            digest(block, is_rate, question, first, first + width),
        )
        for place, first in enumerate(range(0, count, width))
    ]


def halves(
    chunk: Chunk, block: Block, is_rate: Sequence[bool], question: Question
) -> Iterator[Chunk]:
    """The two halves of a chunk of at least two series."""
    middle = (chunk.first + chunk.last) // 2
    for number, (first, last) in enumerate(((chunk.first, middle), (middle, chunk.last))):
        of_half = digest(block, is_rate, question, first, last)
        yield Chunk(chunk.number + number, first, last, of_half, is_half=True)


def digest(
    block: Block, is_rate: Sequence[bool], question: Question, first: int, last: int
) -> bytes:
    """SHA-256 of everything that the outcome of these series depends on."""
    text = json.dumps([block.labels[first:last], is_rate[first:last]], sort_keys=True)
    of = hashlib.sha256(question.fingerprint + text.encode())
    of.update(block.values[first:last].data)
    return of.digest()


def compute(question: Question, block: Block, is_rate: Sequence[bool]) -> Outcome:
    """The outcome of a chunk. A series that cannot be judged gets a note and fails no other."""
    part, written = judge(importlib.import_module(question.module), question, block)
    for row, one in enumerate(part.series[: len(is_rate)]):
        if is_rate[row] and one.note is None:
            part.series[row] = replace(one, facts=one.facts | {"taken_as": "rate"})
    points = int(np.count_nonzero(~np.isnan(block.values)))
    marked = [replace(one, labels=one.labels | question.marks) for one in written]
    return outcome(part, points, marked)


def judge(module: Any, question: Question, block: Block) -> tuple[Part, list[Written]]:
    """What `run` and `written` give; what they cannot take is halved until it stands alone."""
    try:
        part: Part = module.run(block, question.params, question.context)
        return part, module.written(part, question.params) if question.writes_back else []
    except Exception as error:  # noqa: BLE001  whatever one series does to an analysis
        count = len(block.labels)
        if count > 1:
            first, written = judge(module, question, block.rows(0, count // 2))
            last, more = judge(module, question, block.rows(count // 2, count))
            is_judged = any(one.note is None for one in first.series)
            series = [*first.series, *last.series]
            return replace(first if is_judged else last, series=series), written + more
        log.warning("series_not_judged", module=question.module, error=repr(error)[:300])
        reason = str(error) if isinstance(error, ServiceError) else type(error).__name__
        axis = (block.start_ms, block.step_ms, block.values.shape[1])
        return Part(*axis, [SeriesResult(block.labels[0], note=f"{NOT_JUDGED}: {reason}")]), []


def noted(block: Block, labels: list[Labels], note: str) -> Outcome:
    """The outcome of series that were not judged, for a reason."""
    series = [SeriesResult(one, note=note) for one in labels]
    part = Part(block.start_ms, block.step_ms, block.values.shape[1], series)
    return outcome(part)


def outcome(part: Part, points: int = 0, written: Sequence[Written] = ()) -> Outcome:
    """A part as it is stored and passed on."""
    rows = results.rows(part)
    return Outcome(
        payload=results.encode(part),
        rows=rows,
        series=[results.series_of(row) for row in rows],
        points=points,
        alarms=[one for one in written if one.labels["__name__"].endswith(ALARM)],
        scores=[one for one in written if not one.labels["__name__"].endswith(ALARM)],
    )
