"""Recording rules over history: jobs that write what a rule would have written.

    start ── written ── next ── a chunk: one range query, written through dis, noted ── … ── end

A job is resumable: `next_ms` moves on when a chunk is durable. It is idempotent: who dies in
between leaves it where it was, and the same samples written again change nothing.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import structlog

from data_api.chassis.kinds import ServiceError
from data_api.errors import BadRequest
from data_api.model import QueryLimits, Result
from data_api.rules import recording, vectors
from data_api.rules.acting import Acting
from data_api.rules.alerting import AlertState, RuleError
from data_api.rules.model import RecordingRule, Sample
from data_api.rules.repository import connected
from data_api.rules.single import read_rule
from data_api.store.catalogue import Database

EVALUATIONS_MAX: Final = 600_000  # of one job: a year of minutes
RUNNING_MAX: Final = 10  # jobs of one tenant
SHOWN_MAX: Final = 100  # jobs of one tenant that are remembered
CHUNK: Final = 500  # evaluations; half as many after each failure in a row
CHUNK_SAMPLES: Final = 50_000  # after which a chunk ends early: they are all in memory
SHARE: Final = 2  # of what the plan takes, a second and at once, a job uses one part of so many
SERIES_MAX: Final = 10_000  # of one evaluation
FAILURES_MAX: Final = 12  # in a row, in 20 minutes or more, after which a job has failed; a rule
# that cannot be evaluated fails at once
ERROR_CHARS_MAX: Final = 1000
CHUNK_S: Final = 60.0  # what a chunk may take, and who is late is taken for dead
log = structlog.get_logger()

_START: Final = """
INSERT INTO rules.backfill
  (backfill_id, tenant_id, rule, start_ms, end_ms, step_ms, next_ms, chunk, record)
SELECT $1, $2, $3, $4, $5, $6, $4, $7, $8
WHERE (SELECT count(*) FROM rules.backfill WHERE tenant_id = $2 AND status = 'running') < $9
RETURNING *
"""
_PRUNE: Final = """
DELETE FROM rules.backfill
WHERE tenant_id = $1 AND status <> 'running' AND (
  created_at < now() - interval '30 days' OR backfill_id NOT IN (
    SELECT backfill_id FROM rules.backfill WHERE tenant_id = $1
    ORDER BY created_at DESC, backfill_id LIMIT $2))
