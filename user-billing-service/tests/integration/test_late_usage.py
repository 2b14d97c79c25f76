"""Late usage is charged once, in the next invoice, whatever came in which order."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop import ACTOR, Shop, month
from sqlalchemy import func, select

from user_billing.invoices import tables as t


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
        if self.month and self.state == "none":
            give = self.shop.corrections.credit
            give(self.org, self.invoice, None, key="v", reason="void", actor=ACTOR)
            self.month -= 1


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
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
