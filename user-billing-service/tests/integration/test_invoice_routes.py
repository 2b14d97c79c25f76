"""Documents over HTTP: the operator sells, organisations read their own, `prove` recomputes."""

import hashlib
import io
from datetime import timedelta

import pypdf
import pytest
from conftest import replace
from shop import ACTOR, CUSTOMER, MAY, SELLER, CalendarMonths, Shop
from sqlalchemy import text

from user_billing import prove
from user_billing.db import rows
from user_billing.invoices import hours, proving
from user_billing.invoices import tables as t


@pytest.fixture(scope="module")
def shop(hub):
    return Shop.over(hub)


@pytest.fixture
def buyer(hub, shop):
    """An organisation with a closed month of 100 samples."""
    owner = hub.owner("Buyer")
    answer = put(owner, "/api/v1/billing-details", CUSTOMER)
    assert answer.status_code == 200, answer.text
    shop.report(owner.org, MAY, 100)
    shop.closed(owner.org, MAY)
    return owner


class Free(CalendarMonths):
    """A hub without prices."""


def put(browser, path, body):
    return browser.http.put(path, json=body, headers=browser.headers())


def operate(hub, path, body=None, expected=200, **headers):
    founder = hub.founder
    answer = founder.http.post(
        f"/api/v1/operator/{path}", json=body, headers=founder.headers() | headers
    )
    assert answer.status_code == expected, answer.text
    return answer.json()


def invoiced(hub, buyer):
    """The buyer's final invoice, as the operator's last answer has it."""
    body = {"organisation_id": buyer.org, "period_start": MAY.isoformat()}
    draft = operate(hub, "invoices", body, 201)
    assert (draft["state"], draft["number"], draft["total"]) == ("draft", None, "23.80")
    operate(hub, f"invoices/{draft['id']}/approve")
    return operate(hub, f"invoices/{draft['id']}/finalise")


def test_from_draft_to_paid_and_credited(hub, buyer):
    """Each step is seen by both sides; amounts are text, and open is what is left."""
    final = invoiced(hub, buyer)
    path = f"invoices/{final['id']}"
    assert (final["status"], final["open"]) == ("open", "23.80")
    assert hashlib.sha256(final["document"].encode()).hexdigest() == final["sha256"]
    credit = {"reason": "outage", "lines": [{"n": 2, "amount": "0.50"}]}
    for _ in range(2):
        credited = operate(hub, f"{path}/credit-notes", credit, **{"Idempotency-Key": "a"})
    assert (len(credited["credit_notes"]), credited["open"]) == (1, "23.20")
    paid = {"amount": "23.20", "paid_on": "2026-06-10", "reference": "TX 1"}
    for _ in range(2):
        assert operate(hub, f"{path}/payments", paid)["status"] == "paid"
    operate(hub, f"{path}/payments", paid | {"reference": "TX 2"}, 409)
    assert operate(hub, f"{path}/void", {"reason": "all wrong"})["status"] == "void"
    seen = buyer.get(f"/api/v1/{path}").json()
    assert seen["status"] == "void"
    assert [note["total"] for note in seen["credit_notes"]] == ["0.60", "23.20"]
    (listed,) = buyer.get("/api/v1/invoices").json()["invoices"]
    assert listed["number"] == final["number"]
    note = seen["credit_notes"][0]["id"]
    for what in (f"/api/v1/{path}/pdf", f"/api/v1/credit-notes/{note}/pdf"):
        answer = buyer.get(what)
        assert answer.headers["content-type"] == "application/pdf"
        assert (
            final["number"] in pypdf.PdfReader(io.BytesIO(answer.content)).pages[0].extract_text()
        )


def test_a_line_opens_to_its_hours(hub, buyer):
    """Line, derivation and the hourly rows, whose digest anybody can compute."""
    final = invoiced(hub, buyer)
    proof = buyer.get(f"/api/v1/invoices/{final['id']}/lines/2").json()
    assert (proof["line"]["amount"], proof["derivation"]["price"]) == ("1.00", "0.01")
    (hours,) = proof["hours"]
    assert hashlib.sha256("\n".join(hours["rows"]).encode()).hexdigest() == hours["digest"]
    assert buyer.get(f"/api/v1/invoices/{final['id']}/lines/3").status_code == 404


def test_only_the_operator_sells(hub, buyer):
    """Owners of other organisations are refused, and so is a log-in that is not fresh."""
    body = {"organisation_id": buyer.org, "period_start": MAY.isoformat()}
    for path in ("invoices", "seller/confirm"):
        assert buyer.post(f"/api/v1/operator/{path}", body).status_code == 403
    assert buyer.get("/api/v1/operator/invoices").status_code == 403
    assert put(buyer, "/api/v1/operator/seller", SELLER).status_code == 403
    final = invoiced(hub, buyer)
    hub.clock.advance(hours=2)
    try:
        operate(hub, f"invoices/{final['id']}/void", {"reason": "x"}, 403)
    finally:
        hub.clock.advance(hours=-2)


