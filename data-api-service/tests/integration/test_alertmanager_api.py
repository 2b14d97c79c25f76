"""Alertmanager's API as Grafana and amtool use it, for one tenant and no other."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from conftest import NOW_MS
from receivers import HttpReceiver

from data_api.notify.seal import Sealer
from data_api.notify.sending import Outcome
from data_api.notify.store import Attempt, NotifyStore
from data_api.store.catalogue import Database

CONFIG = """
route: {receiver: a, group_by: [alertname], routes: [{matchers: [team=b], receiver: b}]}
receivers:
  - name: a
    webhook_configs: [{url: 'http://HOST/in', secret: s3cr3t-of-a-hook}]
  - name: b
inhibit_rules: [{source_matchers: [severity=critical], target_matchers: [severity=warning]}]
"""
V2 = "/alertmanager/api/v2"


def at(**after):
    moment = datetime.fromtimestamp(NOW_MS / 1000, UTC) + timedelta(**after)
    return moment.isoformat().replace("+00:00", "Z")


def silence(name="alertname", value="Up", **more):
    return {
        "matchers": [{"name": name, "value": value, "isRegex": False, "isEqual": True}],
        "startsAt": at(hours=-1),
        "endsAt": at(hours=1),
        "createdBy": "me",
        "comment": "why",
        **more,
    }


@pytest.fixture
async def am(serve, hub, tenant):
    """The service as an administrator of `tenant` sees it."""
    client = await serve(notify_allow="127.0.0.0/8")
    client.headers["X-API-Key"] = hub.key(tenant, scopes=("metrics:read", "admin"))
    return client


async def post(client, path, body):
    answer = await client.post(f"{V2}{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer


async def names(client, path="/alerts", **params):
    rows = (await client.get(f"{V2}{path}", params=params)).json()
    return sorted(row["labels"]["alertname"] for row in rows)


async def test_the_configuration_is_set_shown_masked_and_taken_away(am, database_url):
    """What is stored is encrypted, what is shown has no secret, what is wrong is refused whole."""
    assert (await am.get("/alertmanager/config")).status_code == 404
    assert (await am.post("/alertmanager/config", content=CONFIG)).status_code == 201
    shown = (await am.get("/alertmanager/config")).text
    assert "s3cr3t-of-a-hook" not in shown
    assert "http://HOST" not in shown
    assert "team" in shown
    status = (await am.get(f"{V2}/status")).json()
    assert status["config"]["original"] == shown
    assert status["versionInfo"]["version"]
    refused = await am.post("/alertmanager/config", content="route: {receiver: x, wait: 1}")
    assert refused.status_code == 400
    assert "1:22: route: wait: not known here" in refused.json()["detail"]
    assert (await am.get("/alertmanager/config")).text == shown
    assert (await am.get(f"{V2}/receivers")).json() == [{"name": "a"}, {"name": "b"}]
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT sealed FROM rules.notify_config")
    await connection.close()
    assert rows
    assert not any(b"s3cr3t" in row["sealed"] for row in rows)
    assert (await am.delete("/alertmanager/config")).status_code == 200
    assert (await am.get(f"{V2}/receivers")).json() == []


async def test_alerts_are_posted_and_shown_with_why_they_are_not_told(am):
    """State, silences, inhibition, receivers; filters take matchers and truth values."""
    await am.post("/alertmanager/config", content=CONFIG)
    await post(am, "/silences", silence(value="Quiet"))
    given = [
        {"labels": {"alertname": "Up", "severity": "critical", "empty": ""}},
        {"labels": {"alertname": "Slow", "severity": "warning", "team": "b"}},
        {"labels": {"alertname": "Quiet"}, "startsAt": at(hours=-1), "generatorURL": "http://x"},
        {"labels": {"alertname": "Past"}, "endsAt": at(hours=-1)},
    ]
    await post(am, "/alerts", given)
    rows = {row["labels"]["alertname"]: row for row in (await am.get(f"{V2}/alerts")).json()}
    assert set(rows) == {"Up", "Slow", "Quiet"}
    assert rows["Up"]["status"]["state"] == "active"
    assert "empty" not in rows["Up"]["labels"]
    assert rows["Up"]["endsAt"] == at(minutes=5).replace("Z", ".000Z")
    assert rows["Slow"]["status"]["inhibitedBy"] == [rows["Up"]["fingerprint"]]
    assert rows["Slow"]["receivers"] == [{"name": "b"}]
    assert len(rows["Quiet"]["status"]["silencedBy"]) == 1
    assert await names(am, filter='alertname=~"U.*|Quiet"') == ["Quiet", "Up"]
    assert await names(am, active="false") == ["Quiet", "Slow"]
    assert await names(am, silenced="false", inhibited="false") == ["Up"]
    assert await names(am, receiver="b|c") == ["Slow"]
    groups = (await am.get(f"{V2}/alerts/groups")).json()
    assert [(one["labels"], one["receiver"]["name"]) for one in groups] == [
        ({"alertname": "Quiet"}, "a"),
        ({"alertname": "Slow"}, "b"),
        ({"alertname": "Up"}, "a"),
    ]


async def test_silences_are_made_changed_expired_and_listed(am):
    """Extending keeps the id; other matchers make a new silence and expire the old one."""
    first = (await post(am, "/silences", silence())).json()["silenceID"]
    longer = await post(am, "/silences", silence(id=first, endsAt=at(hours=9)))
    assert longer.json()["silenceID"] == first
    other = (await post(am, "/silences", silence(value="Down", id=first))).json()["silenceID"]
    later = (await post(am, "/silences", silence(startsAt=at(minutes=9)))).json()["silenceID"]
    rows = (await am.get(f"{V2}/silences")).json()
    states = [(row["id"], row["status"]["state"]) for row in rows]
    assert states == [(other, "active"), (later, "pending"), (first, "expired")]
    assert [
        one["id"] for one in (await am.get(f"{V2}/silences?filter=alertname%3DDown")).json()
    ] == [other]
    assert (await am.delete(f"{V2}/silence/{other}")).status_code == 200
    one = (await am.get(f"{V2}/silence/{other}")).json()
    assert one["status"]["state"] == "expired"
    assert one["matchers"][0]["isEqual"] is True
    assert (await am.get(f"{V2}/silence/{uuid.uuid4()}")).status_code == 404
    assert (await am.delete(f"{V2}/silence/nonsense")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/silences", {"matchers": []}, "startsAt"),
        ("/silences", silence(matchers=[]), "one of which does not match the empty text"),
        ("/silences", silence(value=""), "one of which does not match the empty text"),
        ("/silences", silence(endsAt=at(hours=-1)), "it is not after startsAt and now"),
        ("/silences", silence(comment="a\0"), "none of them NUL"),
        ("/silences", silence(endsAt="soon"), "expected a time like"),
        (
            "/silences",
            silence(matchers=[{"name": "a", "value": "(", "isRegex": True}]),
            "missing )",
        ),
        ("/alerts", {"labels": {}}, "expected a list"),
        ("/alerts", [{"labels": {}}], "at least one label"),
        ("/alerts", [{"labels": {"a": 1}}], "expected names and texts"),
        ("/alerts", [{"labels": {"a": "b"}, "startsAt": 3}], "expected a time like"),
        ("/alerts", [{"labels": {"a": "b"}, "startsAt": at(), "endsAt": at(hours=-1)}], "before"),
        ("/alerts", [{"labels": {"a": "\ud800"}}], "it is not JSON"),
    ],
)
async def test_what_cannot_be_used_is_refused(am, path, body, expected):
    """400 with the field and the reason."""
    answer = await am.post(f"{V2}{path}", content=json.dumps(body))
    assert answer.status_code == 400, answer.text
    assert expected in answer.json()["detail"]


async def test_reading_needs_metrics_read_and_changes_need_admin(am, hub, tenant):
    """A reader sees and changes nothing; nobody sees nothing."""
    reader = {"X-API-Key": hub.key(tenant)}
    changes = [
        ("POST", "/alertmanager/config"),
        ("DELETE", "/alertmanager/config"),
        ("POST", f"{V2}/alerts"),
        ("POST", f"{V2}/silences"),
        ("DELETE", f"{V2}/silence/{uuid.uuid4()}"),
        ("POST", "/alertmanager/receivers/a/test"),
    ]
    for method, path in changes:
        assert (await am.request(method, path, headers=reader, content="[]")).status_code == 403
    for path in (f"{V2}/status", f"{V2}/alerts", f"{V2}/silences", "/alertmanager/deliveries"):
        assert (await am.get(path, headers=reader)).status_code == 200
        assert (await am.get(path, headers={"X-API-Key": "none"})).status_code == 401
    assert (await am.get("/alertmanager/-/ready")).text == "OK"


async def test_tenants_see_nothing_of_one_another(am, hub):
    """Configuration, alerts, silences and deliveries are the caller's alone; an id of another
    tenant's silence is as one that is not there.
    """
    await am.post("/alertmanager/config", content=CONFIG)
    await post(am, "/alerts", [{"labels": {"alertname": "Up"}}])
    mine = (await post(am, "/silences", silence())).json()["silenceID"]
    other = {"X-API-Key": hub.key(uuid.uuid4(), scopes=("metrics:read", "admin"))}
    for path in (f"{V2}/alerts", f"{V2}/alerts/groups", f"{V2}/silences", f"{V2}/receivers"):
        assert (await am.get(path, headers=other)).json() == []
    assert (await am.get("/alertmanager/config", headers=other)).status_code == 404
    assert (await am.delete(f"{V2}/silence/{mine}", headers=other)).status_code == 404
    taken = await am.post(f"{V2}/silences", json=silence(id=mine), headers=other)
    assert taken.status_code == 404
    assert (await am.get(f"{V2}/silence/{mine}")).json()["status"]["state"] == "active"


async def test_a_receiver_is_tested_at_once(am):
    """A sample alert goes to each integration; what came of it is answered and in the log, and
    what the receiver echoes of a secret is masked.
    """
    async with HttpReceiver(statuses=[200, 403]).listening() as hook:
        config = CONFIG.replace("HOST", hook.host).replace(
            "secret: s3cr3t-of-a-hook",
            "http_config: {authorization: {credentials: t0ken-of-a-hook}}",
        )
        await am.post("/alertmanager/config", content=config)
        good = (await am.post("/alertmanager/receivers/a/test")).json()
        bad = (await am.post("/alertmanager/receivers/a/test")).json()
        assert (await am.post("/alertmanager/receivers/none/test")).status_code == 404
    assert good["results"] == [
        {"integration": "webhook/0", "result": "delivered", "status": 200, "detail": ""}
    ]
    assert bad["results"][0]["detail"] == "ok: Bearer <secret>"
    assert hook.requests[0].json["alerts"][0]["labels"]["alertname"] == "TestAlert"
    rows = (await am.get("/alertmanager/deliveries")).json()["deliveries"]
    assert [(row["result"], row["status"]) for row in rows] == [("failed", 403), ("delivered", 200)]


async def test_bounds_of_silences(am, monkeypatch):
    """A tenant has so many silences that are not over; 429 beyond."""
    monkeypatch.setattr("data_api.notify.store.SILENCES_MAX", 2)
    for _ in range(2):
        await post(am, "/silences", silence())
    assert (await am.post(f"{V2}/silences", json=silence())).status_code == 429


async def test_bounds_of_alerts(am, monkeypatch):
    """Over the bound new alerts are refused with 429, and those that are there go on."""
    monkeypatch.setattr("data_api.notify.receive.ALERTS_MAX", 2)
    rows = [{"labels": {"alertname": name}} for name in "abc"]
    assert (await am.post(f"{V2}/alerts", json=rows)).status_code == 429
    assert await names(am) == ["a", "b"]
    await post(am, "/alerts", rows[:2])


async def test_the_delivery_log_is_bounded(am, tenant, database_url):
    """Of a tenant the newest 1,000 rows stay."""
    async with Database(database_url, 1) as database:
        store = NotifyStore(database)
        attempt = Attempt(NOW_MS, uuid.uuid4(), "a", "webhook/0", "{}", 1, 1)
        await store.record(tenant, attempt, Outcome("delivered", 200))
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "INSERT INTO rules.notify_delivery (tenant_id, at_ms, outbox_id, receiver, integration,"
            " group_key, result, attempt, status, detail, duration_ms, alerts) SELECT tenant_id,"
            " at_ms, outbox_id, 'b', integration, group_key, result, attempt, status, detail,"
            " duration_ms, alerts FROM rules.notify_delivery, generate_series(1, 1100)"
            " WHERE tenant_id = $1",
            tenant,
        )
        await store.record(tenant, attempt, Outcome("delivered", 200))
        counted = "SELECT count(*) FROM rules.notify_delivery WHERE tenant_id = $1"
        assert await connection.fetchval(counted, tenant) == 1000
        await connection.close()


async def test_prometheus_shows_other_alertmanagers(am):
    """`/api/v1/alertmanagers` lists those that the tenant's alerts are posted to."""
    assert (await am.get("/api/v1/alertmanagers")).json()["data"]["activeAlertmanagers"] == []
    await am.post("/alertmanager/config", content="alertmanager_urls: ['https://am.example/x']")
    shown = (await am.get("/api/v1/alertmanagers")).json()["data"]["activeAlertmanagers"]
    assert shown == [{"url": "https://am.example/x/api/v2/alerts"}]


