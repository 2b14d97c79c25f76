"""Rules over HTTP: who may change them, what is refused, what is shown."""

import asyncio
import uuid

import asyncpg
import pytest
import yaml
from conftest import NOW_MS
from embedded_postgres import execute, fresh_database

from data_api import migrate
from data_api.rules import state as states
from data_api.rules.alerting import ActiveAlert, AlertState, Phase
from data_api.rules.model import label_key
from data_api.rules.parsing import Bounds, stored_group
from data_api.rules.repository import Rules
from data_api.rules.state import GroupState, RuleState
from data_api.rules.views import format_exponent
from data_api.store.catalogue import Database

GROUP = """
name: g
interval: 30s
labels: {team: core}
rules:
- record: a:sum
  expr: sum(a)
- alert: Down
  expr: up==0
  for: 5m
  annotations: {text: gone}
"""


@pytest.fixture
async def admin(das, hub, tenant):
    das.headers["X-API-Key"] = hub.key(tenant, scopes=("metrics:read", "admin"))
    return das


@pytest.fixture
async def rows(database_url):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.execute("TRUNCATE rules.rule_group, rules.evaluator")
    await connection.close()


async def post(client, text, namespace="n", prefix=""):
    return await client.post(f"{prefix}/config/v1/rules/{namespace}", content=text)


