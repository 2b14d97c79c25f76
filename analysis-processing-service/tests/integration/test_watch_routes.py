"""The routes of watches, events and silences over ASGI: shapes, refusals, tenants kept apart."""

import json
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from neighbours import TENANT_A, TENANT_B, Neighbours
from watching import NOON, NOON_MS

from analysis_processing.app import create_app
from analysis_processing.chassis.clock import Clock
from analysis_processing.model import Finding
from analysis_processing.watch import events, watches

BODY = {"name": "cpu", "query": "rate(cpu[5m])"}
SILENCE = {"matchers": {"host": "a"}, "until": "2026-01-06T12:00:00Z", "comment": "planned"}


class FixedClock(Clock):
    """It is always NOON."""

    def now(self):
        return NOON


@pytest.fixture
def neighbours():
    return Neighbours()


@pytest.fixture
def app(settings, engine, neighbours):
    return create_app(
        settings.model_copy(update={"watch_count_max": 3}),
        http=neighbours.client(),
        clock=FixedClock(),
    )


@pytest.fixture
def call(call):
    """As everywhere, as tenant a unless another key is given."""
    return lambda method, path, key="a", **more: call(method, path, key, **more)


@pytest.fixture
def filed(engine, call):
    """Tenant A's watch with two events, one of them over, and B's with one; A's watch as JSON."""
    made = {key: call("POST", "/api/v1/watches", key, json=BODY).json() for key in "ab"}

    def finding(start_ms, end_ms, kind="shift"):
        numbers = dict.fromkeys(("value", "expected", "lower", "upper"), 1.0)
        return Finding(
            kind, start_ms, end_ms, start_ms, 2.0, direction="up", text="It rose.", **numbers
        )

    with engine.begin() as db:
        for key, tenant in (("a", TENANT_A), ("b", TENANT_B)):
            (watch,) = watches.of_tenant(db, tenant)
            rows = [({"host": key}, finding(NOON_MS - 600_000, None))]
            if key == "a":
                rows += [({"host": "c"}, finding(NOON_MS - 900_000, NOON_MS - 800_000, "spike"))]
            events.store(db, watch, rows, now=NOON, next_ms=NOON_MS)
    return made["a"]


def test_the_life_of_a_watch(call):
    """Made with defaults, listed with the bounds, read, changed, deleted."""
    made = call("POST", "/api/v1/watches", json=BODY)
    assert made.status_code == 201
    watch = made.json()
    assert (watch["step_ms"], watch["enabled"], watch["state"]) == (60_000, True, "learning")
    assert watch["params"]["sensitivity"] == 0.5
    listed = call("GET", "/api/v1/watches", "r").json()
    assert listed["watches"] == [watch]
    assert listed["limits"]["watches_max"] == 3
    path = f"/api/v1/watches/{watch['id']}"
    changed = call("PUT", path, json=BODY | {"enabled": False, "name": "CPU"}).json()
    assert (changed["name"], changed["state"]) == ("CPU", "stopped")
    assert call("GET", path, "r").json() == changed
    assert call("DELETE", path).status_code == 204
    assert call("GET", path).status_code == 404


def test_a_query_that_das_cannot_parse_is_refused(call, neighbours):
    """POST and PUT of a watch say where the query is wrong, as das says it; nothing changes."""
    path = "/api/v1/watches"
    made = call("POST", path, json=BODY).json()
    words = {"status": "error", "error": '1:9: parse error: unexpected ")"'}
    for method, at in (("POST", path), ("PUT", f"{path}/{made['id']}")):
        neighbours.refuse["/api/v1/format_query"] = [httpx.Response(400, json=words)]
        answer = call(method, at, json={"name": "other", "query": "rate(up)"})
        assert answer.status_code == 400
        assert "1:9: parse error" in answer.text
    assert [one["query"] for one in call("GET", path).json()["watches"]] == [BODY["query"]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"query": "up"}, "name"),
        (BODY | {"query": " "}, "empty"),
        (BODY | {"name": "a\x00b"}, "NUL"),
        (BODY | {"name": "x" * 201}, "name"),
        (BODY | {"step_ms": 1_000}, "step_ms"),
        (BODY | {"step_ms": 7_200_000}, "step_ms"),
        (BODY | {"params": {"sensitivity": 9}}, "params.sensitivity"),
        (BODY | {"tenant": "x"}, "tenant"),
        ([], "body"),
    ],
)
def test_a_bad_watch_says_what_is_wrong(call, body, words):
    """400 with the field and its bound, and nothing is made."""
    answer = call("POST", "/api/v1/watches", content=json.dumps(body))
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert call("GET", "/api/v1/watches").json()["watches"] == []


def test_names_are_taken_once_and_watches_are_bounded(call):
    """A second watch of a name, or a fourth of three, is a conflict; another tenant's is none."""
    first = call("POST", "/api/v1/watches", json=BODY).json()
    assert call("POST", "/api/v1/watches", json=BODY).status_code == 409
    assert call("POST", "/api/v1/watches", "b", json=BODY).status_code == 201
    for name in ("x", "y"):
        assert call("POST", "/api/v1/watches", json=BODY | {"name": name}).status_code == 201
    answer = call("POST", "/api/v1/watches", json=BODY | {"name": "z"})
    assert answer.status_code == 409
    assert "limit=3" in answer.json()["error"]
    taken = call("PUT", f"/api/v1/watches/{first['id']}", json=BODY | {"name": "x"})
    assert taken.status_code == 409


