"""Usage, taken in from the services and told to the organisations."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy.orm import Session

from user_billing.audit import service as audit
from user_billing.db.session import Room, within
from user_billing.meters.sql import every_meter
from user_billing.model import Actor, Audience
from user_billing.rating.model import MeterUsage
from user_billing.usage import rules, sql
from user_billing.usage.rules import Outcome, Report, Step

log = structlog.get_logger()
REPORTS = Counter(
    "cloudopshub_billing_usage_reports_total", "Reports about an hour, by outcome.", ["outcome"]
)


class Usage(Room):
    """The hours of all organisations."""

    def take(
        self,
        source: Audience,
        reports: Sequence[Report],
        complete_through: datetime | None,
        request_id: str | None,
    ) -> list[Outcome]:
        """What became of each report, in their order; all in one transaction.

        complete_through: what the source counted before it was reported in this call or earlier.
        Raises BadInput, and then nothing was taken.
        """
        for report in reports:
            rules.check(source, report)
        actor = Actor(f"service:{source}", request_id)
        outcomes = [Outcome.UNKNOWN] * len(reports)
        numbers = sorted(range(len(reports)), key=lambda n: str(reports[n].organisation_id))
        with self._database.directory() as session:
            organisations = sql.organisations(
                session, {report.organisation_id for report in reports}
            )
            for org, group in groupby(numbers, key=lambda n: reports[n].organisation_id):
                if org in organisations:
                    places = list(group)
                    with within(session, org):
                        ours = self._take(session, source, [reports[n] for n in places], actor)
                    for place, outcome in zip(places, ours, strict=True):
                        outcomes[place] = outcome
            if complete_through is not None:
                sql.put_watermark(session, source.value, complete_through)
        for outcome in outcomes:
            REPORTS.labels(outcome.value).inc()
        return outcomes

    def _take(
        self, session: Session, source: Audience, reports: Sequence[Report], actor: Actor
    ) -> list[Outcome]:
        """Of one organisation."""
        now, org = self._clock.now(), reports[0].organisation_id
        if sql.put(session, source.value, reports, now) == sum(len(of.readings) for of in reports):
            return [Outcome.STORED] * len(reports)
        places = {(meter, report.hour) for report in reports for meter in report.readings}
        stored = sql.stored(session, org, source.value, places)
        outcomes = [
            rules.outcome(report, {meter: stored[meter, report.hour] for meter in report.readings})
            for report in reports
        ]
        for report, outcome in zip(reports, outcomes, strict=True):
            if outcome is Outcome.CONFLICT:
                hour = report.hour.isoformat()
                log.error("usage_conflict", source=source, hour=hour, revision=report.revision)
                audit.record(
                    session, org, actor, "usage.conflict", f"{source} {hour}",
                    now=now, revision=report.revision,
                )  # fmt: skip
        return outcomes

    def of_range(self, org: UUID, start: datetime, end: datetime, step: Step) -> dict[str, object]:
        """The organisation's usage of the hours in [start, end), as `UsageView` shows it.

        Raises BadInput.
        """
        rules.check_range(start, end, step)
        with self._database.organisation(org) as session:
            buckets = sql.by_step(session, org, start, end, step)
            units = {meter.counted_as: meter.unit for meter in every_meter(session, org)}
        with self._database.directory() as session:
            through = sql.watermarks(session)
        return {
            "complete_through": min((at for at in through.values() if at), default=None),
            "sources": [{"source": of, "complete_through": at} for of, at in through.items()],
            "usage": [{**row._asdict(), "unit": units.get(row.meter, "")} for row in buckets],
        }

    def of_period(self, org: UUID, start: datetime, end: datetime) -> dict[str, MeterUsage]:
        """Of every meter, by code, what the hours that begin in [start, end) hold."""
        with self._database.organisation(org) as session:
            return sql.period_usage(session, org, start, end)