def test_wrong_facts_are_refused_by_name(hub, buyer):
    """Countries, VAT ids, currencies, series and overlapping rates."""
    founder = hub.founder
    for wrong in ({"country": "EU"}, {"vat_id": "DE000000000"}, {"currency": "XYZ"},
                  {"series": "inv 1"}, {"credit_series": "INV"}):  # fmt: skip
        answer = put(founder, "/api/v1/operator/seller", SELLER | wrong)
        assert answer.status_code == 400
        assert next(iter(wrong)) in answer.text
    rate = {"country": "DE", "valid_from": "2019-01-01", "name": "VAT", "percent": "19"}
    assert put(founder, "/api/v1/operator/tax-rates", rate).status_code == 400
    for wrong in ({"email": "nobody"}, {"vat_id": "FR1"}, {"country": "Germany"}):
        answer = put(buyer, "/api/v1/billing-details", CUSTOMER | wrong)
        assert answer.status_code == 400
        assert next(iter(wrong)) in answer.text


def test_an_exemption_is_the_operators(hub, shop, buyer):
    """Tax is 0 with the reason; the organisation's own form cannot say it, nor take it away."""
    path = f"/api/v1/operator/organisations/{buyer.org}/tax-exemption"
    assert put(hub.founder, path, {"reason": "Article 151"}).status_code == 200
    answer = put(buyer, "/api/v1/billing-details", CUSTOMER)
    assert answer.json()["exempt"] == "Article 151"
    body = {"organisation_id": buyer.org, "period_start": MAY.isoformat()}
    draft = operate(hub, "invoices", body, 201)
    assert (draft["tax"], draft["total"]) == ("0.00", "20.00")


def test_pages_of_the_list_follow_each_other(hub, shop, buyer):
    """Every invoice once, newest first; the operator's list has those of all organisations."""
    final = invoiced(hub, buyer)
    seen, before = [], None
    while True:
        params = {"limit": 1} | ({"before": before} if before else {})
        page = hub.founder.get("/api/v1/operator/invoices", params=params).json()
        seen += [(row["id"], row["organisation_id"]) for row in page["invoices"]]
        before = page["next"]
        if before is None:
            break
    assert seen == sorted(set(seen), reverse=True)
    assert (final["id"], buyer.org) in seen


def test_a_statement_is_no_invoice(hub, shop, buyer):
    """Without prices it tells quantities; with a plan amounts too; it has no number and says so."""
    given = {"start": MAY.isoformat(), "end": (MAY + timedelta(days=31)).isoformat()}
    priced = buyer.get("/api/v1/invoices/statement", params=given).json()
    assert (priced["number"], priced["total"]) == (None, "20.00")
    services = hub.app.state.services
    hub.app.state.services = hub_services = replace(
        services, invoices=type(services.invoices)(shop.database, hub.clock, Free())
    )
    try:
        free = buyer.get("/api/v1/invoices/statement", params=given).json()
        assert [(line["quantity"], line["amount"]) for line in free["lines"]] == [("100", None)]
        assert "total" not in free
        pages = buyer.get("/api/v1/invoices/statement", params=given | {"as_pdf": True})
        words = pypdf.PdfReader(io.BytesIO(pages.content)).pages[0].extract_text()
        assert "not an invoice" in words
    finally:
        assert hub.app.state.services is hub_services
        hub.app.state.services = services
    backwards = {"start": given["end"], "end": given["start"]}
    assert buyer.get("/api/v1/invoices/statement", params=backwards).status_code == 400


def checks(shop, org, invoice):
    return {check.what: check.agrees for check in proving.prove(shop.database, org, invoice)}


def test_prove_agrees_and_finds_what_was_changed(hub, shop, capsys):
    """Everything of a right invoice agrees; a changed amount, hour or page is found, and the
    command exits with 1. What was changed is changed by the superuser with triggers off.
    """
    org = shop.buyer()
    for hour in range(30):
        shop.report(org, MAY + timedelta(hours=hour), 3 + hour)
    invoice = shop.final(org, MAY)
    shop.invoices.pdf(org, invoice)
    shop.corrections.credit(org, invoice, {1: 5}, key="k", reason="r", actor=ACTOR)
    right = checks(shop, org, invoice)
    assert set(right.values()) == {True}, right
    settings = hub.services.settings
    with pytest.raises(SystemExit) as ended:
        prove.main([str(invoice)], settings)
    assert ended.value.code == 0
    assert "DIFFERS" not in capsys.readouterr().out
    with shop.database.organisation(org) as session:
        packed = rows.many(session, t.invoice_hours, org, invoice_id=invoice)[0].hours
    other = hours.pack(hours.unpack(packed).replace(" 3.", " 4."))
    for change, given, word in (
        ("invoice_line SET amount = amount + 1", {}, "document"),
        ("invoice SET payload = replace(payload, 'Buyer', 'Payer')", {}, "SHA-256"),
        ("invoice_hours SET hours = :other", {"other": other}, "hourly rows"),
        ("document_pdf SET body = 'x'", {}, "pages"),
    ):
        column = {"invoice": "id", "document_pdf": "document_id"}.get(
            change.split()[0], "invoice_id"
        )
        with shop.database.engine.connect() as connection:
            connection.execute(text("SET session_replication_role = replica"))
            connection.execute(
                text(f"UPDATE billing.{change} WHERE {column} = :id"), {"id": invoice, **given}
            )
            connection.commit()
            connection.execute(text("SET session_replication_role = DEFAULT"))
            connection.commit()
        wrong = [what for what, agrees in checks(shop, org, invoice).items() if agrees is False]
        assert any(word in what for what in wrong), (change, wrong)
    with pytest.raises(SystemExit) as ended:
        prove.main([str(invoice)], settings)
    assert ended.value.code == 1
