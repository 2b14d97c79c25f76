"""A seller for tests of documents: one price a sample, and organisations that buy."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

from conftest import replace

from user_billing.db import rows
from user_billing.identifiers import new_id
from user_billing.invoices import sql
from user_billing.invoices.corrections import Corrections
from user_billing.invoices.periods import Periods
from user_billing.invoices.rules import Rate
from user_billing.invoices.service import Invoices
from user_billing.invoices.tables import billing_period
from user_billing.model import Actor, Audience, Organisation
from user_billing.money import rules as money
from user_billing.organisations import sql as organisations_sql
from user_billing.rating.model import Line, LineKind, Period, Rated
from user_billing.usage import sql as usage_sql
from user_billing.usage.rules import Reading, Report

ACTOR = Actor("user:seller")
GRACE = timedelta(hours=24)
SELLER = {
    "legal_name": "Seller GmbH", "address": "Hauptstraße 1\n10115 Berlin", "country": "DE",
    "tax_number": "12/345/67890", "vat_id": "DE136695976",
    "bank_text": "IBAN DE02 1203 0000 0000 2020 51", "currency": "EUR", "series": "INV",
    "credit_series": "CN", "payment_days": 14, "automatic": False,
}  # fmt: skip
CUSTOMER = {
    "legal_name": "Buyer AG", "address": "Marktplatz 2\n20095 Hamburg", "country": "DE",
    "vat_id": "", "email": "bills@example.org",
}  # fmt: skip


class CalendarMonths:
    """Months of UTC, and no price."""

    def period_at(self, _session, _org, at):
        """The calendar month."""
        start = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return Period(start, (start + timedelta(days=32)).replace(day=1))

    def began(self, _session, _org):
        """It is not known."""
        return

    def rated(self, _session, _org, _period):
        """Nothing is sold."""
        return


@dataclass
class PriceASample(CalendarMonths):
    """19.00 a month, and a cent for each sample, or what another meter counts."""

    price: Decimal = Decimal("0.01")
    monthly: int = 1900
    meter: str = "samples_ingested"
    sold_until: datetime = datetime(9000, 1, 1, tzinfo=UTC)

    def cost(self, samples):
        return money.round_half_away(Fraction(self.price) * Fraction(samples) * 100)

    def rated(self, session, org, period):
        if period.start >= self.sold_until:
            return None
        used = usage_sql.period_usage(session, org, period.start, period.end)
        samples = used[self.meter]
        plan = Line(LineKind.PLAN, "Plan Team", None, period, Decimal(1), "month", self.monthly,
                    {"amount": self.monthly})  # fmt: skip
        usage = Line(
            LineKind.USAGE, "Samples ingested", self.meter, period, samples.quantity,
            "samples", self.cost(samples.quantity),
            {"price": str(self.price), "hours_digest": samples.digest, "currency": "EUR",
             "share": "1", "parts": [
                 {"units": str(samples.quantity), "unit": str(self.price), "flat": "0"}]},
        )  # fmt: skip
        return Rated("EUR", (plan, usage), f"{samples.digest}:{self.price}:{self.monthly}")


@dataclass
class Shop:
    """The rooms of documents over the hub's database, with a clock and prices of the test's own."""

    hub: object
    rating: PriceASample
    invoices: Invoices
    periods: Periods
    corrections: Corrections

    @classmethod
    def over(cls, hub, **seller):
        services, rating = hub.services, PriceASample()
        home = services.first_start.home_organisation()
        sellers = services.sellers
        sellers.put_seller({**SELLER, **seller}, home, ACTOR)
        sellers.confirm(home, ACTOR)
        rate = Rate("DE", date(2020, 1, 1), None, "VAT", Decimal(19))
        sellers.put_rate(rate, home, ACTOR)
        database, clock = services.database, services.clock
        invoices = Invoices(database, clock, rating)
        periods = Periods(database, clock, invoices, GRACE)
        shop = cls(hub, rating, invoices, periods, services.corrections)
        hub.app.state.services = replace(services, invoices=invoices, periods=periods)
        return shop

    @property
    def database(self):
        return self.hub.services.database

    def buyer(self, **facts):
        """A new organisation with billing details."""
        org = new_id()
        with self.database.organisation(org) as session:
            made = Organisation(org, "Buyer", f"buyer-{org.hex}")
            assert organisations_sql.add_organisation(session, made, self.hub.clock.now())
        self.hub.services.sellers.put_customer(org, {**CUSTOMER, **facts}, ACTOR)
        return org

    def report(self, org, hour, samples, revision=1):
        """The hour has so many samples."""
        report = Report(UUID(str(org)), hour, revision, {"samples": Reading(Decimal(samples))})
        (outcome,) = self.hub.services.usage.take(Audience.DIS, [report], None, None)
        return outcome

    def closed(self, org, start):
        """The month that begins then is closed; its start."""
        period = self.rating.period_at(None, org, start)
        with self.database.organisation(org) as session:
            sql.add_period(session, org, period)
            where = {"org_id": org, "start": start}
            values = {"state": "closed", "closed_at": period.end, "closed_by": "grace"}
            rows.change(session, billing_period, where, **values)
        return start

    def draft(self, org, start):
        return self.invoices.make_draft(org, self.closed(org, start), ACTOR)

    def final(self, org, start):
        """A final invoice of the month."""
        invoice = self.draft(org, start)
        self.invoices.approve(org, invoice, ACTOR)
        self.invoices.finalise(org, invoice, ACTOR)
        return invoice


MAY = datetime(2026, 5, 1, tzinfo=UTC)


def month(n):
    """The n-th month after May 2026."""
    return MAY.replace(year=2026 + (4 + n) // 12, month=(4 + n) % 12 + 1)
