"""Late usage is charged once, in the next invoice, whatever came in which order."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from shop import ACTOR, CUSTOMER, PriceASample, Shop, month
from sqlalchemy import func, select

from user_billing.invoices import tables as t
from user_billing.invoices.rules import number_text

ONE = "application/cloudevents+json"


@pytest.fixture(scope="module")
def shop(hub):
    return Shop.over(hub)


MONTHS = 3
steps = st.lists(
    st.one_of(
        st.tuples(st.integers(0, MONTHS - 1), st.integers(0, 2), st.integers(0, 1_000)),
        st.sampled_from(["draft", "approve", "finalise", "void"]),
    ),
    max_size=25,
)


def charged(shop, org):
    """Month → minor units that standing invoices charge for it."""
    lines, note = t.invoice_line.c, t.credit_note.c
    with shop.database.organisation(org) as session:
        rows = session.execute(
            select(lines.of_period, func.sum(lines.amount))
            .where(lines.org_id == org)
            .where(lines.invoice_id.not_in(select(note.invoice_id).where(note.voids)))
            .group_by(lines.of_period)
        )
        return {start: int(amount) for start, amount in rows}


class Seller:
    """Takes one organisation from month to month."""

    def __init__(self, shop):
        self.shop, self.org = shop, shop.buyer()
        self.month, self.invoice, self.state = 0, None, "none"
        self.usage, self.revision = {}, 0

    def report(self, of_month, hour, samples):
        self.revision += 1
        self.usage[of_month, hour] = samples
        place = month(of_month) + timedelta(hours=hour)
        assert self.shop.report(self.org, place, samples, self.revision).value == "stored"

    def bring_to(self, state):
        if self.state == "none":
            self.invoice, self.state = self.shop.draft(self.org, month(self.month)), "draft"
        if state in {"approve", "finalise"} and self.state == "draft":
            self.shop.invoices.approve(self.org, self.invoice, ACTOR)
            self.state = "approve"
        if state == "finalise":
            self.shop.invoices.finalise(self.org, self.invoice, ACTOR)
            self.month, self.state = self.month + 1, "none"

    def void(self):
        if self.invoice is not None and self.state == "none":
            give = self.shop.corrections.credit
            give(self.org, self.invoice, None, key="v", reason="void", actor=ACTOR)
            self.month, self.invoice = self.month - 1, None


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
@example(["finalise", "finalise", "void", "void"])
def test_every_month_is_charged_for_all_its_usage(shop, actions):
    """Usage grows, shrinks and comes at any time before and after draft, approval, number and void:
    when everything is final, billed + adjustments of each month = the price of all its usage.
    """
    seller = Seller(shop)
    for action in actions:
        if isinstance(action, tuple):
            seller.report(*action)
        elif action == "void":
            seller.void()
        elif seller.month < MONTHS:
            seller.bring_to(action)
    while seller.month < MONTHS + 2:  # two more, so that what did not fit is given back
        seller.bring_to("finalise")
    paid = charged(shop, seller.org)
    for of_month in range(MONTHS):
        samples = sum(n for (m, _), n in seller.usage.items() if m == of_month)
        assert paid[month(of_month)] == 1900 + shop.rating.cost(Decimal(samples)), of_month


def test_a_voided_period_is_not_charged_again_for_what_a_later_invoice_has(shop):
    """Late usage was charged by the next invoice, then the first is voided and drafted anew."""
    seller = Seller(shop)
    seller.report(0, 0, 100)
    seller.bring_to("finalise")
    first = seller.invoice
    seller.report(0, 1, 50)
    seller.bring_to("finalise")
    give = shop.corrections.credit
    give(seller.org, first, None, key="v", reason="wrong address", actor=ACTOR)
    seller.month = 0
    seller.bring_to("finalise")
    assert charged(shop, seller.org)[month(0)] == 1900 + shop.rating.cost(Decimal(150))


class Counted(PriceASample):
    """Counts the periods that are rated."""

    def __init__(self, shop, meter="samples_ingested"):
        super().__init__(meter=meter)
        self.shop, self.starts = shop, []

    def rated(self, session, org, period):
        self.starts.append(period.start)
        return super().rated(session, org, period)

    def of_draft(self, org, start):
        """The periods rated for the draft of that month, which becomes final."""
        self.starts.clear()
        before, self.shop.invoices.rating = self.shop.invoices.rating, self
        try:
            invoice = self.shop.draft(org, start)
            starts = set(self.starts)
            self.shop.invoices.approve(org, invoice, ACTOR)
            self.shop.invoices.finalise(org, invoice, ACTOR)
        finally:
            self.shop.invoices.rating = before
        return starts


@pytest.mark.parametrize("passes", [timedelta(0), timedelta(days=31)], ids=["at-once", "later"])
def test_a_draft_rates_its_own_period_and_those_with_late_usage(shop, passes):
    """A period whose hours are all in its invoice is not rated again; one with a new or corrected
    hour is, and from then on, since other invoices have lines of it.
    """
    org, counted = shop.buyer(), Counted(shop)
    for n in range(5):
        shop.report(org, month(n), 100)
    before = shop.hub.clock.instant
    try:
        for n in range(3):
            assert counted.of_draft(org, month(n)) == {month(n)}
            shop.hub.clock.instant += passes
        shop.report(org, month(0), 70, revision=2)
        shop.report(org, month(1) + timedelta(hours=5), 8)
        assert counted.of_draft(org, month(3)) == {month(0), month(1), month(3)}
        shop.hub.clock.instant += passes
        assert counted.of_draft(org, month(4)) == {month(0), month(1), month(4)}
    finally:
        shop.hub.clock.instant = before
    samples = {0: 70, 1: 108, 2: 100, 3: 100, 4: 100}
    costs = {month(n): 1900 + shop.rating.cost(Decimal(of)) for n, of in samples.items()}
    assert charged(shop, org) == costs


def test_a_backfill_is_charged_late_when_it_is_closed_and_not_when_it_is_reverted(shop):
    """The next draft rates the period again for the one, and does not for the other."""
    owner = shop.hub.owner("Backfill")
    org, counted = UUID(owner.org), Counted(shop, "own")
    shop.hub.services.sellers.put_customer(org, CUSTOMER, ACTOR)
    owner.post("/api/v1/meters", {"code": "own", "unit": "things", "aggregation": "sum"})
    at = shop.hub.clock.now() - timedelta(days=1)
    first = counted.period_at(None, org, at)
    second = counted.period_at(None, org, first.end)
    third = counted.period_at(None, org, second.end)
    event = {
        "specversion": "1.0", "source": "shop", "id": "1", "type": "own", "time": at.isoformat(),
        "data": {"value": 40},
    }  # fmt: skip
    rated = [counted.of_draft(org, first.start)]
    headers = {"X-API-Key": owner.new_key("metrics:write")["key"]}
    for outcome, next_ in (("revert", second), ("close", third)):
        backfill = owner.post("/api/v1/usage/backfills").json()["id"]
        url = f"{shop.hub.base_url}/api/v1/usage/events?backfill={backfill}"
        assert httpx.post(
            url, json=event, headers={**headers, "Content-Type": ONE}, timeout=600
        ).is_success
        assert owner.post(f"/api/v1/usage/backfills/{backfill}/{outcome}").status_code == 200
        rated.append(counted.of_draft(org, next_.start))
    assert rated == [{first.start}, {second.start}, {first.start, third.start}]
    assert charged(shop, org) == {first.start: 1940, second.start: 1900, third.start: 1900}


class DollarsFrom(PriceASample):
    """The same prices, in dollars from the second month on."""

    def rated(self, session, org, period):
        rated = super().rated(session, org, period)
        return rated if period.start < month(1) else replace(rated, currency="USD")


def test_late_usage_in_another_currency_is_told_and_charged_when_the_currency_is_back(shop):
    """A document has one currency: the audit log names the invoices whose late usage waits."""
    org, euros = shop.buyer(), shop.invoices.rating
    shop.report(org, month(0), 100)
    first = shop.final(org, month(0))
    shop.report(org, month(0) + timedelta(hours=5), 8)
    shop.invoices.rating = DollarsFrom()
    try:
        shop.final(org, month(1))
    finally:
        shop.invoices.rating = euros
    assert charged(shop, org) == {month(0): 1900 + 100, month(1): 1900}
    row = shop.invoices.one(org, first).row
    events = shop.hub.services.audit.page(org, before=None, limit=50)
    (told,) = [event.detail for event in events if event.action == "usage.not_charged"]
    assert told == {
        "late_usage_of": [number_text(row.series, row.number)],
        "why": "it is not in USD",
    }
    shop.final(org, month(2))
    assert charged(shop, org)[month(0)] == 1900 + 108
