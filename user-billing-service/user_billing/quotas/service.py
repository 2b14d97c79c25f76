"""Quotas set, checked and told; forecasts of what they count."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import Row
from sqlalchemy.orm import Session

from user_billing import access
from user_billing.audit import service as audit
from user_billing.db import rows
from user_billing.db.session import BoundSession, Room, within
from user_billing.errors import BadInput, NotFound
from user_billing.members import standing
from user_billing.meters.rules import BY_NAME, plain
from user_billing.model import Actor, Principal
from user_billing.organisations import sql as organisations_sql
from user_billing.quotas import forecast as forecasts
from user_billing.quotas import rules, sql
from user_billing.quotas import tables as t
from user_billing.quotas.forecast import Forecast
from user_billing.quotas.rules import Action, Cap, Quota
from user_billing.rating.model import Json, Period
from user_billing.webhooks.outbox import emit
from user_billing.webhooks.rules import EventType

log = structlog.get_logger()
CHECK_PAUSE: Final = timedelta(minutes=1)
BATCH: Final = 200
BATCHES_MAX: Final = 100
"""Quotas at a time, and times in a round: 20,000 a minute and replica."""
CHECKER: Final = Actor("service:ubs")


@dataclass(frozen=True, slots=True)
class Fired:
    """A threshold that was told in this period."""

    threshold: int
    fired_at: datetime


@dataclass(frozen=True, slots=True)
class QuotaState:
    """A quota and where it stands. percent: whole ones of the limit that are used.

    days_left: whole days until the limit is reached, None when not in this period.
    """

    quota: Quota
    forecast: Forecast
    percent: int
    days_left: int | None
    fired: list[Fired]


@dataclass(frozen=True, slots=True)
class Standing:
    """All quotas of an organisation, and what they cap now; None for nothing."""

    period: Period
    quotas: list[QuotaState]
    cap: Cap | None


class Quotas(Room):
    """The quotas of all organisations."""

    def standing(self, org: UUID) -> Standing:
        """The organisation's quotas with forecasts."""
        now = self._clock.now()
        month = rules.month(now)
        with self._database.organisation(org) as session:
            fired = sql.fired(session, org, month.start)
            states = [_state(session, org, quota, now, fired) for quota in sql.quotas(session, org)]
            row = rows.one(session, t.cap, org)
        cap = Cap(row.min_interval_ms, row.blocked, row.since) if row else None
        return Standing(month, states, cap)

    def forecast(self, org: UUID, meter: str) -> Forecast:
        """What a meter will have counted at the end of the month. Raises BadInput."""
        if meter not in BY_NAME:
            raise BadInput(field="meter", value=meter, known=sorted(BY_NAME))
        with self._database.organisation(org) as session:
            return _forecast(session, org, meter, self._clock.now())

    def put(self, principal: Principal, org: UUID, quota: Quota) -> None:
        """This is the quota of its meter and action; thresholds no longer reached are told again.

        org: the caller's own, or any to an operator. Raises BadInput, NotFound.
        """
        now, wanted = self._clock.now(), rules.checked(quota)
        since = rules.month(now).start
        with self._changing(principal, org, now) as session:
            rows.put(
                session, t.quota,
                {"org_id": org, "meter": wanted.meter, "action": wanted.action.value},
                {"limit_quantity": wanted.limit, "thresholds": list(wanted.thresholds),
                 "interval_ms": wanted.interval_ms, "checked_at": now},
            )  # fmt: skip
            used = _used(session, org, since, wanted.meter)
            sql.rearm(session, org, wanted, since, rules.reached(wanted, used))
            self._check(session, org, now)
            audit.record(
                session, org, principal.actor, "quota.set", f"{wanted.meter} {wanted.action}",
                now=now, limit=plain(wanted.limit), interval_ms=wanted.interval_ms,
                thresholds=[str(threshold) for threshold in wanted.thresholds],
            )  # fmt: skip

    def remove(self, principal: Principal, org: UUID, meter: str, action: Action) -> None:
        """There is no such quota any more, and nothing that it capped. Raises NotFound."""
        now = self._clock.now()
        with self._changing(principal, org, now) as session:
            if not rows.remove(session, t.quota, org, meter=meter, action=action.value):
                raise NotFound(meter=meter, action=action)
            self._check(session, org, now)
            target = f"{meter} {action}"
            audit.record(session, org, principal.actor, "quota.removed", target, now=now)

    def check_due(self) -> None:
        """Organisations whose last check is CHECK_PAUSE ago are checked.

        Safe on all replicas at once. One that fails waits for its next turn.
        """
        for _ in range(BATCHES_MAX):
            with self._database.directory() as session:
                due = sql.claim_due(session, self._clock.now(), CHECK_PAUSE, BATCH)
            for org in sorted(due):
                try:
                    self.check(org)
                except Exception:
                    log.exception("quota_check_failed", organisation=str(org))
            if not due:
                break

    def check(self, org: UUID) -> None:
        """Thresholds that are reached are told, once a period, and the cap is what it should be."""
        with self._database.organisation(org) as session:
            self._check(session, org, self._clock.now())

    def _check(self, session: BoundSession, org: UUID, now: datetime) -> None:
        since, quotas = rules.month(now).start, sql.quotas(session, org, lock=True)
        meters = {quota.meter for quota in quotas}
        used = {meter: _used(session, org, since, meter) for meter in meters}
        for quota in quotas:
            for threshold in rules.reached(quota, used[quota.meter]):
                is_news = rows.add_new(
                    session, t.alert_fired, org, meter=quota.meter, action=quota.action.value,
                    period=since, threshold=threshold, fired_at=now,
                )  # fmt: skip
                if is_news:
                    payload = _alert(_state(session, org, quota, now, ()), threshold)
                    emit(session, org, EventType.QUOTA_REACHED, payload, now)
        cap = rules.cap(quotas, used)
        if sql.put_cap(session, org, cap, now):
            audit.record(
                session, org, CHECKER, "quota.cap", "limits", now=now,
                min_interval_ms=cap.min_interval_ms, blocked=cap.blocked,
            )  # fmt: skip

    @contextmanager
    def _changing(self, principal: Principal, org: UUID, now: datetime) -> Iterator[BoundSession]:
        """A transaction inside `org`; the caller is still who they were, and logged in lately."""
        access.require_fresh(principal, now)
        with self._database.directory() as session:
            with within(session, principal.tenant):
                standing.require(session, principal)
            with within(session, org):
                if organisations_sql.organisation(session, org) is None:
                    raise NotFound(organisation=org)
                yield session


