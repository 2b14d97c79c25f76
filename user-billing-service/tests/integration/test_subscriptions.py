"""Plans are sold in versions; a change is what its preview says; limits follow."""

from calendar import monthrange
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from conftest import INTERNAL
from embedded_postgres import PostgresError, execute
from shop import SELLER
from sqlalchemy import select

from user_billing.invoices.tables import billing_period

CURRENT = "/api/v1/subscriptions/current"


def put(browser, path, body):
    return browser.http.put(path, json=body, headers=browser.headers())


def founder(hub):
    """The operator, logged in a moment ago."""
    return hub.log_in("founder@example.org")


def new_plan(hub, code, **facts):
    made = founder(hub).post(
        f"/api/v1/operator/plans/{code}", {"name": code, "currency": "EUR", **facts}
    )
    assert made.status_code == 201, made.text
    return made.json()["version"]


def per_sample(unit):
    return [{"meter": "samples_ingested", "model": "per_unit", "unit": unit}]


def used(hub, org, samples, hour=None):
    """Samples in the hour before now."""
    at = (hour or hub.clock.now() - timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    report = {
        "tenant": org, "hour": at.isoformat(), "revision": 1,
        "meters": {"samples": {"quantity": str(samples)}},
    }  # fmt: skip
    body = {"source": "dis", "reports": [report]}
    answer = httpx.post(f"{hub.base_url}/internal/usage", json=body, headers=INTERNAL, timeout=600)
    assert answer.json()["outcomes"] == ["stored"]


@pytest.fixture(scope="module", autouse=True)
def _seller(hub):
    """The operator has confirmed who sells."""
    operator = founder(hub)
    assert put(operator, "/api/v1/operator/seller", SELLER).status_code == 200
    assert operator.post("/api/v1/operator/seller/confirm").status_code == 200


@pytest.fixture
def mid_month(hub):
    """It is the 15th of a month of 30 days, 12:30 UTC."""
    now = hub.clock.now().replace(day=15, hour=12, minute=30)
    while monthrange(now.year, now.month)[1] != 30 or now < hub.clock.now():
        now = (now + timedelta(days=31)).replace(day=15)
    hub.clock.instant = now
    hub.founder = founder(hub)


def test_who_never_subscribed_sees_usage_and_pays_nothing(hub):
    owner = hub.owner("Showback")
    current = owner.get(CURRENT).json()
    assert (current["plan"], current["accrued"], current["subscriptions"]) == ("showback", None, [])


def test_a_version_never_changes(hub):
    """A plan that is sold anew has a further version; Postgres refuses any other change."""
    first, second = (new_plan(hub, "steady", recurring=text) for text in ("10.00", "12.00"))
    assert (first, second) == (1, 2)
    url = str(hub.services.settings.database_url.get_secret_value())
    for statement in (
        "UPDATE billing.plan_version SET recurring = 1",
        "DELETE FROM billing.plan_version",
        "TRUNCATE billing.plan_version CASCADE",
    ):
        with pytest.raises(PostgresError, match="never changes"):
            execute(url, statement)
    assert founder(hub).delete("/api/v1/operator/plans/steady/2").status_code == 204
    sold = founder(hub).get("/api/v1/plans").json()["plans"]
    assert [one["version"] for one in sold if one["plan"] == "steady"] == [1]


def test_text_that_cannot_be_stored_is_refused(hub):
    assert put(hub.owner("NUL"), CURRENT, {"plan": "a\0"}).status_code == 400


def test_only_the_operator_keeps_plans(hub):
    owner = hub.owner("Customer")
    answer = owner.post("/api/v1/operator/plans/mine", {"name": "Mine", "currency": "EUR"})
    assert answer.status_code == 403
    assert (
        put(
            owner, f"/api/v1/operator/organisations/{owner.org}/subscription", {"plan": "team"}
        ).status_code
        == 403
    )


def test_amounts_with_too_many_decimals_and_unknown_currencies_are_refused(hub):
    operator = founder(hub)
    for facts in (
        {"currency": "JPY", "recurring": "1.5"},
        {"currency": "XYZ"},
        {"currency": "EUR", "recurring": "-1"},
    ):
        answer = operator.post("/api/v1/operator/plans/odd", {"name": "Odd", **facts})
        assert answer.status_code == 400, answer.text


def test_a_change_is_what_its_preview_said(hub, mid_month):
    """Half of a month is over: half of the price, and the usage since the change."""
    new_plan(hub, "half", recurring="30.00", prices=per_sample("0.01"))
    owner = hub.owner("Preview")
    used(hub, owner.org, 500)
    body = {"plan": "half"}
    preview = owner.post("/api/v1/subscriptions/preview", body).json()
    assert preview["before"] is None
    # of 720 hours, 14 days and 12 hours are over when the running hour began
    assert [line["amount"] for line in preview["after"]["lines"]] == ["15.50", "0.00"]
    changed = put(owner, CURRENT, body)
    assert changed.status_code == 200, changed.text
    assert changed.json()["effective_at"] == preview["effective_at"]
    hub.clock.advance(hours=2)
    used(hub, owner.org, 250)
    accrued = owner.get(CURRENT).json()["accrued"]
    assert [line["amount"] for line in accrued["lines"]] == ["0.08", "2.50"]


def test_limits_follow_when_a_change_takes_effect(hub, mid_month):
    """An upgrade is of this hour; a downgrade, and an end, of the period's end."""
    new_plan(hub, "small", recurring="5.00")
    new_plan(hub, "large", recurring="50.00")
    owner = hub.owner("Limits")
    key = owner.new_key("metrics:write")["key"]

    def plan():
        return hub.introspect(key)["limits"]["plan"]

    assert put(owner, CURRENT, {"plan": "large"}).status_code == 200
    assert plan() == "large"
    end = owner.get(CURRENT).json()["period"]["end"]
    assert put(owner, CURRENT, {"plan": "small"}).json()["effective_at"] == end
    assert plan() == "large"
    hub.clock.advance(days=20)
    hub.services.subscriptions.follow()
    assert plan() == "small"
    owner = hub.log_in(owner.session["user"]["email"])
    assert put(owner, CURRENT, {"plan": "showback"}).status_code == 200
    hub.clock.advance(days=31)
    hub.services.subscriptions.follow()
    assert plan() == "showback"


def test_there_and_back_costs_nothing_more(hub, mid_month):
    """Up and down within an hour leaves one subscription, and one price of the period."""
    new_plan(hub, "low", recurring="7.00")
    new_plan(hub, "high", recurring="70.00")
    owner = hub.owner("There and back")
    for plan in ("low", "high", "low"):
        assert put(owner, CURRENT, {"plan": plan, "when": "now"}).status_code == 200
    current = owner.get(CURRENT).json()
    assert [one["plan"] for one in current["subscriptions"]] == ["low"]


def test_a_period_that_ended_before_the_first_look_is_billed(hub, mid_month):
    """The hub was down from the first subscription until after the end of its period."""
    new_plan(hub, "patient", recurring="7.00")
    owner = hub.owner("Patient")
    assert put(owner, CURRENT, {"plan": "patient"}).status_code == 200
    first = owner.get(CURRENT).json()["period"]["start"]
    hub.clock.advance(days=20)
    hub.services.periods.step()
    with hub.services.database.organisation(UUID(owner.org)) as session:
        starts = session.scalars(select(billing_period.c.start).order_by(billing_period.c.start))
        assert next(at.isoformat().replace("+00:00", "Z") for at in starts) == first


def test_another_currency_waits_for_the_next_period(hub, mid_month):
    new_plan(hub, "euros", recurring="5.00")
    new_plan(hub, "yen", currency="JPY", recurring="900")
    owner = hub.owner("Currencies")
    assert put(owner, CURRENT, {"plan": "euros"}).status_code == 200
    refused = put(owner, CURRENT, {"plan": "yen", "when": "now"})
    assert refused.status_code == 409
    assert "period_end" in refused.text
    assert put(owner, CURRENT, {"plan": "yen", "when": "period_end"}).status_code == 200


def test_what_if_tells_real_history_under_another_plan(hub, mid_month):
    """Half of the samples, as with twice the scrape interval, at a cent each."""
    new_plan(hub, "cents", prices=per_sample("0.01"))
    owner = hub.owner("What if")
    used(hub, owner.org, 1000)
    now = hub.clock.now()
    body = {
        "plan": "cents", "start": (now - timedelta(days=1)).isoformat(), "end": now.isoformat(),
        "factors": {"samples_ingested": "0.5"},
    }  # fmt: skip
    answer = owner.post("/api/v1/what-if", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["before"] is None
    assert answer.json()["after"]["total"] == "5.00"
    assert owner.post("/api/v1/what-if", {**body, "factors": {"nonsense": "1"}}).status_code == 400
