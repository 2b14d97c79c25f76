"""The guard: each hour every organisation's usage is held against its own profile."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import Row
from sqlalchemy.orm import Session

from user_billing.audit import service as audit
from user_billing.db import rows
from user_billing.db.session import Room
from user_billing.errors import NotFound
from user_billing.identifiers import new_id
from user_billing.members import standing
from user_billing.meters.rules import plain, quantity
from user_billing.model import Audience, Principal
from user_billing.money.rules import EXACT
from user_billing.organisations import sql as organisations_sql
from user_billing.quotas import anomalies, rules, sql
from user_billing.quotas import forecast as forecasts
from user_billing.quotas import tables as t
from user_billing.quotas.anomalies import Hours, State
from user_billing.usage import sql as usage_sql
from user_billing.webhooks.outbox import emit
from user_billing.webhooks.rules import EventType

log = structlog.get_logger()
PAGE_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An anomaly as it is told. row: of `billing.anomaly`. factor: actual by expected.

    if_it_stays, if_it_ends: quantity at the end of the month; None once it ended. proposed_credit:
    samples above the expected, once it ended by itself.
    """

    row: Row[Any]
    factor: Decimal
    if_it_stays: Decimal | None = None
    if_it_ends: Decimal | None = None
    proposed_credit: Decimal | None = None


class Guard(Room):
    """The anomalies of all organisations."""

    _looked_at: datetime | None = None

    def look_due(self) -> None:
        """Every organisation's hours are looked at, once this process sees another whole one.

        An hour is whole once dis reported it. Idempotent, and safe on all replicas at once.
        """
        with self._database.directory() as session:
            complete = usage_sql.watermarks(session)[Audience.DIS]
            if complete is None:
                return
            hour = forecasts.start_of_hour(complete) - forecasts.HOUR
            orgs = [] if hour == self._looked_at else organisations_sql.organisation_ids(session)
        for org in orgs:
            try:
                self.look(org, hour)
            except Exception:
                log.exception("guard_look_failed", organisation=str(org))
        self._looked_at = hour

    def look(self, org: UUID, hour: datetime) -> None:
        """Anomalies of the organisation are as its hours up to and with `hour` show them."""
        now, since = self._clock.now(), hour - anomalies.HISTORY - anomalies.LASTS
        with self._database.organisation(org) as session:
            hours = {meter: sql.hours(session, org, meter, since) for meter in anomalies.FLOORS}
            samples = self._look(session, org, "samples", hours, hour=hour, now=now)
            # More series are more samples: one incident is told once.
            if not samples:
                self._look(session, org, "active_series", hours, hour=hour, now=now)

    def _look(
        self,
        session: Session,
        org: UUID,
        meter: str,
        hours: Mapping[str, Hours],
        *,
        hour: datetime,
        now: datetime,
    ) -> bool:
        """Whether an anomaly of this meter goes on."""
        last = sql.last_anomaly(session, org, meter)
        running = last if last is not None and last.until is None else None
        if running is not None:
            since = running.since
        else:
            after = None if last is None else last.until
            since = anomalies.beginning(meter, hours[meter], hour, after)
            if since is None:
                return False
        episode = anomalies.episode(hours[meter], since, hour)
        times = anomalies.factor(episode.actual, episode.expected)
        end = hour + forecasts.HOUR
        series = anomalies.factor(*anomalies.totals(hours["active_series"], since, end))
        values: dict[str, Any] = {
            "state": episode.state.value,
            "kind": anomalies.kind(meter, times, series).value,
            "until": episode.until,
            "expected": episode.expected,
            "actual": episode.actual,
            "series_factor": quantity(series),
        }
        payload = {
            "meter": meter,
            "kind": values["kind"],
            "state": episode.state.value,
            "since": since.isoformat(),
            "factor": f"{quantity(times):.2f}",
            "excess": plain(EXACT.subtract(episode.actual, episode.expected)),
        }
        if running is None:
            values |= {"id": new_id(), "meter": meter, "since": since}
            if rows.add_new(session, t.anomaly, org, **values):
                is_level = meter in rules.LEVELS
                stays, ends = outlook(hours[meter], since, times, now, is_level=is_level)
                payload |= {"if_it_stays": plain(stays), "if_it_ends": plain(ends)}
                emit(session, org, EventType.GUARD_OPENED, payload, now)
        elif sql.follow_anomaly(session, org, running.id, values) in {"ended", "lasting"}:
            emit(session, org, EventType.GUARD_ENDED, payload, now)
        return episode.until is None

    def page(self, org: UUID, before: UUID | None, limit: int) -> list[Anomaly]:
        """The organisation's newest anomalies below id `before`."""
        now = self._clock.now()
        with self._database.organisation(org) as session:
            rows = sql.anomalies(session, org, before, limit)
            return [_told(row, session, now) for row in rows]

    def page_of_all(self, before: UUID | None, limit: int) -> list[Anomaly]:
        """The newest anomalies of all organisations, without forecasts, for the operator."""
        with self._database.directory() as session:
            return [_told(row) for row in sql.anomalies(session, None, before, limit)]

    def dismiss(self, principal: Principal, anomaly_id: UUID) -> None:
        """The anomaly was meant: no more is told of it, no credit proposed. Raises NotFound."""
        org = principal.tenant
        with self._database.organisation(org) as session:
            standing.require(session, principal)
            dismissed = rows.changed(session, t.anomaly, org, {"id": anomaly_id}, state="dismissed")
            if not dismissed:
                raise NotFound(anomaly=anomaly_id)
            (row,) = dismissed
            audit.record(
                session, org, principal.actor, "anomaly.dismissed", f"anomaly:{anomaly_id}",
                now=self._clock.now(), meter=row.meter, since=row.since.isoformat(),
            )  # fmt: skip


def _told(row: Row[Any], session: Session | None = None, now: datetime | None = None) -> Anomaly:
    """session, now: to forecast with, inside the organisation."""
    times = anomalies.factor(row.actual, row.expected)
    factor = quantity(times)
    if row.state == State.ENDED and row.meter == rules.CAPPED:
        return Anomaly(row, factor, proposed_credit=EXACT.subtract(row.actual, row.expected))
    if row.until is not None or session is None or now is None:
        return Anomaly(row, factor)
    since = min(rules.month(now).start, row.since - forecasts.HISTORY)
    hours = sql.hours(session, row.org_id, row.meter, since)
    is_level = row.meter in rules.LEVELS
    return Anomaly(row, factor, *outlook(hours, row.since, times, now, is_level=is_level))


def outlook(
    hours: Hours, since: datetime, times: Fraction, now: datetime, *, is_level: bool
) -> tuple[Decimal, Decimal]:
    """The month's quantity if an anomaly stays to its end, and if it ends now.

    times: by how much the hours from `since` on are above what was expected of them.
    """
    month = rules.month(now)
    usual = {
        hour: used if hour < since else quantity(Fraction(used) / times)
        for hour, used in hours.items()
    }
    normal = forecasts.forecast(usual, now, month, is_level=is_level)
    in_month = [used for hour, used in hours.items() if month.start <= hour <= now]
    used = forecasts.total(in_month, is_level=is_level)
    if is_level:
        rest = Fraction(normal.quantity)
        return quantity(max(used, rest * times)), quantity(max(used, rest))
    rest = Fraction(normal.quantity) - Fraction(normal.used)
    return quantity(used + rest * times), quantity(used + rest)
