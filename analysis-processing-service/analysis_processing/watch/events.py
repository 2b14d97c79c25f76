"""Events: episodes of a tenant's series, as a feed; acknowledged, silenced, swept.

An event is one row from its begin on: what is judged later of the same episode (same watch, series
and start) changes that row, so whatever is done twice is there once. A silence marks events
whose labels, with `watch` and `kind`, hold all of its matchers; they are stored all the same.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from analysis_processing.errors import EventNotFound, SilenceNotFound, TooManySilences
from analysis_processing.model import Finding, Labels

COMPANION_STEPS = 10
COMPANIONS_MAX = 5
SILENCES_MAX = 200
SWEEP_ROWS_MAX = 1_000

STORE = text("""
INSERT INTO analysis.event
  (tenant_id, watch_id, watch, labels, kind, start_ms, end_ms, peak_ms, size, value, expected,
   lower, upper, direction, text, created_at, closed_ms)
SELECT :tenant, :watch_id, :watch, r.*, :now, CASE WHEN r.end_ms IS NOT NULL THEN :next_ms END
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
  labels jsonb, kind text, start_ms bigint, end_ms bigint, peak_ms bigint, size float8,
  value float8, expected float8, lower float8, upper float8, direction text, text text)
ON CONFLICT (watch_id, start_ms, md5(labels::text)) DO UPDATE SET
  former_kinds = CASE WHEN event.kind = EXCLUDED.kind THEN event.former_kinds
    ELSE array_append(array_remove(event.former_kinds, event.kind), event.kind) END,
  kind = EXCLUDED.kind, end_ms = EXCLUDED.end_ms, closed_ms = EXCLUDED.closed_ms,
  peak_ms = EXCLUDED.peak_ms, size = EXCLUDED.size,
  value = EXCLUDED.value, expected = EXCLUDED.expected, lower = EXCLUDED.lower,
  upper = EXCLUDED.upper, direction = EXCLUDED.direction, text = EXCLUDED.text
""")
# What began shortly before: the oldest first, since causes come before what they cause.
EXPLAIN = text("""
UPDATE analysis.event e SET because_of = nullif(coalesce((
    SELECT jsonb_agg(c.found) FROM (
      SELECT jsonb_build_object('event', o.id, 'watch', o.watch, 'labels', o.labels,
                                'kind', o.kind, 'start_ms', o.start_ms) AS found
      FROM analysis.event o
      WHERE o.tenant_id = e.tenant_id
        AND o.start_ms >= e.start_ms - :reach_ms AND o.start_ms < e.start_ms
      ORDER BY o.start_ms, o.size DESC LIMIT :companions) c), '[]')
  || coalesce((
    SELECT jsonb_agg(v) FROM jsonb_array_elements(CAST(:versions AS jsonb)) v
    WHERE e.labels @> (v - 'version') OR NOT e.labels ?| ARRAY['job', 'service']), '[]'), '[]')
WHERE e.watch_id = :watch_id AND e.created_at = :now AND e.because_of IS NULL
""")
MARK = """
UPDATE analysis.event e SET silenced_until = (
  SELECT max(s.until) FROM analysis.silence s
  WHERE s.tenant_id = e.tenant_id AND s.until > :now
    AND e.labels || jsonb_build_object('watch', e.watch, 'kind', e.kind) @> s.matchers)