"""
_LIST: Final = """
SELECT * FROM rules.backfill WHERE tenant_id = $1 ORDER BY created_at DESC, backfill_id LIMIT $2
"""
_CANCEL: Final = """
UPDATE rules.backfill SET status = 'cancelled'
WHERE tenant_id = $1 AND backfill_id = $2 AND status = 'running'
"""
# The tenant whose last chunk was longest ago is next, however many jobs others have.
_CLAIM: Final = """
UPDATE rules.backfill SET due_at = now() + make_interval(secs => $1)
WHERE backfill_id = (
  SELECT backfill_id FROM rules.backfill job WHERE status = 'running' AND due_at <= now()
  ORDER BY (SELECT max(due_at) FROM rules.backfill WHERE status = 'running'
    AND tenant_id = job.tenant_id), due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING *
"""
# Where another process has done the same chunk meanwhile, nothing is noted, nor counted twice.
_WRITTEN: Final = """
UPDATE rules.backfill SET next_ms = $3, samples = samples + $4, failures = 0, error = '',
  due_at = now() + make_interval(secs => $6), chunk = $5,
  status = CASE WHEN $3 > end_ms THEN 'done' ELSE 'running' END
WHERE backfill_id = $1 AND next_ms = $2 AND status = 'running'
"""
_FAILED: Final = """
UPDATE rules.backfill SET failures = failures + 1, error = $3, chunk = greatest(chunk / 2, 1),
  due_at = now() + make_interval(secs => 2 ^ least(failures, 8)),
  status = CASE WHEN failures + 1 >= $4 THEN 'failed' ELSE 'running' END
WHERE backfill_id = $1 AND next_ms = $2 AND status = 'running'
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A rule over [start, end] every step; what is before `next_ms` is written."""

    backfill_id: UUID
    tenant_id: UUID
    record: str
    rule: str
    start_ms: int
    end_ms: int
    step_ms: int
    next_ms: int
    chunk: int
    status: str
    samples: int
    error: str

    @classmethod
    def of(cls, row: Any) -> "Job":
        """From its row."""
        return cls(**{name: row[name] for name in cls.__slots__})

    @property
    def progress(self) -> float:
        """How much of it is written, of 1."""
        return min(1.0, (self.next_ms - self.start_ms) / (self.end_ms - self.start_ms + 1))


class Backfills:
    """The jobs of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, tenant: UUID, rule: str, times: tuple[int, int, int], now_ms: int) -> Job:
        """A job of the rule over (start, end, step). Raises BadRequest beyond a bound."""
        start_ms, end_ms, step_ms = times
        record = (await anyio.to_thread.run_sync(read_rule, rule, RecordingRule)).record
        if (evaluations := (end_ms - start_ms) // step_ms + 1) > EVALUATIONS_MAX:
            detail = "too many evaluations: raise the step, or start several jobs"
            raise BadRequest(detail=detail, evaluations=evaluations, limit=EVALUATIONS_MAX)
        if end_ms > now_ms:
            raise BadRequest(detail="the end is in the future, which has no history")
        await self._rows(_PRUNE, tenant, SHOWN_MAX)
        job = uuid.uuid4(), tenant, rule, start_ms, end_ms, step_ms, CHUNK, record
        rows = await self._rows(_START, *job, RUNNING_MAX)
        if not rows:
            raise BadRequest(detail="too many jobs are running", limit=RUNNING_MAX)
        return Job.of(rows[0])

    async def listed(self, tenant: UUID) -> list[Job]:
        """The tenant's jobs of 30 days, the newest first."""
        return [Job.of(row) for row in await self._rows(_LIST, tenant, SHOWN_MAX)]

    async def cancel(self, tenant: UUID, backfill_id: UUID) -> bool:
        """The job goes no further; what is written stays. False when none such was running."""
        return bool(await self._rows(f"{_CANCEL} RETURNING 1", tenant, backfill_id))

    async def run_once(self, acting: Acting) -> bool:
        """One chunk of the job that waits longest is done, or its failure noted; False when no job
        waits. A process that dies with a chunk is waited for CHUNK_S and then replaced.
        """
        rows = await self._rows(_CLAIM, 2 * CHUNK_S)
        if not rows:
            return False
        job = Job.of(rows[0])
        until_ms = min(job.end_ms, job.next_ms + (job.chunk - 1) * job.step_ms)
        try:
            samples, until_ms, pause_s = await _chunk(acting, job, until_ms)
        except Exception as exc:  # noqa: BLE001 - whatever one job does, others go on
            reason = exc.describe() if isinstance(exc, ServiceError) else repr(exc)
            reason = reason.replace("\0", "\\0")[:ERROR_CHARS_MAX]
            log.warning("backfill_failed", job=str(job.backfill_id), reason=reason)
            tries = 1 if isinstance(exc, RuleError | BadRequest) else FAILURES_MAX
            await self._rows(_FAILED, job.backfill_id, job.next_ms, reason, tries)
        else:
            done = (until_ms - job.next_ms) // job.step_ms + 1
            after_ms, chunk = job.next_ms + done * job.step_ms, min(CHUNK, done + 1 + done // 8)
            values = job.next_ms, after_ms, samples, chunk, pause_s
            await self._rows(_WRITTEN, job.backfill_id, *values)
        return True

    async def drain(self, acting: Acting) -> None:
        """Every chunk that is due is done, one after the other."""
        while await self.run_once(acting):
            pass

    async def _rows(self, statement: str, *values: object) -> Sequence[Any]:
        async with connected(self._database) as connection:
            rows: Sequence[Any] = await connection.fetch(statement, *values)
            return rows


async def _chunk(acting: Acting, job: Job, until_ms: int) -> tuple[int, int, float]:
    """Samples are durable up to `until_ms`, or earlier where they are many: how many, until when,
    and how many seconds the tenant's own senders need for their share of the plan.
    """
    ends_s = time.monotonic() + CHUNK_S
    rule = await anyio.to_thread.run_sync(read_rule, job.rule, RecordingRule)
    plan = await acting.plan(job.tenant_id)
    at_once = plan.burst_samples or plan.samples_per_s or CHUNK_SAMPLES * SHARE
    # From one evaluation earlier, so that series that ended since then get their stale marker.
    begin_ms = max(job.start_ms, job.next_ms - job.step_ms)
    samples, written_ms = await acting.over(
        job.tenant_id,
        rule.expr,
        (begin_ms, until_ms, job.step_ms),
        partial(samples_of, rule, job.next_ms, min(CHUNK_SAMPLES, at_once // SHARE)),
        ends_s,
    )
    await acting.write(job.tenant_id, samples, ends_s)
    pause_s = SHARE * len(samples) / plan.samples_per_s if plan.samples_per_s else 0.0
    return len(samples), until_ms if written_ms is None else written_ms, pause_s


def samples_of(
    rule: RecordingRule, from_ms: int, samples_max: int, result: Result, limits: QueryLimits
) -> tuple[Sequence[Sample], int | None]:
    """What the rule writes from `from_ms` on; the time of the last where `samples_max` are reached
    and the rest is left. Raises RuleError.
    """
    samples: list[Sample] = []
    state = AlertState()
    for at_ms, vector in vectors.of_steps(result):
        limits.checkpoint()
        state, new = recording.record(rule, state, vector, at_ms, limit=SERIES_MAX)
        if at_ms >= from_ms:
            samples += new
            if len(samples) >= samples_max:
                return samples, at_ms
    return samples, None
