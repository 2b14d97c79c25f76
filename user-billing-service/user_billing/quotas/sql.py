"""SQL of quotas and anomalies inside one organisation; three statements go across (they say so)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from sqlalchemy import Row, case, delete, func, insert, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.quotas import tables as q
from user_billing.quotas.rules import LEVELS, Action, Cap, Quota
from user_billing.usage import tables as usage_t

_Q, _F, _C, _N, _A = q.quota.c, q.alert_fired.c, q.cap.c, q.notice.c, q.anomaly.c


def quotas(session: Session, org: UUID, *, lock: bool = False) -> list[Quota]:
    """The quotas. lock: nobody else changes or locks them meanwhile."""
    statement = select(q.quota).where(_Q.org_id == org).order_by(_Q.meter, _Q.action.desc())
    rows = session.execute(statement.with_for_update() if lock else statement)
    return [
        Quota(r.meter, Action(r.action), r.limit_quantity, tuple(r.thresholds), r.interval_ms)
        for r in rows
    ]


def put(session: Session, org: UUID, quota: Quota, now: datetime) -> None:
    """This is the quota of its meter and action."""
    given = {
        "limit_quantity": quota.limit,
        "thresholds": list(quota.thresholds),
        "interval_ms": quota.interval_ms,
        "checked_at": now,
    }
    key = {"org_id": org, "meter": quota.meter, "action": quota.action.value}
    statement = upsert(q.quota).values(**key, **given)
    session.execute(statement.on_conflict_do_update(constraint=q.quota.primary_key, set_=given))


def remove(session: Session, org: UUID, meter: str, action: Action) -> bool:
    """Whether there was such a quota; what was told of it goes with it."""
    which = (_Q.org_id == org, _Q.meter == meter, _Q.action == action.value)
    return bool(session.execute(delete(q.quota).where(*which).returning(_Q.meter)).all())


def used(
    session: Session, org: UUID, since: datetime, meters: Collection[str]
) -> dict[str, Fraction]:
    """By meter what counts from `since` on: the sum of its hours, of a level the highest."""
    counted = dict.fromkeys(meters, Fraction(0))
    for meter in counted:
        of = [Fraction(quantity) for quantity in hours(session, org, meter, since).values()]
        counted[meter] = max(of, default=Fraction(0)) if meter in LEVELS else sum(of, Fraction(0))
    return counted


def hours(session: Session, org: UUID, meter: str, since: datetime) -> dict[datetime, Decimal]:
    """Quantity by hour from `since` on, of all sources together."""
    u = usage_t.usage_hour.c
    rows = session.execute(
        select(u.hour, func.sum(u.quantity).label("quantity"))
        .where(u.org_id == org, u.meter == meter, u.hour >= since)
        .group_by(u.hour)
    )
    return {row.hour: row.quantity for row in rows}


def fire(
    session: Session, org: UUID, quota: Quota, since: datetime, at: int, *, now: datetime
) -> bool:
    """Whether the threshold `at` was not told yet in the period from `since`; it is told now."""
    key = {"org_id": org, "meter": quota.meter, "action": quota.action.value}
    done = session.execute(
        upsert(q.alert_fired)
        .values(**key, period=since, threshold=at, fired_at=now)
        .on_conflict_do_nothing()
        .returning(_F.threshold)
    )
    return done.one_or_none() is not None


def rearm(session: Session, org: UUID, quota: Quota, since: datetime, still: Sequence[int]) -> None:
    """Of the period from `since` only the thresholds in `still` count as told."""
    which = (_F.org_id == org, _F.meter == quota.meter, _F.action == quota.action.value)
    session.execute(
        delete(q.alert_fired).where(*which, _F.period == since, _F.threshold.not_in(still))
    )


def fired(session: Session, org: UUID, since: datetime) -> Sequence[Row[Any]]:
    """The thresholds told in the period from `since`, in order."""
    return session.execute(
        select(q.alert_fired)
        .where(_F.org_id == org, _F.period == since)
        .order_by(_F.meter, _F.action, _F.threshold)
    ).all()


def put_cap(session: Session, org: UUID, cap: Cap, now: datetime) -> bool:
    """Whether this is another cap than before."""
    if cap == Cap():
        return bool(
            session.execute(delete(q.cap).where(_C.org_id == org).returning(_C.org_id)).all()
        )
    given = {"min_interval_ms": cap.min_interval_ms, "blocked": cap.blocked, "since": now}
    is_other = or_(
        _C.min_interval_ms.is_distinct_from(cap.min_interval_ms),
        _C.blocked.is_distinct_from(cap.blocked),
    )
    done = session.execute(
        upsert(q.cap)
        .values(org_id=org, **given)
        .on_conflict_do_update(index_elements=[_C.org_id], set_=given, where=is_other)
        .returning(_C.org_id)
    )
    return done.one_or_none() is not None


def cap(session: Session, org: UUID) -> Row[Any] | None:
    """What is capped now; None when nothing is."""
    return session.execute(select(q.cap).where(_C.org_id == org)).one_or_none()


def claim_due(session: Session, now: datetime, pause: timedelta, limit: int) -> set[UUID]:
    """Organisations whose quotas are due for a check; no other replica gets them until then.

    Across organisations; at most `limit` quotas at a time, longest unchecked first.
    """
    due = (
        select(_Q.org_id, _Q.meter, _Q.action)
        .where(_Q.checked_at <= now - pause)
        .order_by(_Q.checked_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte()
    )
    key = tuple_(_Q.org_id, _Q.meter, _Q.action)
    claim = update(q.quota).where(key.in_(select(due))).values(checked_at=now)
    return set(session.execute(claim.returning(_Q.org_id)).scalars())


def add_notice(session: Session, org: UUID, values: Mapping[str, Any]) -> None:
    """Something that the organisation should know: id, type, at, payload."""
    session.execute(insert(q.notice).values(org_id=org, **values))


def sweep_notices(session: Session, before: datetime, limit: int) -> None:
    """At most `limit` notices from before that time are gone. Across organisations."""
    old = select(_N.org_id, _N.id).where(_N.at < before).limit(limit)
    session.execute(delete(q.notice).where(tuple_(_N.org_id, _N.id).in_(old)))


# Anomalies


def last_anomaly(session: Session, org: UUID, meter: str) -> Row[Any] | None:
    """The one of this meter that began last."""
    return session.execute(
        select(q.anomaly)
        .where(_A.org_id == org, _A.meter == meter)
        .order_by(_A.since.desc())
        .limit(1)
    ).one_or_none()


def begin_anomaly(session: Session, values: Mapping[str, Any]) -> bool:
    """Whether this anomaly was not noted yet."""
    statement = upsert(q.anomaly).values(**values).on_conflict_do_nothing()
    return session.execute(statement.returning(_A.id)).one_or_none() is not None


def follow_anomaly(
    session: Session, org: UUID, anomaly_id: UUID, values: Mapping[str, Any]
) -> str | None:
    """The state of the anomaly, which has these values from here on; None: it was not running.

    One that is dismissed stays so.
    """
    which = (_A.org_id == org, _A.id == anomaly_id, _A.until.is_(None))
    state = case((_A.state == "dismissed", _A.state), else_=values["state"])
    statement = update(q.anomaly).where(*which).values(**{**values, "state": state})
    after: str | None = session.scalar(statement.returning(_A.state))
    return after


def dismiss_anomaly(session: Session, org: UUID, anomaly_id: UUID) -> Row[Any] | None:
    """The anomaly, dismissed; None when there is none of that id."""
    which = (_A.org_id == org, _A.id == anomaly_id)
    statement = update(q.anomaly).where(*which).values(state="dismissed")
    return session.execute(statement.returning(*q.anomaly.c)).one_or_none()


def anomalies(
    session: Session, org: UUID | None, before: UUID | None, limit: int
) -> Sequence[Row[Any]]:
    """The newest anomalies below id `before`. org: None for all of them, across organisations."""
    statement = select(q.anomaly).order_by(_A.id.desc()).limit(limit)
    if org is not None:
        statement = statement.where(_A.org_id == org)
    if before is not None:
        statement = statement.where(_A.id < before)
    return session.execute(statement).all()
