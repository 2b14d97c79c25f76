"""Subscriptions: changed, previewed, followed by limits, and rated."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from fractions import Fraction
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from user_billing import access
from user_billing.audit import service as audit
from user_billing.db import rows
from user_billing.db.session import Room, within
from user_billing.errors import BadInput, Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.invoices.sellers import confirmed
from user_billing.meters import sql as meters_sql
from user_billing.meters.rules import BUILT_IN, Meter
from user_billing.model import Actor, Principal
from user_billing.organisations import sql as organisations_sql
from user_billing.plans import sql as plans_sql
from user_billing.plans.rules import SHOWBACK, PlanVersion
from user_billing.rating import rules as rating
from user_billing.rating.model import Period, Rated
from user_billing.subscriptions import rules, sql
from user_billing.subscriptions.rules import Span, Terms, When
from user_billing.subscriptions.tables import subscription_terms
from user_billing.usage import sql as usage_sql

BATCH: Final = 200
BILLING: Final = Actor("billing")


@dataclass(frozen=True, slots=True)
class Current:
    """What an organisation has now. accrued: of the hours that are over; None without a price."""

    plan: str
    period: Period
    accrued: Rated | None
    subscriptions: list[Span]


@dataclass(frozen=True, slots=True)
class Change:
    """The plan to have; showback is none.

    when: None is now for a plan that costs at least as much a period, else the period's end.
    terms: of the first subscription.
    """

    plan: str
    when: When | None = None
    terms: Terms | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """A change before it is made: when it takes effect, and the period without and with it."""

    effective_at: datetime
    before: Rated | None
    after: Rated | None


class Subscriptions(Room):
    """The subscriptions of all organisations."""

    def period_at(self, session: Session, org: UUID, at: datetime) -> Period | None:
        """The organisation's billing period at that time; None before its first subscription."""
        terms = sql.terms(session, org)
        return None if terms is None else rules.period_at(terms, at)

    def began(self, session: Session, org: UUID) -> datetime | None:
        """When its first subscription began; None without one."""
        return min((span.start for span in sql.spans(session, org)), default=None)

    def rated(self, session: Session, org: UUID, period: Period) -> Rated | None:
        """What the period costs by the usage there is now; None without a price."""
        return self._rated(session, org, sql.spans(session, org), period, period)

    def current(self, org: UUID) -> Current:
        """The plan, the period, and what its hours cost until now."""
        now = self._clock.now()
        with self._database.organisation(org) as session:
            terms = sql.terms(session, org)
            spans = sql.spans(session, org)
            period = rules.period_at(terms or Terms(1, "UTC"), now)
            over = Period(period.start, max(period.start, rules.hour_of(now)))
            accrued = self._rated(session, org, spans, period, over)
            stored = organisations_sql.plan_of(session, org)
        return Current(stored, period, accrued, spans)

    def preview(self, org: UUID, wanted: Change) -> Preview:
        """What a change would make of the running period. Raises what `change` does."""
        with self._database.organisation(org) as session:
            before = sql.spans(session, org)
            given, at, after = self._changed(session, org, before, wanted)
            period = rules.period_at(given, self._clock.now())
            return Preview(
                at,
                self._rated(session, org, before, period, period),
                self._rated(session, org, after, period, period),
            )

    def change(self, caller: Principal, org: UUID, wanted: Change) -> datetime:
        """When the organisation has that plan's newest version; showback ends the subscription.

        Raises NotFound for a plan that is not sold, Conflict before the operator has confirmed who
        sells or for another currency within a period.
        """
        now = self._clock.now()
        access.require_fresh(caller, now)
        with self._database.directory() as session:
            with within(session, org):
                organisations_sql.lock(session, org)
                before = sql.spans(session, org)
                given, at, after = self._changed(session, org, before, wanted)
                if sql.terms(session, org) is None:
                    rows.add(session, subscription_terms, org, [asdict(given)])
                sql.put(session, org, after)
                audit.record(
                    session, org, caller.actor, "subscription.changed", f"plan:{wanted.plan}",
                    now=now, effective_at=at.isoformat(),
                )  # fmt: skip
            if at <= now:
                organisations_sql.set_plan(session, org, wanted.plan)
        return at

    def follow(self) -> int:
        """How many organisations have the limits of another plan now. A background step."""
        now = self._clock.now()
        with self._database.directory() as session:
            due = sql.due(session, now, BATCH)
        for org, plan in due:
            with self._database.directory() as session:
                organisations_sql.set_plan(session, org, plan)
                with within(session, org):
                    audit.record(
                        session, org, BILLING, "subscription.took_effect", f"plan:{plan}", now=now
                    )
        return len(due)

    def what_if(
        self, org: UUID, plan: str, period: Period, factors: Mapping[str, Fraction]
    ) -> tuple[Rated | None, Rated]:
        """The period as it is, and under `plan` with the usage of some meters times a factor."""
        with self._database.organisation(org) as session:
            version = self._version(session, plan)
            usage = usage_sql.period_usage(session, org, period.start, period.end)
            if unknown := set(factors) - set(usage):
                raise BadInput(field="factors", unknown=sorted(unknown), known=sorted(usage))
            other = {
                code: rating.times(one, factors[code]) if code in factors else one
                for code, one in usage.items()
            }
            segment = rating.Segment(version, period, other)
            then = rating.rate([segment], period, self._meters(session, org))
            return self.rated(session, org, period), then

    def _changed(
        self, session: Session, org: UUID, before: list[Span], wanted: Change
    ) -> tuple[Terms, datetime, list[Span]]:
        """The terms, when the change takes effect, and the subscriptions after it."""
        now, plan, when = self._clock.now(), wanted.plan, wanted.when
        agreed = sql.terms(session, org)
        if agreed is not None and wanted.terms not in {None, agreed}:
            raise Conflict(detail="periods are agreed already", anchor_day=agreed.anchor_day)
        given = agreed or wanted.terms or Terms(1, "UTC")
        rules.check(given)
        period = rules.period_at(given, now)
        old = self._versions(session, [span for span, _ in rules.clipped(before, period)])
        if plan == SHOWBACK:
            at = rules.effective_at(when or When.PERIOD_END, period, now)
            return given, at, rules.ended_at(before, at)
        confirmed(session)
        new = self._version(session, plan)
        is_cheaper = any(new.recurring < version.recurring for version in old.values())
        at = rules.effective_at(when or (When.PERIOD_END if is_cheaper else When.NOW), period, now)
        if at < period.end and any(one.currency != new.currency for one in old.values()):
            raise Conflict(detail="another currency begins with a period: choose period_end")
        return given, at, rules.changed(before, Span(new_id(), plan, new.n, at))

    def _rated(
        self, session: Session, org: UUID, spans: list[Span], whole: Period, part: Period
    ) -> Rated | None:
        """The costs of `part` of a period under `spans`."""
        clipped = rules.clipped(spans, part)
        if not clipped:
            return None
        versions = self._versions(session, [span for span, _ in clipped])
        segments = [
            rating.Segment(
                versions[span.plan, span.n],
                inside,
                usage_sql.period_usage(session, org, inside.start, inside.end),
            )
            for span, inside in clipped
        ]
        return rating.rate(segments, whole, self._meters(session, org))

    @staticmethod
    def _versions(session: Session, spans: list[Span]) -> dict[tuple[str, int], PlanVersion]:
        return plans_sql.versions(session, [(span.plan, span.n) for span in spans])

    @staticmethod
    def _version(session: Session, plan: str) -> PlanVersion:
        version = plans_sql.newest(session, plan)
        if version is None:
            raise NotFound(plan=plan)
        return version

    @staticmethod
    def _meters(session: Session, org: UUID) -> dict[str, Meter]:
        return {meter.code: meter for meter in (*BUILT_IN, *meters_sql.own_meters(session, org))}
