"""Billing periods close once, for a reason that they say, and are drafted."""

from datetime import UTC, datetime

import pytest
from shop import ACTOR, SELLER, Shop
from sqlalchemy import select

from user_billing.invoices import tables as t


@pytest.fixture(scope="module")
def shop(hub):
    return Shop.over(hub)


def test_periods_close_when_all_reported_or_the_grace_ran_out(shop):
    """Open until its end, then it waits for every source or for the one grace, and says which;
    another step changes nothing.
    """
    org, clock = shop.buyer(), shop.hub.clock
    before = clock.instant
    clock.instant = datetime(2027, 3, 10, tzinfo=UTC)
    steps = []
    for at in (
        datetime(2027, 3, 10, tzinfo=UTC),
        datetime(2027, 4, 1, 1, tzinfo=UTC),
        datetime(2027, 4, 1, 23, 59, tzinfo=UTC),
        datetime(2027, 4, 2, tzinfo=UTC),
        datetime(2027, 4, 2, 1, tzinfo=UTC),
    ):
        clock.instant = at
        shop.periods.step()
        with shop.database.organisation(org) as session:
            where = t.billing_period.c.org_id == org
            order = t.billing_period.c.start
            rows = session.execute(select(t.billing_period).where(where).order_by(order)).all()
        steps.append([(row.start.month, row.state, row.closed_by) for row in rows])
    clock.instant = before
    open_, closed = (4, "open", None), (3, "closed", "grace")
    assert steps == [
        [(3, "open", None)],
        [(3, "grace", None), open_],
        [(3, "grace", None), open_],
        [closed, open_],
        [closed, open_],
    ]
    assert rows[0].missing == ["aps", "das", "dis"]
    (draft,) = shop.invoices.page(org, before=None, state=None, limit=9)
    assert (draft.state, draft.total) == ("draft", 2261)


def test_an_automatic_seller_finalises_by_itself(shop):
    """With billing details the draft becomes final in the same step."""
    org, clock, before = shop.buyer(), shop.hub.clock, shop.hub.clock.instant
    services = shop.hub.services
    home = services.first_start.home_organisation()
    services.sellers.put_seller({**SELLER, "automatic": True}, home, ACTOR)
    services.sellers.confirm(home, ACTOR)
    for at in (datetime(2027, 6, 10, tzinfo=UTC), datetime(2027, 7, 3, tzinfo=UTC)):
        clock.instant = at
        shop.periods.step()
    clock.instant = before
    services.sellers.put_seller(SELLER, home, ACTOR)
    services.sellers.confirm(home, ACTOR)
    (row,) = shop.invoices.page(org, before=None, state=None, limit=9)
    assert row.state == "final"
