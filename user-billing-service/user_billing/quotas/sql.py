"""SQL of quotas and anomalies inside one organisation; what goes across them says so."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, case, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import rows
from user_billing.quotas import tables as q
from user_billing.quotas.rules import Action, Cap, Quota
from user_billing.usage import tables as usage_t

_Q, _F, _C, _A = q.quota.c, q.alert_fired.c, q.cap.c, q.anomaly.c


def quotas(session: Session, org: UUID, *, lock: bool = False) -> list[Quota]:
    """The quotas. lock: nobody else changes or locks them meanwhile."""
    statement = select(q.quota).where(_Q.org_id == org).order_by(_Q.meter, _Q.action.desc())
    return [
        Quota(r.meter, Action(r.action), r.limit_quantity, tuple(r.thresholds), r.interval_ms)
        for r in session.execute(statement.with_for_update() if lock else statement)
    ]


def hours(session: Session, org: UUID, meter: str, since: datetime) -> dict[datetime, Decimal]:
    """Quantity by hour from `since` on, of all sources together."""
    u = usage_t.usage_hour.c
    of_meter = (u.org_id == org, u.meter == meter, u.hour >= since)
    by_hour = select(u.hour, func.sum(u.quantity)).where(*of_meter).group_by(u.hour)
    return {row[0]: row[1] for row in session.execute(by_hour)}


def rearm(session: Session, org: UUID, quota: Quota, since: datetime, still: Sequence[int]) -> None:
    """Of the period from `since` only the thresholds in `still` count as told."""
    which = (_F.org_id == org, _F.meter == quota.meter, _F.action == quota.action.value)
    session.execute(
        delete(q.alert_fired).where(*which, _F.period == since, _F.threshold.not_in(still))
    )


def fired(session: Session, org: UUID, since: datetime) -> Sequence[Row[Any]]:
    """The thresholds told in the period from `since`, in order."""
    fired = select(q.alert_fired).where(_F.org_id == org, _F.period == since)
    return session.execute(fired.order_by(_F.meter, _F.action, _F.threshold)).all()


def put_cap(session: Session, org: UUID, cap: Cap, now: datetime) -> bool:
    """Whether this is another cap than before."""
    if cap == Cap():
        return bool(rows.remove(session, q.cap, org))
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


def last_anomaly(session: Session, org: UUID, meter: str) -> Row[Any] | None:
    """The one of this meter that began last."""
    of_meter = select(q.anomaly).where(_A.org_id == org, _A.meter == meter)
    return session.execute(of_meter.order_by(_A.since.desc()).limit(1)).one_or_none()


def follow_anomaly(
    session: Session, org: UUID, anomaly_id: UUID, values: Mapping[str, Any]
) -> str | None:
    """The state of the anomaly, which has these values from here on; None: it was not running.

    One that is dismissed stays so.
    """
    state = case((_A.state == "dismissed", _A.state), else_=values["state"])
    key = {"id": anomaly_id, "until": None}
    after = rows.changed(session, q.anomaly, org, key, **{**values, "state": state})
    return after[0].state if after else None


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