WHERE e.tenant_id = :tenant AND (e.end_ms IS NULL OR e.created_at = :now)
"""
SHOWN = (
    "(silenced_until IS NULL OR silenced_until <= coalesce(to_timestamp(end_ms / 1000.0), :now))"
)


def number(value: float) -> float | None:
    """A number that JSON knows; ±Inf and NaN are told by the text alone."""
    return value if math.isfinite(value) else None


def store(
    db: Connection,
    watch: Any,
    findings: Sequence[tuple[Labels, Finding]],
    *,
    now: datetime,
    next_ms: int,
    versions: Sequence[Mapping[str, str]] = (),
) -> None:
    """These episodes of the watch are in the feed, once each, marked where they are silenced.

    next_ms: the first column that was not judged. versions: labels and `version` of
    what runs a new version since shortly before.
    """
    if not findings:
        return
    rows = {
        (json.dumps(labels, sort_keys=True), one.start_ms): {
            "labels": labels,
            **{
                name: number(value) if isinstance(value, float) else value
                for name, value in asdict(one).items()
            },
            "size": number(one.size) or 0.0,
        }
        for labels, one in findings
    }
    mine = {"tenant": watch.tenant_id, "watch_id": watch.id, "watch": watch.name, "now": now}
    db.execute(STORE, {**mine, "next_ms": next_ms, "rows": json.dumps([*rows.values()])})
    reach_ms = COMPANION_STEPS * watch.step_ms
    bounds = {"reach_ms": reach_ms, "companions": COMPANIONS_MAX, "versions": json.dumps(versions)}
    db.execute(EXPLAIN, {"watch_id": watch.id, "now": now, **bounds})
    db.execute(text(MARK + "AND e.watch_id = :watch_id"), mine)


def close(
    db: Connection,
    tenant: UUID,
    watch_id: UUID,
    at_ms: int | None,
    series: Sequence[Labels] | None = None,
) -> None:
    """Nothing of the watch, or of these series of it, is open: it ended at `at_ms`."""
    query = text("""
        UPDATE analysis.event SET end_ms = greatest(start_ms, CAST(:at AS bigint)), closed_ms = :at
        WHERE tenant_id = :tenant AND watch_id = :id AND end_ms IS NULL AND (:all OR labels IN (
          SELECT * FROM jsonb_array_elements(CAST(:series AS jsonb))))""")
    chosen = {"all": series is None, "series": json.dumps(series or [])}
    db.execute(query, {"tenant": tenant, "id": watch_id, "at": at_ms, **chosen})


def lasting(db: Connection, watch_id: UUID, from_ms: int, to_ms: int) -> Sequence[RowMapping]:
    """Events of the watch that began before `to_ms` and were not over before `from_ms`."""
    query = text("""
        SELECT labels, kind, former_kinds, start_ms, end_ms, silenced_until FROM analysis.event
        WHERE watch_id = :id AND start_ms < :to AND (end_ms IS NULL OR closed_ms > :from)""")
    return db.execute(query, {"id": watch_id, "from": from_ms, "to": to_ms}).mappings().all()


def feed(
    db: Connection,
    tenant: UUID,
    filters: Mapping[str, Any],
    *,
    after: tuple[int, UUID] | None,
    limit: int,
    now: datetime,
) -> Sequence[RowMapping]:
    """The newest events first, those after the place `after` (start_ms, id).

    filters: state (open, closed or all), silenced (whether they are shown), and where not None
    kind, watch, since_ms and until_ms (what lasted in between), q (part of text or a label).
    """
    values: dict[str, Any] = {"tenant": tenant, "limit": limit, "now": now}
    wheres = ["tenant_id = :tenant"]
    conditions = {
        "kind": "kind = :kind",
        "watch": "watch = :watch",
        "since_ms": "(end_ms IS NULL OR end_ms >= :since_ms)",
        "until_ms": "start_ms <= :until_ms",
        "q": "strpos(lower(text || ' ' || watch || ' ' || labels::text), lower(:q)) > 0",
    }
    for name, condition in conditions.items():
        if filters[name] is not None:
            wheres.append(condition)
            values[name] = filters[name]
    if filters["state"] != "all":
        wheres.append("end_ms IS NULL" if filters["state"] == "open" else "end_ms IS NOT NULL")
    if not filters["silenced"]:
        wheres.append(SHOWN)
    if after is not None:
        wheres.append("(start_ms, id) < (:after_ms, :after_id)")
        values |= {"after_ms": after[0], "after_id": after[1]}
    query = (
        f"SELECT * FROM analysis.event WHERE {' AND '.join(wheres)}"  # noqa: S608  clauses of ours
        " ORDER BY start_ms DESC, id DESC LIMIT :limit"
    )
    return db.execute(text(query), values).mappings().all()


def acknowledge(db: Connection, tenant: UUID, identity: UUID, by: str, now: datetime) -> RowMapping:
    """The event, acknowledged by whoever was first; raises EventNotFound."""
    query = text("""
        UPDATE analysis.event SET acknowledged_by = coalesce(acknowledged_by, :by),
          acknowledged_at = coalesce(acknowledged_at, :now)
        WHERE tenant_id = :tenant AND id = :id RETURNING *""")
    values = {"tenant": tenant, "id": identity, "by": by, "now": now}
    row = db.execute(query, values).mappings().first()
    if row is None:
        raise EventNotFound(id=identity)
    return row


def silence(db: Connection, tenant: UUID, wanted: Mapping[str, Any], now: datetime) -> RowMapping:
    """A new silence; open events that it matches are marked. Raises TooManySilences.

    wanted: matchers, until, comment and by.
    """
    if len(silences(db, tenant, now)) >= SILENCES_MAX:
        raise TooManySilences(limit=SILENCES_MAX)
    query = text("""
        INSERT INTO analysis.silence (tenant_id, matchers, until, comment, created_by, created_at)
        VALUES (:tenant, CAST(:matchers AS jsonb), :until, :comment, :by, :now) RETURNING *""")
    values = {**wanted, "matchers": json.dumps(wanted["matchers"]), "tenant": tenant, "now": now}
    row = db.execute(query, values).mappings().one()
    db.execute(text(MARK), {"tenant": tenant, "now": now})
    return row


def silences(db: Connection, tenant: UUID, now: datetime) -> Sequence[RowMapping]:
    """The tenant's silences that have not run out, the next to end first."""
    query = text("""
        SELECT * FROM analysis.silence WHERE tenant_id = :tenant AND until > :now
        ORDER BY until, id""")
    return db.execute(query, {"tenant": tenant, "now": now}).mappings().all()


def end_silence(db: Connection, tenant: UUID, identity: UUID, now: datetime) -> None:
    """The silence is gone, and open events that only it silenced speak. Raises SilenceNotFound."""
    query = text("DELETE FROM analysis.silence WHERE tenant_id = :tenant AND id = :id")
    if db.execute(query, {"tenant": tenant, "id": identity}).rowcount != 1:
        raise SilenceNotFound(id=identity)
    db.execute(text(MARK), {"tenant": tenant, "now": now})


def sweep(db: Connection, now: datetime, days: int) -> int:
    """How many old events are gone, a bounded number; silences that ran out go after as long."""
    values = {"before": now - timedelta(days=days), "rows": SWEEP_ROWS_MAX}
    query = text("""
        DELETE FROM analysis.event WHERE id IN (
          SELECT id FROM analysis.event WHERE created_at < :before AND end_ms IS NOT NULL
          LIMIT :rows FOR UPDATE SKIP LOCKED)""")
    db.execute(text("DELETE FROM analysis.silence WHERE until < :before"), values)
    return db.execute(query, values).rowcount
