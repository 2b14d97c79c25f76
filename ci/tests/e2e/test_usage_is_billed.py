"""From a sample to its price: what dis stored once is what ubs bills, by team and by cent."""

import contextlib
import time

import httpx
import people
import pytest
import remote_write
from native_platform import eventually

SELLER = {
    "legal_name": "Seller GmbH", "address": "Hauptstr. 1", "country": "DE",
    "tax_number": "12/345/67890", "currency": "EUR",
}  # fmt: skip
PRICE = {"meter": "samples_ingested", "model": "per_unit", "unit": "0.01"}
COUNTS = {"red": 60, "blue": 40, "nobody": 7}


class Person(httpx.Client):
    """The owner with a session of their own."""

    def __init__(self, platform):
        url = f"{platform.url}/api/ubs/api/v1/"
        super().__init__(base_url=url, headers={"Origin": platform.url}, timeout=600)
        self.sign("login", {"email": people.OWNER, "password": people.PASSWORD})

    def sign(self, path, body):
        self.headers["X-CSRF-Token"] = self.ask("POST", path, body)["csrf_token"]

    def ask(self, method, path, body=None, **more):
        answer = self.request(method, path, json=body, **more)
        assert answer.status_code in {200, 201}, f"{path}: {answer.text}"
        return answer.json()


@pytest.fixture
def operator(platform):
    people.SignIn(None, platform)._set_up()
    with contextlib.closing(Person(platform)) as person:
        yield person


@pytest.fixture
def customer(platform, operator):
    """The owner in an organisation that nothing else writes to."""
    with contextlib.closing(Person(platform)) as person:
        made = operator.ask("POST", "organisations", {"name": "Customer"})
        person.sign("session/organisation", {"organisation_id": made["id"]})
        yield person


def test_usage_is_billed_once(platform, operator, customer):
    """Two teams and nobody send everything twice: samples in ubs = samples in the store, teams sum
    to them, and the period costs a cent for each.
    """
    operator.ask("PUT", "operator/seller", SELLER)
    operator.ask("POST", "operator/seller/confirm")
    plan = {"name": "Cents", "currency": "EUR", "prices": [PRICE]}
    operator.ask("POST", "operator/plans/cents", plan)
    customer.ask("PUT", "subscriptions/current", {"plan": "cents"})
    teams = [customer.ask("POST", "teams", {"name": name})["id"] for name in ("red", "blue")]
    rules = [
        {"team": team, "selector": f'{{team="{name}"}}'}
        for team, name in zip(teams, COUNTS, strict=False)
    ]
    customer.ask("PUT", "attribution", {"rules": rules})
    scopes = {"name": "e2e", "scopes": ["metrics:write", "metrics:read"]}
    key = {"Authorization": f"Bearer {customer.ask('POST', 'keys', scopes)['key']}"}
    now_ms = int(time.time() * 1000)
    for team, count in 2 * list(COUNTS.items()):
        samples = [(now_ms - 1000 * n, float(n)) for n in range(count, 0, -1)]
        body = remote_write.encode({"__name__": "e2e_billed", "team": team}, samples)
        url = f"{platform.url}/api/data-ingest-service/api/v1/write"
        sent = httpx.post(url, content=body, headers=remote_write.HEADERS | key, timeout=600)
        assert sent.is_success, sent.text

    counted = httpx.get(
        f"{platform.url}/api/data-api-service/api/v1/query",
        params={"query": 'sum(count_over_time({__name__=~".+"}[1h]))', "time": now_ms / 1000 + 1},
        headers=key, timeout=600,
    ).json()["data"]["result"]  # fmt: skip
    total = sum(COUNTS.values())
    assert [float(one["value"][1]) for one in counted] == [total]

    span = {"start": _iso(now_ms - 3_600_000), "end": _iso(now_ms + 7_200_000), "step": "hour"}

    def usage(path, number):
        buckets = customer.ask("GET", path, params=span)["usage"]
        return sum(float(one[number]) for one in buckets if one["meter"] == "samples")

    eventually("ubs has the samples", lambda: usage("usage", "sum") == total or None)
    assert usage("usage/by-team", "quantity") == total
    period = customer.ask("POST", "subscriptions/preview", {"plan": "cents"})["before"]
    assert [(line["quantity"], line["amount"]) for line in period["lines"]] == [
        (str(total), f"{total / 100:.2f}")
    ]


def _iso(at_ms):
    return time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(at_ms / 1000))
