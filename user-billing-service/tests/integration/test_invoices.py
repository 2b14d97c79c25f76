"""An invoice is numbered without a gap, says the same for ever, and is never charged twice."""

import contextlib
import hashlib
import io
import json
import random
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pypdf
import pytest
from shop import ACTOR, CUSTOMER, MAY, SELLER, PriceASample, Shop, month
from sqlalchemy import event, select, text

from user_billing.errors import Conflict, NotFound
from user_billing.invoices import tables as t
from user_billing.invoices.corrections import Payment
from user_billing.invoices.hours import unpack
from user_billing.invoices.service import Invoices
from user_billing.ledger.rules import Account
from user_billing.wallets.rules import NewGrant, Source


@pytest.fixture(scope="module")
def shop(hub):
    return Shop.over(hub)


def words(pages):
    """The text of a PDF."""
    reader = pypdf.PdfReader(io.BytesIO(pages))
    return "\n".join(page.extract_text() for page in reader.pages)


def receivable(shop, org):
    return shop.hub.services.ledger.balances(org).get((Account.RECEIVABLE, "EUR"), 0)


def test_numbers_have_no_gap_whoever_rolls_back(shop):
    """16 threads finalise at once and a quarter of the transactions fail at their end: the numbers
    are 1..n, each once, and their dates never go back.
    """
    with shop.database.directory() as session:
        first = session.scalar(select(t.number_counter.c.last)) or 0
    drafts = [(org := shop.buyer(), shop.draft(org, MAY)) for _ in range(48)]
    for org, invoice in drafts:
        shop.invoices.approve(org, invoice, ACTOR)
    barrier, lock, chance = threading.Barrier(16), threading.Lock(), random.Random(3)
    start = shop.hub.clock.now()

    def failing(session, clauseelement, *_):
        if "UPDATE billing.invoice SET state" in str(clauseelement) and chance.random() < 0.25:
            raise RuntimeError("the connection is lost")

    def work(mine):
        barrier.wait(600)
        for org, invoice in mine:
            while True:
                with lock:
                    shop.hub.clock.instant = start + timedelta(days=chance.randint(-3, 3))
                try:
                    shop.invoices.finalise(org, invoice, ACTOR)
                    break
                except RuntimeError:
                    failures.append(invoice)

    failures = []
    event.listen(shop.database.engine, "before_execute", failing)
    threads = [threading.Thread(target=work, args=(drafts[n::16],)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    event.remove(shop.database.engine, "before_execute", failing)
    shop.hub.clock.instant = start
    rows = shop.invoices.page(None, before=None, state=None, limit=200)
    made = sorted((row.number, row.issued_on) for row in rows if row.number and row.number > first)
    assert [number for number, _ in made] == list(range(first + 1, first + 49))
    assert [on for _, on in made] == sorted(on for _, on in made)
    assert failures, "some must have been rolled back"


def test_two_finalisers_make_one_invoice(shop):
    """Both return; there is one number, one posting."""
    org = shop.buyer()
    invoice = shop.draft(org, MAY)
    shop.invoices.approve(org, invoice, ACTOR)
    barrier = threading.Barrier(2)

    def work():
        barrier.wait(600)
        shop.invoices.finalise(org, invoice, ACTOR)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    whole = shop.invoices.one(org, invoice)
    assert whole.row.state == "final"
    assert receivable(shop, org) == whole.row.total == 1900 + 361


def test_a_final_invoice_is_the_same_a_year_later(shop):
    """Prices, names, the seller, usage and the clock change; JSON, hash and pages do not."""
    org = shop.buyer()
    shop.report(org, MAY, 500)
    invoice = shop.final(org, MAY)
    before, pages = shop.invoices.one(org, invoice).row, shop.invoices.pdf(org, invoice)
    now, prices = shop.hub.clock.instant, (shop.rating.price, shop.rating.monthly)
    home = shop.hub.services.first_start.home_organisation()
    sellers = shop.hub.services.sellers
    shop.hub.clock.advance(days=365)
    shop.rating.price, shop.rating.monthly = Decimal("0.05"), 9900
    sellers.put_seller({**SELLER, "legal_name": "Other GmbH"}, home, ACTOR)
    sellers.put_customer(org, {**CUSTOMER, "legal_name": "Renamed AG"}, ACTOR)
    shop.report(org, MAY, 900, revision=2)
    try:
        after = shop.invoices.one(org, invoice).row
        assert (after.payload, after.sha256) == (before.payload, before.sha256)
        assert hashlib.sha256(after.payload.encode()).digest() == after.sha256
        assert shop.invoices.pdf(org, invoice) == pages
        assert "Seller GmbH" in words(pages)
        assert "Buyer AG" in words(pages)
    finally:
        shop.hub.clock.instant = now
        shop.rating.price, shop.rating.monthly = prices
        sellers.put_seller(SELLER, home, ACTOR)
        sellers.confirm(home, ACTOR)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing.invoice SET total = 0 WHERE state = 'final'",
        "DELETE FROM billing.invoice WHERE state = 'final'",
        "UPDATE billing.invoice_line SET amount = 0 WHERE invoice_id = :final",
        "DELETE FROM billing.invoice_line WHERE invoice_id = :final",
        (
            "INSERT INTO billing.invoice_line SELECT (jsonb_populate_record(l, '{\"n\": 9}')).*"
            " FROM billing.invoice_line l WHERE invoice_id = :final"
        ),
        "DELETE FROM billing.invoice_hours WHERE invoice_id = :final",
        "UPDATE billing.credit_note SET total = 0",
        "DELETE FROM billing.credit_note_line",
        "UPDATE billing.payment SET amount = 1",
        "DELETE FROM billing.document_pdf",
        "TRUNCATE billing.invoice CASCADE",
        "TRUNCATE billing.invoice_line CASCADE",
        "TRUNCATE billing.credit_note CASCADE",
        "TRUNCATE billing.payment",
        "TRUNCATE billing.document_pdf",
        "TRUNCATE billing.organisation CASCADE",
    ],
)
def test_postgres_refuses_to_change_documents(shop, documents, statement):
    """Whoever asks, the superuser too; inside an organisation most is not even granted."""
    org, final = documents
    given = {"final": final} if ":final" in statement else {}
    with (
        shop.database.engine.connect() as connection,
        pytest.raises(Exception, match=r"never changes|only grows|is refused"),
    ):
        connection.execute(text(statement), given)
    with pytest.raises(Exception, match=r"never changes|permission denied"):  # noqa: SIM117
        with shop.database.organisation(org) as session:
            session.execute(text(statement), given)


