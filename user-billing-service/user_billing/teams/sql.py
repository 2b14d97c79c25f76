"""SQL of teams and attribution inside one organisation; who is due, across them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.teams import tables as t
from user_billing.teams.rules import Hour, Rule, Shares, Weights

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
    return session.execute(
        select(t.team)
        .where(t.team.c.org_id == org)
        .order_by(func.lower(t.team.c.name), t.team.c.id)
    ).all()


def add_team(session: Session, org: UUID, team: UUID, name: str, now: datetime) -> bool:
    """Whether there is this team now; False when a living one has the name."""
    done = session.execute(
        upsert(t.team)
        .values(org_id=org, id=team, name=name, created_at=now)
        .on_conflict_do_nothing()
        .returning(t.team.c.id)
    ).one_or_none()
    return done is not None


def archive_team(session: Session, org: UUID, team: UUID, now: datetime) -> str | None:
    """The name of the team that is archived by this call; None when there is no living one."""
    return session.execute(
        update(t.team)
        .where(t.team.c.org_id == org, t.team.c.id == team, t.team.c.archived_at.is_(None))
        .values(archived_at=now)
        .returning(t.team.c.name)
    ).scalar_one_or_none()


def newest(session: Session, org: UUID) -> tuple[int, list[Rule]]:
    """The number of the rule set in force, 0 without one, and its rules in order."""
    v = t.attribution_version
    row = session.execute(
        select(v).where(v.c.org_id == org).order_by(v.c.n.desc()).limit(1)
    ).one_or_none()
    if row is None:
        return 0, []
    return row.n, [Rule(one["team"], one["selector"]) for one in row.rules]


def versions(session: Session, org: UUID, limit: int) -> Sequence[Row[Any]]:
    """The latest rule sets, newest first."""
    v = t.attribution_version
    return session.execute(
        select(v).where(v.c.org_id == org).order_by(v.c.n.desc()).limit(limit)
    ).all()


def add_version(
    session: Session, org: UUID, n: int, rules: Sequence[Rule], *, by: str, now: datetime
) -> None:
    """The rule set in force is this one."""
    stored = [{"team": rule.team, "selector": rule.selector} for rule in rules]
    session.execute(
        insert(t.attribution_version).values(
            org_id=org, n=n, rules=stored, created_at=now, created_by=by
        )
    )


def put_faults(session: Session, org: UUID, n: int, faults: Sequence[str]) -> None:
    """These are the rules of that version that could not be read."""
    v = t.attribution_version
    session.execute(update(v).where(v.c.org_id == org, v.c.n == n).values(faults=list(faults)))


def with_rules(session: Session) -> list[UUID]:
    """Organisations that have a rule set; in the role of the directory."""
    v = t.attribution_version.c
    return list(session.execute(select(v.org_id).group_by(v.org_id).order_by(v.org_id)).scalars())


def due(
    session: Session, org: UUID, *, since: datetime, version: int, now: datetime, most: int
) -> list[tuple[datetime, int]]:
    """Hours that are over, and their revisions, that were not split as they are; newest first."""
    given = {
        "org": org, "since": since, "before": now - timedelta(hours=1), "version": version,
        "most": most,
    }  # fmt: skip
    return [(row.hour, row.revision) for row in session.execute(_DUE, given)]


def put_shares(
    session: Session, org: UUID, hour: datetime, shares: Shares, *, version: int, revision: int
) -> None:
    """The hour is split like this, unless a later version or revision split it."""
    stored = {team: [one.samples, one.series] for team, one in shares.items()}
    statement = upsert(t.attribution_hour).values(
        org_id=org, hour=hour, version=version, revision=revision, shares=stored
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
    h = t.attribution_hour
    rows = session.execute(
        select(h.c.hour, h.c.shares).where(h.c.org_id == org, h.c.hour >= start, h.c.hour < end)
    )
    return {
        row.hour: {team: Weights(*numbers) for team, numbers in row.shares.items()} for row in rows
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
