"""One month from the first sample to the paid invoice, every amount computed again the slow way."""

import io
import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import httpx
import pypdf
import pytest
from conftest import INTERNAL, set_up_hub
from embedded_postgres import fresh_database
from receiver import receiving
from shop import CUSTOMER, SELLER

from user_billing import prove

START, END, NEXT_END = (datetime(2027, month, 1, tzinfo=UTC) for month in (4, 5, 6))
HOURS = [START + timedelta(hours=2 * n) for n in range(30 * 12)]
TIERS = [("500", "0.0131", "0"), ("2000", "0.0077", "1.5"), (None, "0.0031", "0")]
CHEAP = [("300", "0.0171", "0"), (None, "0.0059", "0.25")]
CHANGED = datetime(2027, 4, 16, 12, tzinfo=UTC)


def plan(name, recurring, tiers, included):
    keys = ("upto", "unit", "flat")
    graduated = [dict(zip(keys, tier, strict=True)) for tier in tiers]
    return {
        "name": name, "currency": "EUR", "recurring": recurring,
        "prices": [
            {"meter": "samples_ingested", "model": "graduated", "included": included,
             "tiers": graduated},
            {"meter": "active_series", "model": "per_unit", "included": "10", "unit": "0.0113"},
            {"meter": "query_samples", "model": "package", "package": "1000", "unit": "0.37"},
        ],
    }  # fmt: skip


PLANS = {
    "hours": plan("Hours", "5.00", TIERS, "100"),
    "cheap": plan("Cheap", "4.99", CHEAP, "50"),
}


def cents(amount):
    """Of an amount in euros, halves away from zero; nothing here is negative."""
    return int(amount * 100 + Fraction(1, 2))


def tiers_cost(code, samples, share=Fraction(1)):
    """Unit after unit, each by the tier that it lies in; one on a bound is cut in two."""
    price = PLANS[code]["prices"][0]
    included, total, low = Fraction(price["included"]) * share, Fraction(0), Fraction(0)
    bounds = []
    for tier in price["tiers"]:
        high = Fraction(tier["upto"]) * share if tier["upto"] else Fraction(10**12)
        bounds.append((low, high, Fraction(tier["unit"])))
        total += Fraction(tier["flat"]) * share if samples - included > low else 0
        low = high
    for unit in range(samples):
        begin, end = max(unit, included) - included, max(unit + 1 - included, Fraction(0))
        for low, high, price_of_one in bounds:
            total += max(min(end, high) - max(begin, low), Fraction(0)) * price_of_one
    return cents(total)


def lines_of(code, hours, share=Fraction(1)):
    """The amounts of a plan over these hours (samples, minutes, query samples)."""
    minutes = sorted(n for _, by_minute, _ in hours for n in by_minute)
    p95 = next(n for place, n in enumerate(minutes, 1) if place >= Fraction(95 * len(minutes), 100))
    packages, queried = 0, sum(queries for _, _, queries in hours)
    while packages * 1000 < queried:
        packages += 1
    return [
        cents(Fraction(PLANS[code]["recurring"]) * share),
        tiers_cost(code, sum(samples for samples, _, _ in hours), share),
        cents(max(p95 - 10, 0) * Fraction("0.0113") * share),
        cents(packages * Fraction("0.37")),
    ]


def usage_of(seed, most):
    """What an organisation uses: hour → samples, series by minute, samples that queries read."""
    chance = random.Random(seed)
    return {
        hour: (chance.randrange(most), [chance.randrange(80) for _ in range(60)],
               chance.randrange(40))
        for hour in HOURS
    }  # fmt: skip