@pytest.fixture(scope="module")
def documents(shop):
    """An organisation with a final invoice, a credit note, a payment and pages."""
    org = shop.buyer()
    shop.report(org, MAY, 100)
    final = shop.final(org, MAY)
    shop.corrections.credit(org, final, {1: 100}, key="k", reason="outage", actor=ACTOR)
    shop.corrections.pay(org, final, Payment(50, MAY.date(), "T1"), ACTOR)
    shop.invoices.pdf(org, final)
    return org, final


def test_credit_notes_never_exceed_a_line_and_sum_to_the_whole(shop):
    """Partial credits, each rounded, then a void: their sum is the invoice, tax and all; one more
    cent is refused, and so is a second void with another reason.
    """
    org = shop.buyer()
    shop.report(org, MAY, 333)
    invoice = shop.final(org, MAY)
    whole = shop.invoices.one(org, invoice)
    give = shop.corrections.credit
    for n in range(7):
        give(org, invoice, {2: 7}, key=f"k{n}", reason="slow", actor=ACTOR)
    again = give(org, invoice, {2: 7}, key="k0", reason="slow", actor=ACTOR)
    assert again.number == shop.invoices.one(org, invoice).credit_notes[0].number
    with pytest.raises(Conflict, match="Idempotency-Key"):
        give(org, invoice, {2: 8}, key="k0", reason="slow", actor=ACTOR)
    with pytest.raises(Conflict, match="less left"):
        give(org, invoice, {2: 333 - 49 + 1}, key="k9", reason="slow", actor=ACTOR)
    give(org, invoice, None, key="void", reason="wrong", actor=ACTOR)
    notes = shop.invoices.one(org, invoice).credit_notes
    assert sum(note.subtotal for note in notes) == whole.row.subtotal
    assert sum(note.tax for note in notes) == whole.row.tax
    assert receivable(shop, org) == 0
    assert sorted(note.number for note in notes) == list(
        range(notes[0].number, notes[0].number + len(notes))
    )
    with pytest.raises(Conflict, match="nothing left"):
        give(org, invoice, None, key="void2", reason="again", actor=ACTOR)
    pages = words(shop.corrections.pdf(org, notes[-1].id))
    assert "Corrects invoice: INV-" in pages


