"""Results put into the database as a worker puts them there, without running anything."""

from datetime import UTC, datetime
from uuid import UUID

import numpy as np
from sqlalchemy import delete, insert, select, update

from analysis_processing.analyses.block import Part, SeriesResult
from analysis_processing.jobs import results
from analysis_processing.jobs.tables import chunk, job, series

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
ASKED = {
    "kind": "anomaly",
    "query": "up",
    "start_ms": NOW_MS - 3_600_000,
    "end_ms": NOW_MS,
    "step_ms": 60_000,
}


def finish(engine, identity, parts, at, *, started_at=None, **more):
    """The job has succeeded with the series of these parts, a chunk each."""
    identity = UUID(str(identity))
    ended = {"state": "succeeded", "started_at": started_at or at, "finished_at": at} | more
    with engine.begin() as db:
        tenant = db.scalar(select(job.c.tenant_id).where(job.c.id == identity))
        db.execute(delete(chunk).where(chunk.c.job_id == identity))
        db.execute(delete(series).where(series.c.job_id == identity))
        db.execute(update(job).where(job.c.id == identity).values(**ended))
        for number, part in enumerate(parts):
            of = {"job_id": identity, "tenant_id": tenant, "chunk_no": number}
            facts = {"series": len(part.series), "digest": b"", "points": 0}
            payload = results.encode(part)
            db.execute(insert(chunk).values(**of, **facts, payload=payload))
            if rows := [of | row for row in results.rows(part)]:
                db.execute(insert(series), rows)


def ranked_parts(scores, steps=3):
    """Parts whose series are called by their place, with these scores (a list of a part's)."""
    parts, number = [], 0
    for of_part in scores:
        made = []
        for score in of_part:
            columns = {"values": np.arange(steps) + number}
            made.append(SeriesResult({"n": str(number)}, score, columns=columns))
            number += 1
        parts.append(Part(0, 1000, steps, made))
    return parts
