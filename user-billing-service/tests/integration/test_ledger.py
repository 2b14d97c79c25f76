"""The ledger: each transaction sums to zero, is posted once and stands for ever."""

import pytest
from ledgers import new_organisation
from sqlalchemy import text

from user_billing import operate
from user_billing.db.session import within
from user_billing.errors import Conflict
from user_billing.identifiers import new_id
from user_billing.ledger.rules import Account, Entry, transfer
from user_billing.ledger.service import post


@pytest.fixture
def org(hub):
    return new_organisation(hub)


def put(hub, org, key, amount=1900, reference="INV-1"):
    with hub.services.database.organisation(org) as session:
        entries = transfer(Account.RECEIVABLE, Account.REVENUE, amount, "EUR")
        now = hub.clock.now()
        return post(
            session, org, key=key, kind="invoice", entries=entries, now=now, reference=reference
        )


def test_a_key_is_posted_once(hub, org):
    """The same again changes nothing; something else is refused, and the audit log tells of it."""
    assert put(hub, org, "invoice:1")
    assert not put(hub, org, "invoice:1")
    for other in ({"amount": 2000}, {"reference": "INV-2"}):
        with pytest.raises(Conflict, match="invoice:1"):
            put(hub, org, "invoice:1", **other)
    assert hub.services.ledger.balances(org) == {
        (Account.RECEIVABLE, "EUR"): 1900, (Account.REVENUE, "EUR"): -1900,
    }  # fmt: skip
    events = hub.services.audit.page(org, before=None, limit=9)
    assert [(e.action, e.target) for e in events] == [("ledger.conflict", "invoice:1")] * 2


def test_what_is_rolled_back_was_not_posted(hub, org):
    """The key of a transaction that failed is free."""
    with hub.services.database.organisation(org) as session:
        entries = transfer(Account.CASH, Account.RECEIVABLE, 5, "EUR")
        post(session, org, key="k", kind="payment", entries=entries, now=hub.clock.now())
        session.rollback()
    assert put(hub, org, "k")


def test_an_operators_transaction_is_checked_too(hub, org):
    """Inside a directory transaction the check runs while the organisation's rows are seen."""
    entries = [*transfer(Account.CASH, Account.WALLET, 5, "EUR"), Entry(Account.TAX, "JPY", 1)]
    with hub.services.database.directory() as session, within(session, org):
        post(session, org, key="a", kind="x", entries=entries[:2], now=hub.clock.now())
    with pytest.raises(AssertionError, match="JPY"), hub.services.database.directory() as session:
        post(session, org, key="b", kind="x", entries=entries, now=hub.clock.now())


def run(hub, org, statements):
    with hub.services.database.organisation(org) as session:
        for statement in statements:
            session.execute(text(statement))


INSERT = "INSERT INTO billing.ledger_{} VALUES ({})"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["1, 'cash', 'EUR', 5"],
        ["1, 'cash', 'EUR', 5", "2, 'tax', 'EUR', -4"],
        ["1, 'cash', 'EUR', 5", "2, 'cash', 'USD', -5"],
    ],
    ids=["nothing", "one side", "unequal", "two currencies"],
)
def test_postgres_refuses_what_does_not_balance(hub, org, rows):
    """Whoever writes it, in one statement or in several, the commit fails."""
    ids = f"'{org}', '{new_id()}'"
    said = [("tx", "'k', 'invoice', '', now(), sha256('')"), *(("entry", row) for row in rows)]
    statements = [INSERT.format(table, f"{ids}, {values}") for table, values in said]
    with pytest.raises(Exception, match="does not sum to 0"):
        run(hub, org, statements)


def test_an_entry_added_later_is_refused(hub, org):
    """A transaction that stands does not grow by half."""
    put(hub, org, "k")
    with (
        pytest.raises(Exception, match="does not sum to 0"),
        hub.services.database.organisation(org) as session,
    ):
        session.execute(
            text(
                "INSERT INTO billing.ledger_entry SELECT org_id, tx_id, 3, account, currency, 1"
                " FROM billing.ledger_entry WHERE n = 1"
            )
        )


@pytest.mark.parametrize("table", ["ledger_tx", "ledger_entry"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing.{} SET org_id = org_id",
        "DELETE FROM billing.{}",
        "TRUNCATE billing.{} CASCADE",
    ],
    ids=["update", "delete", "truncate"],
)
def test_the_ledger_only_grows(hub, org, table, statement):
    """UPDATE, DELETE and TRUNCATE are refused by Postgres: to the service, and to a superuser."""
    put(hub, org, "k")
    with (
        pytest.raises(Exception, match="permission denied"),
        hub.services.database.organisation(org) as session,
    ):
        session.execute(text(statement.format(table)))
    with (
        hub.services.database.engine.connect() as connection,
        pytest.raises(Exception, match="only grows"),
    ):
        connection.execute(text(statement.format(table)))


def test_summing_again_finds_what_was_changed(hub, org):
    """Rows changed behind the triggers' back, as only the server's owner can, are named."""
    put(hub, org, "k")
    assert list(hub.services.ledger.faults(org)) == []
    with hub.services.database.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(
            text("UPDATE billing.ledger_entry SET amount = 1901 WHERE org_id = :org AND n = 1"),
            {"org": org},
        )
    (fault,) = hub.services.ledger.faults(org)
    assert "does not say what was posted" in fault
    with pytest.raises(SystemExit, match="does not say what was posted"):
        operate.run(hub.services.settings, "verify-ledger", org)
    assert "sums to zero" in operate.run(hub.services.settings, "verify-ledger", new_id())


def test_accountants_read_it_page_by_page(hub):
    """Newest first, each page goes on where the last ended; amounts are decimal text."""
    owner = hub.owner("Books")
    for number in range(5):
        put(hub, owner.org, f"k{number}", 100 + number, f"INV-{number}")
    viewer, seen, before = hub.member(owner, "viewer"), [], {}
    while True:
        page = viewer.get("/api/v1/ledger", params={"limit": 2, **before}).json()
        seen += page["transactions"]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert [tx["reference"] for tx in seen] == [f"INV-{n}" for n in (4, 3, 2, 1, 0)]
    assert seen[0]["entries"] == [
        {"account": "receivable", "currency": "EUR", "amount": "1.04"},
        {"account": "revenue", "currency": "EUR", "amount": "-1.04"},
    ]
    assert page["balances"] == [
        {"account": "receivable", "currency": "EUR", "amount": "5.10"},
        {"account": "revenue", "currency": "EUR", "amount": "-5.10"},
    ]
