"""Imports as rows: made by uploads, claimed by workers, read by their tenant.

    uploading ─▶ queued ─▶ running ─▶ succeeded │ failed │ cancelled
                    ▲─────────┘ stopped, trouble of the store, or the lease ran out

A worker changes a row only under its claim: who lost the lease can change nothing any more. All
times are the database's. $1 and $2 are the tenant and the import; of a worker's statements, RENEW
to LEAVE, the import and its claim.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

from data_ingest.chassis.identity import Limits
from data_ingest.model import Sender
from data_ingest.store.tables import SET_RETENTION

UNFINISHED_MAX: Final = 20
"""Of one tenant, uploads under way included."""
FINISHED_MAX: Final = 80
"""Of one tenant; the oldest go first, and all after 32 days."""
UPLOAD_MAX_S: Final = 7200
LEASE_S: Final = 60
ATTEMPTS_MAX: Final = 8
"""Without progress in between: about five minutes of trouble, or a row that kills its worker."""

_COLUMNS: Final = (
    "import_id, state, options, content_type, bytes, progress, error, created_at, started_at,"
    " finished_at"
)
_CREATE: Final = """
INSERT INTO metrics.import (import_id, tenant_id, sender, options, content_type, limits, object_key)
SELECT $1, $2, $3, $4, $5, $6::jsonb, $7
 WHERE (SELECT count(*) FROM metrics.import WHERE tenant_id = $2 AND finished_at IS NULL) < $8
"""
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('imports:' || $1::text, 0))"
# $3 bytes. No row where it was deleted during the upload.
ENQUEUE: Final = f"""
UPDATE metrics.import
   SET bytes = $3, run_after = now(),
       state = CASE WHEN is_cancelled THEN 'cancelled' ELSE 'queued' END,
       finished_at = CASE WHEN is_cancelled THEN now() END
 WHERE tenant_id = $1 AND import_id = $2 AND state = 'uploading' RETURNING {_COLUMNS}
"""  # noqa: S608 - columns of ours
TRIM: Final = """
DELETE FROM metrics.import WHERE tenant_id = $1 AND import_id IN (
  SELECT import_id FROM metrics.import WHERE tenant_id = $1 AND finished_at IS NOT NULL
   ORDER BY finished_at DESC OFFSET $2)
"""
# One of a tenant at a time: the oldest whose tenant has none running.
_CLAIM: Final = f"""
WITH due AS (
  SELECT import_id FROM metrics.import AS one
   WHERE run_after <= now() AND (state = 'queued' OR state = 'running' AND lease_until < now())
     AND NOT EXISTS (SELECT FROM metrics.import AS other
                      WHERE other.tenant_id = one.tenant_id AND other.state = 'running'
                        AND other.lease_until >= now())
   ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
UPDATE metrics.import AS one
   SET state = 'running', claim = $1, lease_until = now() + make_interval(secs => {LEASE_S}),
       attempts = attempts + 1, started_at = coalesce(started_at, now())
  FROM due WHERE one.import_id = due.import_id
RETURNING one.import_id, tenant_id, sender, options, content_type, limits, object_key, bytes,
          progress, attempts, claim
"""  # noqa: S608 - a number of ours
# Whether it was cancelled; no row where the claim is lost, or the import deleted.
RENEW: Final = f"""
UPDATE metrics.import SET lease_until = now() + make_interval(secs => {LEASE_S})
 WHERE import_id = $1 AND claim = $2 RETURNING is_cancelled
"""  # noqa: S608 - a number of ours
ADVANCE: Final = """
UPDATE metrics.import
   SET progress = $3::jsonb, attempts = 0,
       report = CASE $4::text WHEN '[]' THEN report ELSE report || $4::text::jsonb END
 WHERE import_id = $1 AND claim = $2
"""
# $3 the state it is left in, $4 why, $5 seconds until any worker may go on with a queued one.
LEAVE: Final = """
UPDATE metrics.import
   SET state = $3::text, error = $4, run_after = now() + make_interval(secs => $5),
       finished_at = CASE $3::text WHEN 'queued' THEN NULL ELSE now() END,
       claim = NULL, lease_until = NULL
 WHERE import_id = $1 AND claim = $2
"""
CANCEL: Final = f"""
UPDATE metrics.import
   SET is_cancelled = true, state = CASE state WHEN 'queued' THEN 'cancelled' ELSE state END,
       finished_at = CASE state WHEN 'queued' THEN now() ELSE finished_at END
 WHERE tenant_id = $1 AND import_id = $2 RETURNING {_COLUMNS}
"""  # noqa: S608 - columns of ours
DELETE: Final = "DELETE FROM metrics.import WHERE tenant_id = $1 AND import_id = $2 RETURNING 1"
ONE: Final = f"SELECT {_COLUMNS} FROM metrics.import WHERE tenant_id = $1 AND import_id = $2"  # noqa: S608
LIST: Final = f"""
SELECT {_COLUMNS} FROM metrics.import WHERE tenant_id = $1 ORDER BY created_at DESC, import_id
"""  # noqa: S608 - columns of ours
REPORT: Final = "SELECT report FROM metrics.import WHERE tenant_id = $1 AND import_id = $2"
FORGET: Final = f"""
DELETE FROM metrics.import WHERE finished_at < now() - interval '32 days'
    OR state = 'uploading' AND created_at < now() - interval '{UPLOAD_MAX_S} seconds'
"""  # noqa: S608 - a number of ours


@dataclass(slots=True)
class Progress:
    """How far an import is; of a dry run, what would be accepted. rows: all up to this are done."""

    rows: int = 0
    bytes: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    reported: int = 0
    series: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Job:
    """An import that this process works on, under its claim. attempts: since the last progress."""

    import_id: UUID
    claim: UUID
    sender: Sender
    options: str
    content_type: str
    limits: Limits
    object_key: str
    bytes: int
    attempts: int
    progress: Progress


def object_key(tenant: UUID, import_id: UUID) -> str:
    """Where the upload is, until the import has ended."""
    return f"{tenant}/imports/{import_id}.upload"


async def create(
    conn: Any, sender: Sender, options: str, content_type: str, limits: Limits
) -> UUID | None:
    """The id of a new import, whose upload may begin; None where the tenant has too many.

    The plan's retention holds from now on, or an older one would delete what is imported.
    """
    import_id = uuid4()
    async with conn.transaction():
        await conn.execute(_LOCK, str(sender.tenant))
        key, plan = object_key(sender.tenant, import_id), json.dumps(asdict(limits))
        facts = import_id, sender.tenant, sender.name, options, content_type, plan, key
        status = await conn.execute(_CREATE, *facts, UNFINISHED_MAX)
        await conn.execute(SET_RETENTION, sender.tenant, limits.retention_days or 0)
    return import_id if status.endswith(" 1") else None


async def claim(conn: Any) -> Job | None:
    """The next import that is due, now this process's for LEASE_S; None where there is none."""
    row = await conn.fetchrow(_CLAIM, uuid4())
    if row is None:
        return None
    facts = dict(row)
    return Job(
        sender=Sender(facts.pop("tenant_id"), facts.pop("sender")),
        limits=Limits.from_json(json.loads(facts.pop("limits"))),
        progress=Progress(**json.loads(facts.pop("progress"))),
        **facts,
    )


async def advance(conn: Any, job: Job, report: Sequence[dict[str, Any]]) -> None:
    """The progress of `job` is durable, and the report has more entries."""
    job.attempts = 0
    progress = json.dumps(asdict(job.progress))
    await conn.execute(ADVANCE, job.import_id, job.claim, progress, json.dumps(report))
