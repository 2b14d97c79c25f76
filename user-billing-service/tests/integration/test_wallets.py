"""Credit is used once, in order, never more than there is; the ledger agrees after each step.

`WALLET_STEPS=10000` runs the machine for longer.
"""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from ledgers import new_organisation

from user_billing.errors import Conflict
from user_billing.ledger.rules import Account
from user_billing.model import Actor
from user_billing.wallets.rules import NewGrant, Source
from user_billing.wallets.service import draw, give_back

OPERATOR = Actor("operator")
STEPS = int(os.environ.get("WALLET_STEPS", "300"))
AMOUNTS = st.integers(min_value=1, max_value=60)


class Machine(RuleBasedStateMachine):
    """A wallet beside a list of grants in order, used cent by cent."""

    hub = None

    def __init__(self):
        super().__init__()
        self.org = new_organisation(self.hub)
        self.grants, self.draws, self.returns, self.wallets = {}, {}, {}, self.hub.services.wallets
        self.expired = 0

    def now(self):
        return self.hub.clock.now()

    @rule(
        amount=AMOUNTS,
        days=st.none() | st.integers(1, 60),
        priority=st.integers(0, 2),
        source=st.sampled_from(Source),
    )
    def grant(self, amount, days, priority, source):
        ends = None if days is None else self.now() + timedelta(days=days)
        new = NewGrant("EUR", amount, source, "test", priority, ends)
        made = [
            self.wallets.grant(self.org, new, key=str(len(self.grants)), actor=OPERATOR)
            for _ in range(2)
        ]
        assert made[0].id == made[1].id
        self.grants[made[0].id] = [priority, ends, amount, made[0].granted_at, made[0].id]

    def order(self, grant):
        priority, ends, _, granted_at, grant_id = grant
        return priority, ends is None, ends, granted_at, grant_id

    def draw_once(self, key, total, *, commit=True):
        with self.hub.services.database.organisation(self.org) as session:
            amount = draw(session, self.org, key=key, currency="EUR", total=total, now=self.now())
            if not commit:
                session.rollback()
        return amount

    @rule(total=st.integers(0, 90), fails_first=st.booleans())
    def draw(self, total, fails_first):
        key = f"invoice {len(self.draws)}"
        if fails_first:
            self.draw_once(key, total, commit=False)
        amount = self.draw_once(key, total)
        assert amount <= total
        usable = [g for g in self.grants.values() if g[1] is None or g[1] > self.now()]
        taken = []
        for grant in sorted(usable, key=self.order):
            part = min(grant[2], total - sum(t for _, t in taken))
            grant[2] -= part
            taken.append([grant, part])
        assert amount == sum(part for _, part in taken)
        self.draws[key] = taken
        assert not amount or self.draw_once(key, total) == amount, "the same key draws once"

    @rule(amount=AMOUNTS, data=st.data())
    def give_back(self, amount, data):
        if not self.draws:
            return
        of = data.draw(st.sampled_from(sorted(self.draws)))
        key = f"credit {len(self.returns)}"
        self.returns[key] = expected = 0
        parts = sorted(self.draws[of], key=lambda part: self.order(part[0]), reverse=True)
        for part in parts:
            grant, back = part[0], min(part[1], amount - expected)
            if back:
                part[1] -= back
                grant[2] += back
                grant[1] = grant[1] and max(grant[1], self.now() + timedelta(days=30))
                expected += back
        for _ in range(2 if expected else 1):
            with self.hub.services.database.organisation(self.org) as session:
                returned = give_back(
                    session, self.org, key=key, of=of, currency="EUR", amount=amount,
                    now=self.now(),
                )  # fmt: skip
            assert returned == expected

    @rule(days=st.integers(1, 20), sweeps=st.booleans())
    def time_passes(self, days, sweeps):
        self.hub.clock.advance(days=days)
        if sweeps:
            self.wallets.expire()
            for grant in self.grants.values():
                if grant[1] is not None and grant[1] <= self.now():
                    grant[2] = 0

    @invariant()
    def all_agree(self):
        rows = {row.id: row for row in self.wallets.grants(self.org, before=None, limit=500)}
        assert {n: row.remaining for n, row in rows.items()} == {
            n: grant[2] for n, grant in self.grants.items()
        }
        assert {n: row.expires_at for n, row in rows.items()} == {
            n: grant[1] for n, grant in self.grants.items()
        }
        assert all(0 <= row.remaining <= row.amount for row in rows.values())
        balances = self.hub.services.ledger.balances(self.org)
        assert sum(balances.values()) == 0
        balance = sum(row.remaining for row in rows.values())
        assert balances.get((Account.WALLET, "EUR"), 0) == -balance
        used = sum(part for parts in self.draws.values() for _, part in parts)
        assert balances.get((Account.RECEIVABLE, "EUR"), 0) == -used
        assert list(self.wallets.faults(self.org)) == []

    def teardown(self):
        assert list(self.hub.services.ledger.faults(self.org)) == []


