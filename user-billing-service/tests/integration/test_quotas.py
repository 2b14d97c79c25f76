"""Quotas are told once, cap what introspection answers, and are their organisation's alone."""

import json
import threading
from datetime import UTC, datetime, timedelta

import httpx
import jwt
import pytest
from conftest import INTERNAL
from sqlalchemy import text

from user_billing.quotas.guard import Guard
from user_billing.quotas.service import Quotas

HOUR = timedelta(hours=1)


@pytest.fixture
def mid_month(hub):
    """The 15th of a month, noon; the clock comes back afterwards."""
    before = hub.clock.instant
    hub.clock.instant = before.replace(day=15, hour=12, minute=0, second=0, microsecond=0)
    yield hub.clock.instant
    hub.clock.instant = before


def report(hub, org, hours, revision=1, **more):
    """Samples (and active series) by hour."""
    for start in range(0, len(hours), 100):
        reports = [
            {
                "tenant": org,
                "hour": hour.astimezone(UTC).isoformat(),
                "revision": revision,
                "meters": {
                    "samples": {"quantity": str(samples)},
                    "active_series": {"minutes": [series] * 60},
                },
            }
            for hour, samples, series in hours[start : start + 100]
        ]
        body = {"source": "dis", "reports": reports, **more}
        answer = httpx.post(
            f"{hub.base_url}/internal/usage", json=body, headers=INTERNAL, timeout=600
        )
        assert answer.status_code == 200, answer.text


def put(owner, meter, action, limit, **more):
    path = f"/api/v1/quotas/{meter}/{action}"
    return owner.http.put(path, json={"limit": str(limit), **more}, headers=owner.headers())


def fresh(hub, owner):
    """The owner, logged in at the time of the clock."""
    login = hub.log_in(owner.session["user"]["email"])
    chosen = login.post("/api/v1/session/organisation", {"organisation_id": owner.org})
    return login.adopt(chosen)


def listening(hub, name):
    """An owner with a webhook for all events, to which nothing is ever delivered."""
    owner = fresh(hub, hub.owner(name))
    made = owner.post("/api/v1/webhooks", {"url": "https://127.0.0.1:1/"})
    assert made.status_code == 201, made.text
    owner.webhook = made.json()["endpoint"]["id"]
    return owner


def events(hub, org):
    """What webhooks are told: (type, data) of each event, in order."""
    statement = text("SELECT type, body FROM billing.webhook_event WHERE org_id = :org ORDER BY id")
    with hub.services.database.engine.connect() as connection:
        rows = connection.execute(statement, {"org": org}).all()
    return [(row.type, json.loads(row.body)["data"]) for row in rows]


def test_each_threshold_is_told_once_by_two_replicas_at_once(hub, mid_month):
    """Eight checks of two processes' services at one moment tell each threshold exactly once; in
    the next month it is told again.
    """
    owner = listening(hub, "Thresholds")
    assert put(owner, "samples", "warn", 1000).status_code == 204
    report(hub, owner.org, [(mid_month - HOUR, 850, 5)])
    replicas = [Quotas(hub.services.database, hub.services.clock) for _ in range(2)]

    def check_at_once():
        hub.clock.advance(minutes=2)
        start = threading.Barrier(8)

        def run(number):
            start.wait(600)
            replicas[number % 2].check(owner.org)
            replicas[number % 2].check_due()

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)

    for _ in range(2):
        check_at_once()
        assert [payload["threshold"] for _, payload in events(hub, owner.org)] == [50, 80]
    report(hub, owner.org, [(mid_month - HOUR, 1000, 5)], revision=2)
    check_at_once()
    told = events(hub, owner.org)
    assert [payload["threshold"] for _, payload in told] == [50, 80, 100]
    assert told[2][0] == "quota.reached"
    assert (told[2][1]["used"], told[2][1]["days_left"]) == ("1000", 0)
    hub.clock.advance(days=31)
    path, owner = f"/api/v1/webhooks/{owner.webhook}", fresh(hub, owner)
    # it was given up meanwhile
    on = owner.http.patch(path, json={"enabled": True}, headers=owner.headers())
    assert on.status_code == 200, on.text
    check_at_once()
    assert len(events(hub, owner.org)) == 3
    report(hub, owner.org, [(hub.clock.now().replace(minute=0), 600, 5)])
    check_at_once()
    assert [payload["threshold"] for _, payload in events(hub, owner.org)] == [50, 80, 100, 50]