def reports(org, usage, revision, part=1):
    """Those of dis, of some hours."""
    return [
        {
            "tenant": org, "hour": hour.isoformat(), "revision": revision,
            "meters": {
                "samples": {"quantity": str(samples // part)}, "active_series": {"minutes": minutes}
            },
        }
        for hour, (samples, minutes, _) in usage.items()
    ]  # fmt: skip


class Month:
    """The platform, its operator, and four customers."""

    def __init__(self, hub, receiver):
        self.hub, self.receiver, self.owners = hub, receiver, {}
        self.usage = {"a": usage_of(1, 10), "b": usage_of(2, 6), "c": usage_of(3, 4)}

    def at(self, *moment):
        """It is then, and everybody has just signed in."""
        self.hub.clock.instant = datetime(2027, *moment, tzinfo=UTC)
        self.hub.founder = self.hub.log_in("founder@example.org")
        for name, owner in self.owners.items():
            self.owners[name] = self.hub.log_in(owner.session["user"]["email"])

    def operate(self, method, path, body=None):
        operator = self.hub.founder
        headers = operator.headers() | {"Idempotency-Key": path}
        url = f"/api/v1/operator/{path}"
        answer = operator.http.request(method, url, json=body, headers=headers)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()

    def own(self, name, method, path, body=None):
        owner = self.owners[name]
        answer = owner.http.request(method, f"/api/v1/{path}", json=body, headers=owner.headers())
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()

    def send(self, source, rows, through=None):
        """What became of the rows."""
        outcomes = []
        for first in range(0, len(rows), 100):
            body = {"source": source, "reports": rows[first : first + 100]}
            if through:
                body["complete_through"] = through.isoformat()
            url = f"{self.hub.base_url}/internal/usage"
            answer = httpx.post(url, json=body, headers=INTERNAL, timeout=600)
            assert answer.status_code == 200, answer.text
            outcomes += answer.json()["outcomes"]
        return set(outcomes)

    def begin(self):
        self.at(4, 1, 0, 10)
        self.operate("PUT", "seller", SELLER)
        self.operate("POST", "seller/confirm")
        rate = {"country": "DE", "valid_from": "2020-01-01", "name": "VAT", "percent": "19"}
        self.operate("PUT", "tax-rates", rate)
        for code, body in PLANS.items():
            self.operate("POST", f"plans/{code}", body)
        for name in "abcd":
            self.owners[name] = self.hub.owner(f"Customer {name}")
        for name in "abc":
            self.own(name, "PUT", "billing-details", CUSTOMER)
            self.own(name, "PUT", "subscriptions/current", {"plan": "hours"})
        hook = {"url": self.receiver.url, "event_types": ["invoice.finalized"]}
        self.own("a", "POST", "webhooks", hook)
        grant = {"amount": "20.00", "currency": "EUR", "source": "paid", "reason": "transfer"}
        self.operate("POST", f"organisations/{self.owners['b'].org}/wallet/grants", grant)

    def send_all(self):
        """A resends everything twice in any order, B's last day is late, D has no plan."""
        orgs = {name: owner.org for name, owner in self.owners.items()}
        first = reports(orgs["a"], self.usage["a"], 1, part=2)
        last = reports(orgs["a"], self.usage["a"], 2)
        again = [*first, *last] * 2
        random.Random(4).shuffle(again)
        assert self.send("dis", first) == {"stored"}
        assert self.send("dis", again) <= {"stored", "older"}
        in_time = dict(list(self.usage["b"].items())[:-12])
        for rows in (reports(orgs["b"], in_time, 1), reports(orgs["c"], self.usage["c"], 1),
                     reports(orgs["d"], in_time, 1)):  # fmt: skip
            assert self.send("dis", rows, START) == {"stored"}
        for name, usage in self.usage.items():
            rows = [
                {"tenant": orgs[name], "hour": hour.isoformat(), "revision": 1,
                 "meters": {"query_samples": {"quantity": str(queries)}}}
                for hour, (_, _, queries) in usage.items()
            ]  # fmt: skip
            assert self.send("das", rows, END) == {"stored"}

    def split_by_team(self, teams):
        """Some of A's hours are split; teams and nobody sum to what will be billed."""
        url = f"{self.hub.base_url}/internal/attribution"
        due = httpx.get(url, headers=INTERNAL, timeout=600).json()
        shares = {team: {"samples": n, "series": n} for n, team in enumerate([*teams, ""], 1)}
        body = {**due, "hours": [{**hour, "shares": shares} for hour in due["hours"]]}
        del body["rules"]
        assert httpx.put(url, json=body, headers=INTERNAL, timeout=600).status_code == 200
        path = "usage/by-team?start=2027-04-01T00:00:00Z&end=2027-05-01T00:00:00Z&step=month"
        parts = {
            one["team"]: int(one["quantity"])
            for one in self.own("a", "GET", path)["usage"] if one["meter"] == "samples"
        }  # fmt: skip
        assert set(parts) == {*teams, None}
        assert sum(parts.values()) == sum(samples for samples, *_ in self.usage["a"].values())

    def invoice_all(self):
        """The invoices of what is drafted, by customer."""
        drafts = self.operate("GET", "invoices?state=draft")["invoices"]
        whose = {owner.org: name for name, owner in self.owners.items()}
        made = {}
        for draft in sorted(drafts, key=lambda one: whose[one["organisation_id"]]):
            for step in ("approve", "finalise"):
                body = self.operate("POST", f"invoices/{draft['id']}/{step}")
            made[whose[draft["organisation_id"]]] = body
        return made


@pytest.fixture(scope="module")
def month(server_url):
    with (
        receiving() as receiver,
        fresh_database(server_url, "ubs_month") as url,
        set_up_hub(url, webhook_allow="127.0.0.0/8") as hub,
    ):
        yield Month(hub, receiver)


def agrees_with_oracle(invoice, net, drawn=0):
    """Lines, tax on their sum, what the wallet paid and the total are those of the oracle."""
    amounts = [round(Fraction(line["amount"]) * 100) for line in invoice["lines"]]
    assert amounts == net
    tax = cents(Fraction(sum(net), 100) * Fraction(19, 100))
    said = [int(Fraction(invoice[name]) * 100) for name in ("subtotal", "tax", "credits", "total")]
    assert said == [sum(net), tax, drawn, sum(net) + tax - drawn]


def is_proved(month, invoice, capsys):
    """The command agrees with everything, and the pages say the total."""
    with pytest.raises(SystemExit) as ended:
        prove.main([invoice["id"]], month.hub.services.settings)
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert "?      " not in said, said
    org, number = invoice["organisation_id"], invoice["id"]
    (owner,) = (one for one in month.owners.values() if one.org == org)
    pages = owner.get(f"/api/v1/invoices/{number}/pdf").content
    words = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pages)).pages)
    assert invoice["number"] in words
    assert invoice["total"] in words.replace(",", "")