def test_any_sequence_keeps_wallet_and_ledger_equal(hub):
    """Grants, draws, draws that fail, credit notes, time and sweeps in any order: after each step
    debit is credit, the balance is the sum of what is left of grants, and nothing is negative.
    """
    Machine.hub = hub
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=max(1, STEPS // 30), stateful_step_count=30, deadline=None,
            derandomize=True, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_sixteen_at_once_never_overdraw(hub):
    """Draws and credit notes of 16 threads, a quarter rolled back: what is left is what was
    granted less what was committed, and no draw took more than there was.
    """
    org, services = new_organisation(hub), hub.services
    for n in range(5):
        grant = NewGrant("EUR", 40, Source.PAID, "prepaid", n)
        services.wallets.grant(org, grant, key=str(n), actor=OPERATOR)
    start, committed = threading.Barrier(16), []

    def work(n):
        chance = random.Random(n)
        start.wait()
        for step in range(4):
            key, fails = f"{n}.{step}", chance.random() < 0.25
            with services.database.organisation(org) as session:
                taken = draw(session, org, key=key, currency="EUR", total=7, now=hub.clock.now())
                if fails:
                    session.rollback()
            committed.append(0 if fails else taken)
            if step == 2:
                with services.database.organisation(org) as session:
                    back = give_back(
                        session, org, key=key, of=key, currency="EUR", amount=3,
                        now=hub.clock.now(),
                    )  # fmt: skip
                committed.append(-back)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    left = sum(row.remaining for row in services.wallets.grants(org, before=None, limit=9))
    assert left == 200 - sum(committed)
    assert list(services.wallets.faults(org)) == []
    assert sum(services.ledger.balances(org).values()) == 0


GRANT = {"amount": "19.00", "currency": "EUR", "source": "paid", "reason": "bank transfer 7"}


@pytest.fixture
def founder(hub):
    """The operator, logged in now: other tests move the clock."""
    hub.founder = hub.log_in("founder@example.org")
    return hub.founder


def grant_to(browser, org, body=GRANT, key="first"):
    headers = browser.headers() | ({"Idempotency-Key": key} if key else {})
    url = f"/api/v1/operator/organisations/{org}/wallet/grants"
    return browser.http.post(url, json=body, headers=headers)


def test_the_operator_grants_and_the_organisation_reads(hub, founder):
    """Credit is granted once for each key, seen by its owner, and in its audit log."""
    owner = hub.owner("Prepaid")
    made = grant_to(founder, owner.org)
    assert made.status_code == 201, made.text
    again = grant_to(founder, owner.org)
    assert (again.status_code, again.json()) == (201, made.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert grant_to(founder, owner.org, GRANT | {"amount": "1"}).status_code == 409
    hub.clock.advance(hours=25)
    hub.services.answers.sweep()
    founder = hub.log_in("founder@example.org")
    late = grant_to(founder, owner.org)
    assert late.json()["id"] == made.json()["id"], "the ledger remembers for ever"
    owner = hub.log_in(owner.session["user"]["email"])
    assert owner.get("/api/v1/wallets").json()["wallets"] == [
        {"currency": "EUR", "balance": "19.00", "grants": 1, "next_expiry": None}
    ]
    assert owner.get("/api/v1/wallets/grants").json()["grants"] == [made.json()]
    events = owner.get("/api/v1/audit").json()["events"]
    assert [e["action"] for e in events].count("wallet.granted") == 1


@pytest.mark.parametrize(
    ("change", "key", "status"),
    [
        ({}, None, 400),
        ({"amount": "1.001"}, "k", 400),
        ({"amount": "0"}, "k", 400),
        ({"currency": "XXQ"}, "k", 400),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "k", 400),
    ],
)
def test_what_is_not_granted(founder, change, key, status):
    """No key, decimals that the currency has not, nothing, no currency, the past."""
    assert grant_to(founder, founder.org, GRANT | change, key).status_code == status


def test_only_the_operator_grants(hub, founder):
    """An owner grants nothing to themselves; an unknown organisation is not found."""
    owner = hub.owner("Greedy")
    assert grant_to(owner, owner.org).status_code == 403
    nowhere = "019ad000-0000-7000-8000-000000000000"
    assert grant_to(founder, nowhere, key="nowhere").status_code == 404


def test_a_draws_key_is_of_one_invoice(hub):
    """The same key for a smaller invoice is refused: the invoice would be paid twice."""
    org = new_organisation(hub)
    grant = NewGrant("EUR", 50, Source.GIFT, "welcome")
    hub.services.wallets.grant(org, grant, key="k", actor=OPERATOR)
    with hub.services.database.organisation(org) as session:
        draw(session, org, key="i", currency="EUR", total=30, now=hub.clock.now())
    with pytest.raises(Conflict), hub.services.database.organisation(org) as session:
        draw(session, org, key="i", currency="EUR", total=20, now=hub.clock.now())