def test_a_void_period_is_invoiced_again(shop):
    """The new invoice has its own number and charges the period once."""
    org = shop.buyer()
    shop.report(org, MAY, 100)
    first = shop.final(org, MAY)
    assert shop.invoices.make_draft(org, MAY, ACTOR) == first
    shop.corrections.credit(org, first, None, key="void", reason="wrong name", actor=ACTOR)
    second = shop.invoices.make_draft(org, MAY, ACTOR)
    assert second != first
    shop.invoices.approve(org, second, ACTOR)
    shop.invoices.finalise(org, second, ACTOR)
    assert receivable(shop, org) == shop.invoices.one(org, second).row.total == 2380


def test_late_usage_is_charged_after_the_last_period_too(shop):
    """A month without a price has a draft when, and only when, an earlier one misses something."""
    org = shop.buyer()
    first = shop.final(org, MAY)
    shop.rating.sold_until = month(1)
    try:
        assert shop.draft(org, month(1)) is None
        shop.report(org, MAY, 100)
        late = shop.draft(org, month(2))
    finally:
        shop.rating.sold_until = PriceASample().sold_until
    (position,) = shop.invoices.one(org, late).positions
    assert (position.line.amount, position.adjusts) == (100, first)
    assert position.line.period.start == MAY


def test_two_drafts_at_once_charge_late_usage_once(shop):
    """Whichever of two later months is drafted first has the adjustment; the other has none."""
    org, meeting = shop.buyer(), threading.Barrier(2)
    shop.final(org, MAY)
    shop.report(org, MAY, 100)
    months = [shop.closed(org, month(1)), shop.closed(org, month(2))]

    class Meeting(type(shop.rating)):
        def rated(self, session, org, period):
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait(0.5)  # both are in the middle of it, unless one waits for the other
            return super().rated(session, org, period)

    invoices = Invoices(shop.database, shop.hub.clock, Meeting())
    threads = [
        threading.Thread(target=invoices.make_draft, args=(org, start, ACTOR)) for start in months
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    totals = [row.subtotal for row in shop.invoices.page(org, before=None, state=None, limit=9)]
    assert sorted(totals) == [1900, 1900, 1900 + 100]


def test_payments_fit_what_is_open(shop):
    """In parts, each reference once, never more than is open; a transfer that bounced goes back."""
    org = shop.buyer()
    invoice = shop.final(org, MAY)
    on = MAY.date()
    pay = shop.corrections.pay
    for _ in range(2):
        pay(org, invoice, Payment(1000, on, "A"), ACTOR)
    with pytest.raises(Conflict, match="another payment"):
        pay(org, invoice, Payment(999, on, "A"), ACTOR)
    with pytest.raises(Conflict, match=r"open=12\.61"):
        pay(org, invoice, Payment(1262, on, "B"), ACTOR)
    pay(org, invoice, Payment(1261, on, "B"), ACTOR)
    assert receivable(shop, org) == 0
    pay(org, invoice, Payment(-1261, on, "B bounced"), ACTOR)
    with pytest.raises(Conflict):
        pay(org, invoice, Payment(-1001, on, "too much"), ACTOR)
    assert receivable(shop, org) == 1261


def test_the_wallet_pays_first_and_gets_it_back(shop):
    """Credits never exceed the total; what was drawn goes back when nobody owes it any more."""
    org = shop.buyer()
    grant = NewGrant("EUR", 2000, Source.PAID, "prepaid", 100, None)
    shop.hub.services.wallets.grant(org, grant, key="g", actor=ACTOR)
    invoice = shop.final(org, MAY)
    row = shop.invoices.one(org, invoice).row
    assert (row.subtotal + row.tax, row.credits, row.total) == (2261, 2000, 261)
    shop.corrections.credit(org, invoice, None, key="void", reason="test", actor=ACTOR)
    (wallet,), _ = shop.hub.services.wallets.page(org, before=None, limit=10)
    assert (wallet.balance, receivable(shop, org)) == (2000, 0)


def test_nothing_is_invoiced_before_it_may_be(shop):
    """No confirmed seller, no approval, no billing details, no closed period, no tax rate: each is
    refused by name, and no number is used.
    """
    services, org = shop.hub.services, shop.buyer(country="FR")
    home = services.first_start.home_organisation()
    services.sellers.put_seller({**SELLER, "address": "Moved"}, home, ACTOR)
    with pytest.raises(Conflict, match="confirmed"):
        shop.draft(org, MAY)
    services.sellers.put_seller(SELLER, home, ACTOR)
    services.sellers.confirm(home, ACTOR)
    invoice = shop.draft(org, MAY)
    with pytest.raises(Conflict, match="not approved"):
        shop.invoices.finalise(org, invoice, ACTOR)
    with pytest.raises(Conflict, match="no pages"):
        shop.invoices.pdf(org, invoice)
    with pytest.raises(NotFound):
        shop.invoices.make_draft(org, month(7), ACTOR)
    nameless = shop.buyer()
    with shop.database.organisation(nameless) as session:
        session.execute(t.customer.update().values(legal_name=""))
    invoice = shop.draft(nameless, MAY)
    shop.invoices.approve(nameless, invoice, ACTOR)
    with pytest.raises(Conflict, match="billing details"):
        shop.invoices.finalise(nameless, invoice, ACTOR)
    with pytest.raises(Conflict, match="no tax rate"):
        shop.draft(org, datetime(2019, 5, 1, tzinfo=UTC))


def test_json_and_pages_say_the_same_numbers(shop):
    """Every amount of the stored JSON is printed."""
    org = shop.buyer(legal_name="Ελλάδα Μίρ Мир ประเทศไทย شركة " + "Long Name " * 20)
    shop.report(org, MAY, "1234.5")
    invoice = shop.final(org, MAY)
    said = json.loads(shop.invoices.one(org, invoice).row.payload)
    pages = words(shop.invoices.pdf(org, invoice))
    for name in ("number", "subtotal", "tax", "total", "date", "due"):
        assert said[name] in pages
    for line in said["lines"]:
        assert line["amount"] in pages
        assert line["description"] in pages
    assert "Tax is computed once per rate" in pages
    assert "Ελλάδα Μίρ Мир ประเทศไทย" in pages


def test_a_line_opens_to_its_hours(shop):
    """The hours that a line was computed from are stored with it, as they were, and their digest
    is that of the rows; later revisions change neither.
    """
    org = shop.buyer()
    for hour in range(3):
        shop.report(org, MAY + timedelta(hours=hour), 10 + hour)
    invoice = shop.final(org, MAY)
    shop.report(org, MAY, 99, revision=2)
    proof = shop.invoices.proof(org, invoice, 2)
    (hours,) = proof.hours
    lines = unpack(hours.hours)
    assert hashlib.sha256(lines.encode()).hexdigest() == hours.digest
    assert hours.digest == proof.position.line.derivation["hours_digest"]
    assert [line.split()[2].rstrip("0").rstrip(".") for line in lines.split("\n")] == [
        "10", "11", "12",
    ]  # fmt: skip
