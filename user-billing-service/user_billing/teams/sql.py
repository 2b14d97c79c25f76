"""SQL of teams and attribution inside one organisation; who is due, across them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Row, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import rows
from user_billing.teams import tables as t
from user_billing.teams.rules import DueHour, Hour, Rule, Shares, Weights

_RULES = TypeAdapter(list[Rule])
_DUE: Final = text("""
SELECT u.hour, u.revision FROM billing.usage_hour u
  LEFT JOIN billing.attribution_hour a ON a.org_id = u.org_id AND a.hour = u.hour
 WHERE u.org_id = :org AND u.source = 'dis' AND u.meter = 'samples'
   AND u.hour >= :since AND u.hour < :before
   AND (a.hour IS NULL OR a.revision < u.revision OR a.version < :version)
 ORDER BY u.hour DESC LIMIT :most
""")
_HOURS: Final = text("""
SELECT date_trunc(:step, u.hour, 'UTC') AS start, u.hour, u.meter, u.quantity
  FROM billing.usage_hour u
 WHERE u.org_id = :org AND u.source = 'dis' AND u.hour >= :start AND u.hour < :end
 ORDER BY u.hour, u.meter
""")


def teams(session: Session, org: UUID) -> Sequence[Row[Any]]:
    """Every team, also archived ones, by name."""
    by_name = (func.lower(t.team.c.name), t.team.c.id)
    return session.execute(select(t.team).where(t.team.c.org_id == org).order_by(*by_name)).all()


def versions(session: Session, org: UUID, limit: int) -> Sequence[Row[Any]]:
    """The latest rule sets, newest first."""
    return rows.latest(session, t.attribution_version, org, limit, "n")


def newest(session: Session, org: UUID) -> tuple[int, list[Rule]]:
    """The number of the rule set in force, 0 without one, and its rules in order."""
    for row in versions(session, org, 1):
        return row.n, _RULES.validate_python(row.rules)
    return 0, []


def stored(rules: Sequence[Rule]) -> Any:
    """The rules as a version keeps them."""
    return _RULES.dump_python(list(rules), mode="json")


def with_rules(session: Session) -> list[UUID]:
    """Organisations that have a rule set; in the role of the directory."""
    v = t.attribution_version.c
    return list(session.execute(select(v.org_id).group_by(v.org_id).order_by(v.org_id)).scalars())


def due(
    session: Session, org: UUID, *, since: datetime, version: int, now: datetime, most: int
) -> list[DueHour]:
    """Hours that are over and were not split as they are, newest first."""
    before = now - timedelta(hours=1)
    given = {"org": org, "since": since, "before": before, "version": version, "most": most}
    return [DueHour(*row) for row in session.execute(_DUE, given)]


def put_shares(
    session: Session, org: UUID, hour: datetime, shares: Shares, *, version: int, revision: int
) -> None:
    """The hour is split like this, unless a later version or revision split it."""
    counts = {team: [one.samples, one.series] for team, one in shares.items()}
    statement = upsert(t.attribution_hour).values(
        org_id=org, hour=hour, version=version, revision=revision, shares=counts
    )
    h, new = t.attribution_hour.c, statement.excluded
    session.execute(
        statement.on_conflict_do_update(
            constraint=t.attribution_hour.primary_key,
            set_={"version": new.version, "revision": new.revision, "shares": new.shares},
            where=(h.version <= new.version) & (h.revision <= new.revision),
        )
    )


def shares(
    session: Session, org: UUID, start: datetime, end: datetime
) -> Mapping[datetime, Shares]:
    """Of each hour in [start, end) that was split."""
    h = t.attribution_hour.c
    stored = select(h.hour, h.shares).where(h.org_id == org, h.hour >= start, h.hour < end)
    return {
        hour: {team: Weights(*numbers) for team, numbers in of.items()}
        for hour, of in session.execute(stored)
    }


def hours(
    session: Session, org: UUID, start: datetime, end: datetime, step: str
) -> list[tuple[datetime, Hour]]:
    """(start of its step, hour) of each meter that dis counts, in [start, end)."""
    given = {"org": org, "start": start, "end": end, "step": step}
    return [
        (row.start, Hour(row.hour, row.meter, row.quantity))
        for row in session.execute(_HOURS, given)
    ]