def test_a_real_month(month, capsys):
    """Whatever is sent twice, late or out of order, each invoice is right to the cent, proves
    itself, is numbered from 1, and late usage is on the next one with its own period.
    """
    month.begin()
    a, b, c = (month.usage[name] for name in "abc")
    team_ids = [month.own("a", "POST", "teams", {"name": n})["id"] for n in ("x", "y", "z")]
    rules = [{"team": team, "selector": f'{{team="{team}"}}'} for team in team_ids[:2]]
    month.own("a", "PUT", "attribution", {"rules": rules})
    month.at(4, 16, 12, 30)
    month.own("b", "PUT", "subscriptions/current", {"plan": "cheap", "when": "now"})
    month.at(5, 1, 0, 30)
    month.send_all()
    month.split_by_team(team_ids)
    month.hub.services.periods.step()
    assert month.operate("GET", "invoices")["invoices"] == [], "the grace has begun"
    month.at(5, 1, 20, 0)
    b_late = dict(list(b.items())[-12:])
    assert month.send("dis", reports(month.owners["b"].org, b_late, 1)) == {"stored"}
    month.at(5, 2, 0, 30)
    month.hub.services.periods.step()
    made = month.invoice_all()
    assert [one["number"] for one in made.values()] == ["INV-000001", "INV-000002", "INV-000003"]

    agrees_with_oracle(made["a"], lines_of("hours", list(a.values())))
    share = Fraction((CHANGED - START) / (END - START)).limit_denominator(720)
    before = lines_of("hours", [of for hour, of in b.items() if hour < CHANGED], share)
    after = lines_of("cheap", [of for hour, of in b.items() if hour >= CHANGED], 1 - share)
    agrees_with_oracle(made["b"], [*before, *after], drawn=2000)
    agrees_with_oracle(made["c"], lines_of("hours", list(c.values())))
    for invoice in made.values():
        is_proved(month, invoice, capsys)
    (sent,) = month.own("a", "GET", "webhooks")["webhooks"]
    deliveries = month.own("a", "GET", f"webhooks/{sent['id']}/deliveries")["deliveries"]
    assert [one["type"] for one in deliveries] == ["invoice.finalized"]

    due = httpx.get(
        f"{month.hub.base_url}/internal/attribution", headers=INTERNAL, timeout=600
    ).json()
    assert due is None, "an invoiced hour is not split any more"
    statement = month.own("d", "GET", "invoices/statement?start=2027-04-01T00:00:00Z"
                          "&end=2027-05-01T00:00:00Z")  # fmt: skip
    samples = sum(of[0] for of in list(b.values())[:-12])
    said = {line["meter"]: (line["quantity"], line["amount"]) for line in statement["lines"]}
    assert said["samples_ingested"] == (str(samples), None)
    assert month.own("d", "GET", "invoices")["invoices"] == []

    c_before = dict(c)
    hour = HOURS[-3]
    c[hour] = (c[hour][0] + 777, *c[hour][1:])
    assert month.send("dis", reports(month.owners["c"].org, {hour: c[hour]}, 9)) == {"stored"}
    month.at(6, 2, 0, 30)
    month.hub.services.periods.step()
    second = month.invoice_all()
    difference = [
        now - then
        for now, then in zip(lines_of("hours", list(c.values())),
                             lines_of("hours", list(c_before.values())), strict=True)
    ]  # fmt: skip
    assert difference[0] == difference[2] == difference[3] == 0 < difference[1]
    agrees_with_oracle(second["c"], [500, 0, 0, 0, difference[1]])
    (late,) = (line for line in second["c"]["lines"] if line["kind"] == "adjustment")
    assert (late["adjusts"], late["start"][:7]) == (made["c"]["id"], "2027-04")
    agrees_with_oracle(second["a"], [500, 0, 0, 0])
    agrees_with_oracle(second["b"], [499, 0, 0, 0])
    for invoice in second.values():
        is_proved(month, invoice, capsys)