def test_the_feed_is_filtered_and_paged(call, filed):
    """Newest first; each filter leaves what it names; pages follow one another without a gap."""

    def feed(query=""):
        return call("GET", f"/api/v1/events{query}", "r").json()

    both = feed()["events"]
    assert [event["labels"]["host"] for event in both] == ["a", "c"]
    for query, hosts in {
        "?state=open": "a", "?state=closed": "c", "?kind=spike": "c", "?watch=cpu": "ac",
        "?watch=other": "", "?q=ROSE": "ac", '?q="host": "c"': "c", "?q=%25": "",
        f"?since_ms={NOON_MS - 700_000}": "a", f"?until_ms={NOON_MS - 700_000}": "c",
    }.items():  # fmt: skip
        assert [event["labels"]["host"] for event in feed(query)["events"]] == list(hosts), query
    first = feed("?limit=1")
    second = feed(f"?limit=1&cursor={first['next']}")
    assert first["events"] + second["events"] == both
    assert feed(f"?cursor={second['next']}") == {"events": [], "next": None}
    for bad in ("?cursor=x", "?state=none", "?limit=0", "?q=%00"):
        assert call("GET", f"/api/v1/events{bad}").status_code == 400


def test_an_event_is_acknowledged_once(call, filed):
    """The first who does it stands there; doing it again changes nothing."""
    (event,) = call("GET", "/api/v1/events?state=open").json()["events"]
    path = f"/api/v1/events/{event['id']}/ack"
    acknowledged = call("POST", path).json()
    assert acknowledged["acknowledged_by"] is not None
    assert acknowledged["acknowledged_at"] == "2026-01-05T12:00:00.000Z"
    assert call("POST", path).json() == acknowledged


def test_a_silence_hides_what_is_open(call, filed):
    """What it matches is out of the feed until it is gone; the list shows it meanwhile."""
    made = call("POST", "/api/v1/silences", json=SILENCE)
    assert made.status_code == 201
    assert call("GET", "/api/v1/silences", "r").json() == {"silences": [made.json()]}
    shown = call("GET", "/api/v1/events?state=open").json()["events"]
    assert shown == []
    marked = call("GET", "/api/v1/events?state=open&silenced=true").json()["events"]
    assert marked[0]["silenced_until"] == "2026-01-06T12:00:00.000Z"
    assert call("DELETE", f"/api/v1/silences/{made.json()['id']}").status_code == 204
    assert len(call("GET", "/api/v1/events?state=open").json()["events"]) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"matchers": {}},
        {"matchers": {"a": "\x00"}},
        {"until": "2026-01-05T11:00:00Z"},
        {"until": "2026-02-05T12:00:00Z"},
        {"until": "2026-01-06T12:00:00"},
        {"comment": "x" * 1_001},
        {"more": 1},
        {"comment": "\ud800"},
    ],
)
def test_a_bad_silence_is_refused(call, changed):
    """Without matchers, over 30 days, in the past, without a zone, or with what is unknown: 400."""
    answer = call("POST", "/api/v1/silences", content=json.dumps(SILENCE | changed))
    assert answer.status_code == 400, answer.text


def test_tenants_never_see_each_others(call, filed):
    """Another's watch, event and silence are as absent as those that never were."""
    silence = call("POST", "/api/v1/silences", json=SILENCE).json()["id"]
    (event,) = call("GET", "/api/v1/events?state=open&silenced=true").json()["events"]
    (theirs,) = call("GET", "/api/v1/events", "b").json()["events"]
    assert theirs["labels"] == {"host": "b"}
    assert call("GET", "/api/v1/silences", "b").json() == {"silences": []}
    for method, path, identity in (
        ("GET", "/api/v1/watches/{}", filed["id"]),
        ("PUT", "/api/v1/watches/{}", filed["id"]),
        ("DELETE", "/api/v1/watches/{}", filed["id"]),
        ("POST", "/api/v1/events/{}/ack", event["id"]),
        ("DELETE", "/api/v1/silences/{}", silence),
    ):
        answer = call(method, path.format(identity), "b", json=BODY)
        nobodys = call(method, path.format(other := str(uuid4())), "b", json=BODY)
        assert answer.status_code == nobodys.status_code == 404, path
        assert answer.text.replace(identity, "") == nobodys.text.replace(other, "")
        assert call(method, path.format("no-uuid"), "a", json=BODY).status_code == 404
    assert call("GET", f"/api/v1/watches/{filed['id']}").status_code == 200


def test_a_deleted_watch_leaves_its_events_closed(call, filed):
    """What happened stays; nothing of it is open."""
    assert call("DELETE", f"/api/v1/watches/{filed['id']}").status_code == 204
    left = call("GET", "/api/v1/events").json()["events"]
    assert len(left) == 2
    assert all(event["end_ms"] is not None for event in left)
    assert call("GET", "/api/v1/events?state=open", "b").json()["events"] != []


def test_an_old_silence_counts_no_more(engine, call):
    """A silence that has run out is not listed and marks nothing."""
    with engine.begin() as db:
        wanted = {"matchers": {"host": "a"}, "comment": "", "by": "x"}
        wanted["until"] = NOON - timedelta(minutes=1)
        events.silence(db, TENANT_A, wanted, NOON - timedelta(hours=1))
    assert call("GET", "/api/v1/silences").json() == {"silences": []}
