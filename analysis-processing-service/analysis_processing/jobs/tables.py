"""The tables of schema `analysis` as SQLAlchemy sees them; migrations/ makes them."""

from dataclasses import fields

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from analysis_processing.chassis.database import Schema
from analysis_processing.model import Job, Progress, Request, State

SCHEMA = Schema("analysis", "analysis_processing.migrate")
metadata = MetaData(schema=SCHEMA.name)

job = Table(
    "job",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("query", Text, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("step_ms", BigInteger, nullable=False),
    Column("params", JSONB, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    Column("progress_done", Integer, nullable=False),
    Column("progress_total", Integer, nullable=False),
    Column("progress_message", Text, nullable=False),
    Column("eta_s", Integer),
    Column("cancel_requested", Boolean, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("run_after", DateTime(timezone=True), nullable=False),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("claim", Uuid),
    Column("claimed_by", Text),
    Column("lease_until", DateTime(timezone=True)),
    Column("written_series", ARRAY(Text), nullable=False),
    Column("summary", JSON, nullable=False),
    Column("computing", ARRAY(Text), nullable=False),
    Column("suspects", ARRAY(Text), nullable=False),
)

chunk = Table(
    "chunk",
    metadata,
    Column("job_id", Uuid, ForeignKey(job.c.id, ondelete="CASCADE"), primary_key=True),
    Column("chunk_no", Integer, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("series", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("points", BigInteger, nullable=False),
)

series = Table(
    "series",
    metadata,
    Column("job_id", Uuid, ForeignKey(job.c.id, ondelete="CASCADE"), primary_key=True),
    Column("chunk_no", Integer, primary_key=True),
    Column("row_no", Integer, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("score", Double, nullable=False),
    Column("findings", Integer, nullable=False),
    Column("labels", JSONB, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("note", Text),
)

usage_hour = Table(
    "usage_hour",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("runs", BigInteger, nullable=False),
    Column("delivered", BigInteger, nullable=False),
)

AS_STORED: tuple[str, ...] = ("id", "attempts", "error", "created_by", "created_at", "started_at")
AS_STORED += ("finished_at", "cancel_requested", "summary")


def to_job(row: Row[tuple[object, ...]]) -> Job:
    """The noun behind a row of `job`."""
    columns = dict(row._mapping)  # noqa: SLF001  SQLAlchemy's documented accessor
    return Job(
        tenant=columns["tenant_id"],
        request=Request(**{one.name: columns[one.name] for one in fields(Request)}),
        state=State(columns["state"]),
        progress=Progress(
            columns["progress_done"],
            columns["progress_total"],
            columns["progress_message"],
            columns["eta_s"],
        ),
        written_series=tuple(columns["written_series"]),
        **{name: columns[name] for name in AS_STORED},
    )
