"""SQL of log-in attempts, in the role of the directory."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.db import rows
from user_billing.model import Throttled


def lock_throttle(session: Session, buckets: Sequence[str], now: datetime) -> dict[str, Throttled]:
    """The state of `buckets`, each row locked, in one order so that two log-ins never deadlock."""
    names = sorted(buckets)
    session.execute(
        upsert(t.throttle)
        .values([{"bucket": name, "failures": 0, "last_at": now} for name in names])
        .on_conflict_do_nothing()
    )
    query = select(t.throttle).where(t.throttle.c.bucket.in_(names)).order_by(t.throttle.c.bucket)
    rows = session.execute(query.with_for_update())
    return {r.bucket: Throttled(r.failures, r.last_at, r.blocked_until) for r in rows}


def save_throttle(session: Session, bucket: str, state: Throttled) -> None:
    """The bucket is in `state`."""
    rows.change(session, t.throttle, {"bucket": bucket}, **asdict(state))


def forgive(session: Session, *, reset: Sequence[str], step_back: Sequence[str]) -> None:
    """A log-in succeeded: `reset` start again from nothing, `step_back` lose the attempt it cost.

    A closed shared bucket stays closed: else an attacker could open it with an own account.
    """
    one_less = {"failures": func.greatest(t.throttle.c.failures - 1, 0)}
    for bucket in sorted(reset):
        rows.change(session, t.throttle, {"bucket": bucket}, failures=0, blocked_until=None)
    for bucket in sorted(step_back):
        rows.change(session, t.throttle, {"bucket": bucket}, **one_less)