async def test_what_is_too_large_is_refused(am):
    """A body over 1 MiB is 413."""
    answer = await am.post("/alertmanager/config", content="#" * 1_100_000)
    assert answer.status_code == 413


async def test_silences_that_are_over_do_not_pile_up(am, monkeypatch, tenant, database_url):
    """Of those that are over only the newest stay; a changed one counts as any other; all matchers
    of a tenant are bounded.
    """
    monkeypatch.setattr("data_api.notify.store.SILENCES_MAX", 2)
    for number in range(5):
        made = (await post(am, "/silences", silence(value=f"v{number}"))).json()["silenceID"]
        assert (await am.delete(f"{V2}/silence/{made}")).status_code == 200
    rows = (await am.get(f"{V2}/silences")).json()
    assert [row["status"]["state"] for row in rows] == ["expired"] * 2
    for number in range(2):
        await post(am, "/silences", silence(value=f"w{number}", id=rows[number]["id"]))
    again = await am.post(f"{V2}/silences", json=silence(value="w", id=rows[0]["id"]))
    assert again.status_code == 429
    monkeypatch.setattr("data_api.notify.store.SILENCES_MAX", 9)
    monkeypatch.setattr("data_api.notify.store.SILENCE_MATCHERS_MAX", 2)
    assert (await am.post(f"{V2}/silences", json=silence())).status_code == 429