def test_a_reached_quota_is_in_introspection_and_goes_when_it_is_raised(hub, mid_month):
    """Degrade lowers resolution, block says why; a raised limit, a quota that is gone and a new
    month lift them. Rules and alerts, which services write, are not blocked.
    """
    owner = fresh(hub, hub.owner("Capped"))
    key = owner.new_key("metrics:write")["key"]

    def caps():
        limits = hub.introspect(key)["limits"]
        return limits["min_interval_ms"], limits["blocked"]

    report(hub, owner.org, [(mid_month - HOUR, 1000, 5)])
    assert caps() == (None, None)
    assert put(owner, "samples", "degrade", 900).status_code == 204
    assert caps() == (60_000, None)
    assert put(owner, "samples", "block", 1000).status_code == 204
    assert caps() == (60_000, "the quota of 1000 samples a month is used up")
    assert owner.get("/api/v1/quotas").json()["cap"]["min_interval_ms"] == 60_000
    token = hub.services.tokens.for_service(
        callers={"das"}, service="das", organisation_id=owner.org, audience="dis",
        scopes=["metrics:write"],
    )  # fmt: skip
    limits = jwt.decode(token, options={"verify_signature": False})["limits"]
    assert (limits["min_interval_ms"], limits["blocked"]) == (60_000, None)
    path = "/api/v1/quotas/samples/block"
    assert owner.http.delete(path, headers=owner.headers()).status_code == 204
    assert put(owner, "samples", "degrade", 5000, interval_ms=30_000).status_code == 204
    assert caps() == (None, None)
    report(hub, owner.org, [(mid_month, 4000, 5)])
    hub.clock.advance(minutes=2)
    hub.services.quotas.check_due()
    assert caps() == (30_000, None)
    hub.clock.advance(days=20)
    hub.services.quotas.check_due()
    assert caps() == (None, None)
    actions = [event["action"] for event in fresh(hub, owner).get("/api/v1/audit").json()["events"]]
    assert actions.count("quota.cap") == 6
    assert actions.count("quota.removed") == 1


def test_a_raised_limit_tells_its_thresholds_anew(hub, mid_month):
    """What was told of the old limit does not hide that the new one is reached."""
    owner = listening(hub, "Raised")
    report(hub, owner.org, [(mid_month - HOUR, 1000, 5)])
    for limit, told in ((1000, [50, 80, 100]), (1500, [50]), (1000, [80, 100])):
        before = len(events(hub, owner.org))
        assert put(owner, "samples", "warn", limit).status_code == 204
        new = events(hub, owner.org)[before:]
        assert [payload["threshold"] for _, payload in new] == (told if limit == 1000 else [])


def test_the_page_sees_where_quotas_stand(hub, mid_month):
    """Used, percent, forecast, day and days left; of a level the highest hour counts."""
    owner = fresh(hub, hub.owner("Seen"))
    start = mid_month.replace(day=1, hour=0)
    hours = [start + n * HOUR for n in range(14 * 24 + 12)]
    report(hub, owner.org, [(hour, 10, 7 if hour == start else 5) for hour in hours])
    assert put(owner, "samples", "warn", 5000).status_code == 204
    assert put(owner, "active_series", "warn", 100).status_code == 204
    series, samples = owner.get("/api/v1/quotas").json()["quotas"]
    assert (series["forecast"]["used"], series["percent"], series["days_left"]) == ("7", 7, None)
    assert (samples["forecast"]["used"], samples["percent"]) == ("3480", 69)
    assert (samples["forecast"]["method"], samples["days_left"]) == ("profile", 6)
    assert [one["threshold"] for one in samples["fired"]] == [50]
    reached = datetime.fromisoformat(samples["forecast"]["reached_at"])
    assert reached == mid_month + 151 * HOUR
    forecast = owner.get("/api/v1/usage/forecast", params={"meter": "samples"}).json()
    days = (datetime.fromisoformat(forecast["period"]["end"]) - start).days
    assert forecast["quantity"] == forecast["low"] == forecast["high"] == str(days * 240)


@pytest.mark.parametrize(
    ("meter", "action", "more", "status"),
    [
        ("beans", "warn", {}, 404),
        ("active_series", "degrade", {}, 404),
        ("samples", "stop", {}, 400),
        ("samples", "warn", {"limit": "0"}, 400),
        ("samples", "warn", {"limit": "NaN"}, 400),
        ("samples", "warn", {"thresholds": []}, 400),
        ("samples", "warn", {"thresholds": [0]}, 400),
        ("samples", "warn", {"thresholds": [1001]}, 400),
        ("samples", "warn", {"thresholds": list(range(1, 12))}, 400),
        ("samples", "warn", {"interval_ms": 60_000}, 400),
        ("samples", "degrade", {"interval_ms": 999}, 400),
        ("samples", "degrade", {"interval_ms": 120_001}, 400),
    ],
    ids=str,
)
def test_a_quota_that_cannot_be_is_refused(hub, meter, action, more, status):
    owner = hub.founder
    answer = put(owner, meter, action, **({"limit": 5} | more))
    assert answer.status_code == status, answer.text


