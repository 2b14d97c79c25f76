"""Laws of the runs that ubs is told: each counts once, whatever answers are lost."""

import json
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest
from neighbours import TENANT_A, TENANT_B
from sqlalchemy import text

from analysis_processing.analyses import resolved_params
from analysis_processing.chassis.identity.billing import Billing
from analysis_processing.chassis.identity.principal import IdentityUnavailable
from analysis_processing.jobs import claims, repository, usage
from analysis_processing.model import Request

NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
HOUR = timedelta(hours=1)


LEASE_S = 15.0


def act(engine, what, *args, **kwargs):
    with engine.begin() as db:
        return what(db, *args, **kwargs)


def submit(engine, query, tenant=TENANT_A, now=NOW):
    params = resolved_params("anomaly", {}, 60_000)
    asked = Request("anomaly", query, 0, 600_000, 60_000, params)
    return act(engine, repository.submit, tenant, asked, "key:x", now=now, unfinished_max=100)


def claim(engine, now):
    return act(engine, claims.claim, "w", now, LEASE_S, 3)


def done(engine, claimed, now):
    nothing = {"chunks": 0, "summary": {}, "written_series": [], "warning": None}
    act(engine, claims.succeed, claimed, now, **nothing)


class Ledger:
    """A stand-in of ubs at its door: keeps the last revision of each hour. lost: of each request,
    whether it is lost before it arrives ("request") or its answer is ("answer"), from the first.
    """

    def __init__(self, lost=()):
        self.hours, self.complete_through, self.requests, self._lost = {}, None, 0, list(lost)
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.billing = Billing("http://ubs", "token", http)

    def _answer(self, request):
        self.requests += 1
        fault = self._lost.pop(0) if self._lost else ""
        if fault == "request":
            raise httpx.ConnectError("lost")
        body = json.loads(request.content)
        assert (request.url.path, body["source"]) == ("/internal/usage", "aps")
        for report in body["reports"]:
            key = report["tenant"], report["hour"]
            if self.hours.setdefault(key, report)["revision"] <= report["revision"]:
                self.hours[key] = report
        self.complete_through = body.get("complete_through", self.complete_through)
        if fault == "answer":
            raise httpx.ReadError("lost")
        return httpx.Response(200, json={"outcomes": ["stored"] * len(body["reports"])})

    def runs(self, tenant):
        """By hour, oldest first."""
        told = sorted((hour, report) for (of, hour), report in self.hours.items() if of == tenant)
        return [int(report["meters"]["analysis_runs"]["quantity"]) for _, report in told]


@pytest.fixture(autouse=True)
def empty(engine):
    """No hour of another test's runs."""
    act(engine, lambda db: db.execute(text("TRUNCATE analysis.usage_hour")))


def run(engine, query, tenant=TENANT_A, now=NOW):
    """A job of this query that succeeds."""
    submit(engine, query, tenant, now=now)
    done(engine, claim(engine, now), now)


def deliver(engine, ledger):
    return anyio.run(usage.deliver, engine, ledger.billing)


@pytest.mark.parametrize("lost", [[], ["request"], ["answer"], ["answer", "request"]], ids=str)
def test_ubs_ends_with_the_runs_there_were(engine, lost):
    """Runs end between deliveries, requests and answers are lost: the last word is the truth, and
    when all was answered for, nothing is sent again.
    """
    ledger = Ledger(lost)
    for step in range(4):
        run(engine, f"up{step}", now=NOW - step % 2 * HOUR)
        run(engine, f"down{step}", TENANT_B)
        try:
            deliver(engine, ledger)
        except IdentityUnavailable:
            continue
    deliver(engine, ledger)
    assert (ledger.runs(str(TENANT_A)), ledger.runs(str(TENANT_B))) == ([2, 2], [4])
    assert deliver(engine, ledger) == 0
    told = datetime.fromisoformat(ledger.complete_through)
    assert timedelta(minutes=1) < datetime.now(UTC) - told < timedelta(minutes=3)


def test_only_a_result_counts_and_only_once(engine):
    """A failed or cancelled run, one whose lease was lost, and the same question again are free."""
    submit(engine, "fails", now=NOW)
    act(engine, claims.fail, claim(engine, NOW), NOW, "no")
    submit(engine, "stops", now=NOW)
    act(engine, claims.cancelled, claim(engine, NOW), NOW)
    submit(engine, "is lost", now=NOW)
    lost = claim(engine, NOW)
    later = NOW + timedelta(seconds=LEASE_S + 1)
    done(engine, claim(engine, later), later)
    with pytest.raises(claims.LeaseLost):
        done(engine, lost, later)
    submit(engine, "is lost", now=later)
    assert claim(engine, later) is None
    ledger = Ledger()
    deliver(engine, ledger)
    assert ledger.runs(str(TENANT_A)) == [1]


def test_more_hours_than_a_page_are_all_told(engine):
    """Page after page, each answered for by itself: a lost one takes no other back."""
    hours = 2 * usage.PAGE + 1
    with engine.begin() as db:
        for hour in range(hours):
            usage.count_run(db, TENANT_A, NOW - hour * HOUR)
    ledger = Ledger(["", "", "answer"])
    with pytest.raises(IdentityUnavailable):
        deliver(engine, ledger)
    assert deliver(engine, ledger) == 1
    assert ledger.runs(str(TENANT_A)) == [1] * hours
    assert ledger.requests == 4