async def test_a_configuration_of_another_secret_is_said(am, tenant, database_url):
    """503 with what to do, alerts from outside are taken all the same, and another can be set."""
    async with Database(database_url, 1) as database:
        sealed = Sealer("y" * 20).seal(tenant, "x")
        await NotifyStore(database).set_config(tenant, sealed, NOW_MS)
    for path in (f"{V2}/status", "/alertmanager/config", f"{V2}/alerts", f"{V2}/receivers"):
        answer = await am.get(path)
        assert answer.status_code == 503
        assert "another DAS_SECRET_KEY" in answer.json()["detail"]
    await post(am, "/alerts", [{"labels": {"alertname": "Up"}}])
    assert (await am.post("/alertmanager/config", content=CONFIG)).status_code == 201
    assert await names(am) == ["Up"]


async def test_a_configuration_is_utf_8(am):
    """Other bytes are refused: a password would silently be another."""
    answer = await am.post("/alertmanager/config", content=CONFIG.encode() + b"# \xff")
    assert answer.status_code == 400
    assert "it is not UTF-8" in answer.json()["detail"]


async def test_filters_are_bounded(am):
    """Matchers over the bound are refused, in one filter or in many."""
    for filters in ([("filter", 'a="b",' * 65)], [("filter", 'a="b",c="d"')] * 33):
        assert (await am.get(f"{V2}/alerts", params=filters)).status_code == 400
