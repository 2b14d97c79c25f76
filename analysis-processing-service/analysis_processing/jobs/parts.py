"""A job's parts in Postgres, each chunk under its number, fenced by the claim's token.

begin (computing) ──▶ store: chunk and its series in one transaction ──▶ digests, series_of
       └─ the worker is lost ──▶ claims.claim: suspects
"""

import json
from collections.abc import Sequence

from sqlalchemy import Connection, Text, cast, delete, func, insert, select

from analysis_processing.analyses.block import SeriesResult
from analysis_processing.jobs import results
from analysis_processing.jobs.chunks import Chunk, Outcome
from analysis_processing.jobs.claims import hold, update_claimed
from analysis_processing.jobs.tables import chunk, job, series
from analysis_processing.model import Claim


def suspects(db: Connection, claim: Claim) -> list[str]:
    """Digests, in hex, of chunks that were being computed when a worker was lost, once a loss."""
    return list(db.scalar(select(job.c.suspects).where(job.c.id == claim.job.id)) or ())


def begin(db: Connection, claim: Claim, digest: bytes) -> None:
    """The chunk is being computed. Raises LeaseLost."""
    update_claimed(db, claim, computing=func.array_append(job.c.computing, digest.hex()))


def store(
    db: Connection,
    claim: Claim,
    stored: Chunk,
    outcome: Outcome,
    *,
    digest: bytes,
    written_series: Sequence[str] = (),
) -> None:
    """The chunk's part is this outcome, whatever stood there before. Raises LeaseLost.

    digest: an equal chunk is not computed again; b"" when it must be. written_series: the metrics
    that the job has written by now.
    """
    hold(db, claim)
    mine = {"job_id": claim.job.id, "chunk_no": stored.number, "tenant_id": claim.job.tenant}
    numbers = [stored.number] if stored.is_half else [stored.number, stored.number + 1]
    for table in (chunk, series):
        old = (table.c.job_id == claim.job.id, table.c.chunk_no.in_(numbers))
        db.execute(delete(table).where(*old))
    content = {
        "series": len(outcome.rows),
        "payload": outcome.payload,
        "digest": digest,
        "points": outcome.points,
    }
    db.execute(insert(chunk).values(**mine, **content))
    rows = [mine | {"row_no": row_no} | row for row_no, row in enumerate(outcome.rows)]
    if rows:
        db.execute(insert(series), rows)
    computing = func.array_remove(job.c.computing, stored.digest.hex())
    update_claimed(db, claim, written_series=list(written_series), computing=computing)


def digests(db: Connection, claim: Claim) -> dict[int, bytes]:
    """What each stored part was computed from, by number."""
    rows = db.execute(
        select(chunk.c.chunk_no, chunk.c.digest).where(chunk.c.job_id == claim.job.id)
    )
    return {number: bytes(digest) for number, digest in rows}


def series_of(db: Connection, claim: Claim, number: int) -> list[SeriesResult]:
    """The results of a stored part, without columns, in its order."""
    c = series.c
    rows = db.execute(
        select(c.labels, c.score, cast(c.detail, Text).label("detail"), c.note)
        .where(c.job_id == claim.job.id, c.chunk_no == number)
        .order_by(c.row_no)
    )
    return [
        results.series_of({**row, "detail": json.loads(row["detail"], parse_int=whole)})
        for row in rows.mappings()
    ]


def whole(digits: str) -> float:
    """The number; Postgres writes 1e300 as an integer, which no array would take."""
    return int(digits) if len(digits) < 19 else float(digits)