def test_who_may_set_and_see_quotas(hub):
    """A viewer sees and sets nothing; the operator does both for any organisation; other
    administrators nothing beyond their own.
    """
    mine, theirs = hub.owner("Mine"), hub.owner("Theirs")
    viewer = hub.member(mine, "viewer")
    assert put(mine, "samples", "warn", 77).status_code == 204
    assert put(viewer, "samples", "warn", 78).status_code == 403
    assert len(viewer.get("/api/v1/quotas").json()["quotas"]) == 1
    assert theirs.get("/api/v1/quotas").json()["quotas"] == []
    path = f"/api/v1/operator/organisations/{mine.org}/quotas"
    body = {"limit": "79"}
    for other in (theirs, mine):
        assert other.get(path).status_code == 403
        refused = other.http.put(f"{path}/samples/warn", json=body, headers=other.headers())
        assert refused.status_code == 403
    founder = hub.founder
    assert founder.get(path).json()["quotas"][0]["quota"]["limit"] == "77"
    done = founder.http.put(f"{path}/samples/warn", json=body, headers=founder.headers())
    assert done.status_code == 204, done.text
    assert mine.get("/api/v1/quotas").json()["quotas"][0]["quota"]["limit"] == "79"
    assert founder.delete(f"{path}/samples/warn").status_code == 204
    assert founder.delete(f"{path}/samples/warn").status_code == 404


def test_a_mistake_is_noticed_told_once_and_its_credit_proposed(hub, mid_month):
    """Twice the samples for five hours: since when, factor, what it would cost, and what was too
    much; looked at by two replicas, again and again.
    """
    owner, other = listening(hub, "Mistake"), hub.owner("Other")
    start = mid_month - 15 * 24 * HOUR
    usual = [(start + n * HOUR, 100_000, 2000) for n in range(15 * 24 - 6)]
    doubled = [(mid_month - n * HOUR, 200_000, 4000) for n in range(6, 1, -1)]
    report(hub, owner.org, usual + doubled)
    guards = [Guard(hub.services.database, hub.services.clock) for _ in range(2)]
    for _ in range(2):
        for guard in guards:
            guard.look(owner.org, mid_month - 2 * HOUR)
    (one,) = owner.get("/api/v1/guard").json()["anomalies"]
    assert (one["anomaly"]["state"], one["anomaly"]["kind"]) == ("open", "duplicated")
    assert datetime.fromisoformat(one["anomaly"]["since"]) == mid_month - 6 * HOUR
    assert (one["factor"], one["proposed_credit"]) == ("2", None)
    assert int(one["if_it_stays"]) > int(one["if_it_ends"]) > 0
    ((_, told),) = events(hub, owner.org)
    assert told["if_it_stays"] == one["if_it_stays"]
    assert (told["factor"], told["excess"]) == ("2.00", "500000")
    report(
        hub, owner.org, [(mid_month - HOUR, 100_000, 2000)],
        complete_through=mid_month.isoformat(),
    )  # fmt: skip
    for guard in guards:
        guard.look_due()
        guard.look_due()
    (one,) = owner.get("/api/v1/guard").json()["anomalies"]
    assert (one["anomaly"]["state"], one["proposed_credit"]) == ("ended", "500000")
    assert [kind for kind, _ in events(hub, owner.org)] == [
        "guard.opened",
        "guard.ended",
    ]
    assert other.get("/api/v1/guard").json()["anomalies"] == []
    anomaly = one["anomaly"]["id"]
    of_all = hub.founder.get("/api/v1/operator/guard").json()["anomalies"]
    assert anomaly in {each["anomaly"]["id"] for each in of_all}
    assert other.get("/api/v1/operator/guard").status_code == 403
    assert other.post(f"/api/v1/guard/{anomaly}/dismiss").status_code == 404
    assert owner.post(f"/api/v1/guard/{anomaly}/dismiss").status_code == 204
    (one,) = owner.get("/api/v1/guard").json()["anomalies"]
    assert (one["anomaly"]["state"], one["proposed_credit"]) == ("dismissed", None)


def test_a_dismissed_anomaly_stays_dismissed_and_is_told_no_more(hub, mid_month):
    """More series alone are noticed too; once it was meant, its end is no news and no credit."""
    owner = listening(hub, "Meant")
    start = mid_month - 5 * 24 * HOUR
    usual = [(start + n * HOUR, 100_000, 2000) for n in range(5 * 24 - 2)]
    report(hub, owner.org, [*usual, (mid_month - 2 * HOUR, 110_000, 9000)])
    guard = hub.services.guard
    guard.look(owner.org, mid_month - 2 * HOUR)
    (one,) = owner.get("/api/v1/guard").json()["anomalies"]
    row = one["anomaly"]
    assert (row["meter"], row["kind"], one["factor"]) == ("active_series", "more_series", "4.5")
    assert (one["if_it_stays"], one["if_it_ends"]) == ("9000", "9000")
    assert owner.post(f"/api/v1/guard/{row['id']}/dismiss").status_code == 204
    for hour, series in ((1, 9000), (0, 2000)):
        report(hub, owner.org, [(mid_month - hour * HOUR, 100_000, series)])
        guard.look(owner.org, mid_month - hour * HOUR)
    (one,) = owner.get("/api/v1/guard").json()["anomalies"]
    assert (one["anomaly"]["state"], one["proposed_credit"]) == ("dismissed", None)
    assert datetime.fromisoformat(one["anomaly"]["until"]) == mid_month
    assert [kind for kind, _ in events(hub, owner.org)] == ["guard.opened"]