async def listed(client, **params):
    answer = await client.get("/api/v1/rules", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_a_group_goes_in_and_comes_out(admin, rows):
    """By Mimir's routes, below both prefixes; a second POST replaces it, a DELETE removes it."""
    assert (await post(admin, GROUP)).status_code == 202
    whole = await admin.get("/config/v1/rules")
    assert yaml.safe_load(whole.text) == {"n": [yaml.safe_load(GROUP)]}
    one = await admin.get("/prometheus/config/v1/rules/n/g")
    assert yaml.safe_load(one.text) == yaml.safe_load(GROUP)
    assert one.headers["content-type"].startswith("application/yaml")
    await post(admin, "name: g\nrules: [{record: b, expr: '1'}]", prefix="/prometheus")
    assert [r["name"] for r in (await listed(admin))["groups"][0]["rules"]] == ["b"]
    await post(admin, "name: h\nrules: []")
    assert (await admin.delete("/config/v1/rules/n/g")).status_code == 202
    assert (await admin.get("/config/v1/rules/n/g")).status_code == 404
    assert (await admin.delete("/config/v1/rules/n/g")).status_code == 404
    assert (await admin.delete("/config/v1/rules/n")).status_code == 202
    assert (await admin.get("/config/v1/rules")).text == "{}\n"
    assert (await admin.get("/config/v1/rules/n")).status_code == 404


async def test_a_rule_file_replaces_its_namespace(admin, rows):
    """What is not in it is gone; other namespaces stay."""
    await post(admin, GROUP)
    await post(admin, GROUP, "other")
    await post(admin, "groups:\n- name: x\n- name: y\n")
    groups = yaml.safe_load((await admin.get("/config/v1/rules")).text)
    assert {n: [g["name"] for g in some] for n, some in groups.items()} == {
        "n": ["x", "y"], "other": ["g"],
    }  # fmt: skip


async def test_to_look_takes_metrics_read_and_to_change_admin(das, hub, tenant, rows):
    """The scope is named; a writer's key sees nothing; without a key nothing is told."""
    for method, path in (("POST", "n"), ("DELETE", "n"), ("DELETE", "n/g")):
        answer = await das.request(method, f"/config/v1/rules/{path}", content=GROUP)
        assert (answer.status_code, "admin" in answer.text) == (403, True)
    assert (await das.post("/api/v1/rules/check", content=GROUP)).status_code == 200
    das.headers["X-API-Key"] = hub.key(tenant, scopes=("metrics:write",))
    paths = ("/api/v1/rules", "/api/v1/alerts", "/config/v1/rules", "/config/v1/rules/n/g")
    for path in paths:
        assert (await das.get(path)).status_code == 403
    del das.headers["X-API-Key"]
    for path in paths:
        assert (await das.get(path)).status_code == 401


async def test_another_tenants_rules_are_not_there(admin, hub, rows):
    """Neither seen, nor changed, nor counted; the same names are two groups."""
    await post(admin, GROUP)
    admin.headers["X-API-Key"] = hub.key(uuid.uuid4(), scopes=("metrics:read", "admin"))
    assert (await listed(admin))["groups"] == []
    assert (await admin.get("/config/v1/rules/n/g")).status_code == 404
    assert (await admin.delete("/config/v1/rules/n")).status_code == 404
    assert (await post(admin, "name: g\nrules: []")).status_code == 202
    rows = await rows.fetch("SELECT definition FROM rules.rule_group WHERE NOT is_deleted")
    assert sorted(len(yaml.safe_load(row[0]).get("rules", ())) for row in rows) == [0, 2]


async def test_what_is_refused_says_why_and_changes_nothing(serve, hub, tenant, rows):
    """Faults with their places; bounds with what there is and may be; files of the operator."""
    das = await serve(rules_groups_max=2, rules_bytes_max=2_000)
    das.headers["X-API-Key"] = hub.key(tenant, scopes=("metrics:read", "admin"))
    for name in ("a", "b"):
        await post(das, f"name: {name}")
    for text, status, reason in (
        ("name: c\nrules: [{record: r, expr: '('}]", 400, "2:27: group"),
        ("name: c", 400, "too many groups of rules: 3"),
        ("name: a\nlabels: {a: " + 2_000 * "x" + "}", 413, "2000"),
        (b"name: \xff", 400, "not UTF-8 at byte 6"),
    ):
        answer = await post(das, text)
        assert (answer.status_code, reason in answer.text) == (status, True), answer.text
    assert (await post(das, GROUP, "folder:a.yml")).status_code == 409
    assert (await das.delete("/config/v1/rules/folder:a.yml")).status_code == 409
    assert (await post(das, GROUP, "x" * 300)).status_code == 400
    assert (await post(das, GROUP, "a%00b")).status_code == 400
    assert (await das.get("/config/v1/rules/a%00b")).status_code == 404
    groups = yaml.safe_load((await das.get("/config/v1/rules")).text)
    assert groups == {"n": [{"name": "a"}, {"name": "b"}]}


async def test_a_check_stores_nothing_and_lists_what_is_wrong(das, rows):
    """As `promtool check rules`: every fault with line and column, and rules that repeat others."""
    good = (await das.post("/api/v1/rules/check", content=GROUP)).json()["data"]
    assert good == {"valid": True, "groups": 1, "rules": 2, "faults": [], "warnings": []}
    twice = "groups: [{name: g, rules: [{record: a, expr: '1'}, {record: a, expr: '2'}]}]"
    warned = (await das.post("/api/v1/rules/check", content=twice)).json()["data"]
    assert len(warned["warnings"]) == 1
    bad = (await das.post("/api/v1/rules/check", content="name: g\nfoo: 1\nlimit: x")).json()[
        "data"
    ]
    assert [(f["line"], f["column"]) for f in bad["faults"]] == [(2, 1), (3, 8)]
    assert not bad["valid"]
    assert (await listed(das))["groups"] == []


async def test_rules_are_shown_as_prometheus_shows_them(admin, rows):
    """Every field, before the first evaluation and after; alerts that are resolved are not."""
    await post(admin, GROUP)
    (group,) = (await listed(admin))["groups"]
    recording, alerting = group.pop("rules")
    assert group == {
        "name": "g", "file": "n", "interval": 30.0, "limit": 0, "evaluationTime": 0.0,
        "lastEvaluation": "0001-01-01T00:00:00Z", "missedIterations": 0, "readOnly": False,
    }  # fmt: skip
    assert (recording["health"], recording["type"], recording["query"]) == (
        "unknown",
        "recording",
        "sum(a)",
    )
    assert alerting["query"] == "up == 0"
    assert (alerting["duration"], alerting["state"], alerting["alerts"]) == (300.0, "inactive", [])
    assert alerting["labels"] == {"team": "core"}
    key = label_key({"alertname": "Down", "job": "x"})
    active = ActiveAlert(key, label_key({"text": "gone"}), 1.5, Phase.FIRING, NOW_MS, NOW_MS)
    resolved = ActiveAlert((), (), 1.0, Phase.INACTIVE, NOW_MS, NOW_MS, None, NOW_MS)
    of = RuleState(AlertState({key: active, (): resolved}), "err", "a reason", NOW_MS, 0.25)
    definition = await rows.fetchval("SELECT definition FROM rules.rule_group")
    keys = states.rule_keys(stored_group(definition, "n").labelled())
    text, _ = states.encode(GroupState({keys[1]: of}, frozenset(), 0.5))
    await rows.execute(
        "UPDATE rules.rule_group SET state = $1, evaluated_ms = $2, missed = 3", text, NOW_MS
    )
    (group,) = (await listed(admin, type="alert"))["groups"]
    assert (group["evaluationTime"], group["missedIterations"]) == (0.5, 3)
    assert group["lastEvaluation"] == "2027-01-15T08:00:00.000Z"
    (rule,) = group["rules"]
    assert (rule["health"], rule["lastError"], rule["state"]) == ("err", "a reason", "firing")
    shown = {
        "labels": {"alertname": "Down", "job": "x"}, "annotations": {"text": "gone"},
        "state": "firing", "activeAt": "2027-01-15T08:00:00.000Z", "value": "1.5e+00",
    }  # fmt: skip
    assert rule["alerts"] == [shown]
    assert (await admin.get("/prometheus/api/v1/alerts")).json()["data"] == {"alerts": [shown]}
    (group,) = (await listed(admin, type="alert", exclude_alerts="true"))["groups"]
    assert group["rules"][0]["alerts"] == []


async def test_rules_are_filtered_and_paged(admin, rows):
    """By kind, names, groups, files and labels; pages follow each other to the end."""
    for namespace in ("n", "m"):
        for name in ("g", "h"):
            await post(admin, GROUP.replace("name: g", f"name: {name}"), namespace)

    async def names(**params):
        groups = (await listed(admin, **params))["groups"]
        return [(g["file"], g["name"], [r["name"] for r in g["rules"]]) for g in groups]

    both = ["a:sum", "Down"]
    assert await names() == [(n, g, both) for n in "mn" for g in "gh"]
    assert await names(**{"file[]": "n", "rule_group[]": "h"}) == [("n", "h", both)]
    assert await names(**{"rule_name[]": "Down", "file[]": "n"}) == [
        ("n", "g", ["Down"]),
        ("n", "h", ["Down"]),
    ]
    assert len(await names(type="record")) == 4
    assert len(await names(**{"match[]": '{team="core"}'})) == 4
    assert await names(**{"match[]": '{team="other"}'}) == []
    first = await listed(admin, group_limit=3)
    second = await listed(admin, group_limit=3, group_next_token=first["groupNextToken"])
    assert [len(one["groups"]) for one in (first, second)] == [3, 1]
    assert "groupNextToken" not in second
    for params in (
        {"type": "x"}, {"exclude_alerts": "maybe"}, {"group_next_token": "x"},
        {"group_limit": "2", "group_next_token": "x"}, {"match[]": "{"},
    ):  # fmt: skip
        assert (await admin.get("/api/v1/rules", params=params)).status_code == 400


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0e+00"), (1.0, "1e+00"), (-1.5, "-1.5e+00"), (1234.5, "1.2345e+03"),
        (1e-7, "1e-07"), (1e300, "1e+300"), (float("inf"), "+Inf"), (float("nan"), "NaN"),
    ],
)  # fmt: skip
def test_values_of_alerts_have_an_exponent(value, text):
    """Go's shortest form."""
    assert format_exponent(value) == text


def test_migrations_run_up_down_and_up_again(server_url):
    """Up twice is up once; down leaves no table of ours."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'rules'"
    with fresh_database(server_url, "das_migrations") as url:
        for _ in range(2):
            migrate.upgrade(url)
            migrate.upgrade(url)
            assert {"rule_group", "evaluator"} <= set(execute(url, tables).split())
            migrate.downgrade(url, "base")
            assert execute(url, tables).split() == ["alembic_version"]


async def test_a_restart_of_postgres_fails_no_call_that_comes_after_it(database_url, ingest):
    """However many sessions ended while they were idle."""
    tenant = uuid.uuid4()
    async with Database(database_url, 2, pings=True) as database:
        rules = Rules(database, Bounds())
        await asyncio.gather(rules.shown(tenant), rules.shown(tenant))
        await ingest.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'data-api-service'"
        )
        assert await rules.shown(tenant) == []
        assert not await rules.delete(tenant, "n", "g")