def _used(session: Session, org: UUID, since: datetime, meter: str) -> Fraction:
    hours = sql.hours(session, org, meter, since)
    return forecasts.total(hours.values(), is_level=meter in rules.LEVELS)


def _state(
    session: Session, org: UUID, quota: Quota, now: datetime, fired: Sequence[Row[Any]]
) -> QuotaState:
    forecast = _forecast(session, org, quota.meter, now, quota)
    days_left = None if forecast.reached_at is None else max(0, (forecast.reached_at - now).days)
    percent = int(Fraction(forecast.used) * 100 / Fraction(quota.limit))
    own = [
        Fired(row.threshold, row.fired_at)
        for row in fired
        if (row.meter, row.action) == (quota.meter, quota.action)
    ]
    return QuotaState(quota, forecast, percent, days_left, own)


def _forecast(
    session: Session, org: UUID, meter: str, now: datetime, quota: Quota | None = None
) -> Forecast:
    month = rules.month(now)
    since = min(month.start, forecasts.start_of_hour(now) - forecasts.HISTORY)
    hours = sql.hours(session, org, meter, since)
    limit = None if quota is None else quota.limit
    return forecasts.forecast(hours, now, month, is_level=meter in rules.LEVELS, limit=limit)


def _alert(state: QuotaState, threshold: int) -> dict[str, Json]:
    quota, forecast = state.quota, state.forecast
    reached_at = forecast.reached_at
    return {
        "meter": quota.meter,
        "action": quota.action.value,
        "threshold": threshold,
        "used": plain(forecast.used),
        "limit": plain(quota.limit),
        "period_start": forecast.period.start.isoformat(),
        "period_end": forecast.period.end.isoformat(),
        "forecast": plain(forecast.quantity),
        "reached_at": None if reached_at is None else reached_at.isoformat(),
        "days_left": state.days_left,
    }
