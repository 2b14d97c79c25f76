"""API keys and introspection."""

import threading
from uuid import UUID

import pytest

from user_billing.db.sweep import sweep
from user_billing.keys import format as key_format
from user_billing.keys.format import new_api_key
from user_billing.model import Actor


@pytest.fixture(scope="module")
def owner(hub):
    return hub.owner("Keys")


def listed(owner, key_id):
    return next(k for k in owner.get("/api/v1/keys").json()["keys"] if k["id"] == key_id)


def test_a_key_is_shown_once(owner):
    """The answer to its creation holds the key; the list holds its start, never more."""
    made = owner.new_key("metrics:write", "metrics:read")
    assert key_format.is_well_formed(made["key"])
    again = owner.get("/api/v1/keys").text
    assert made["key"] not in again
    assert made["key"][12:] not in again
    shown = listed(owner, made["id"])
    assert shown == {k: v for k, v in made.items() if k != "key"}
    assert shown["start"] == made["key"][:12]
    assert shown["created_by"] == owner.session["user"]["email"]


def test_the_database_does_not_know_the_key(hub, owner):
    """32 bytes of HMAC are stored; without the pepper they verify nothing."""
    made = owner.new_key("metrics:read")
    with hub.services.database.engine.connect() as connection:
        dump = connection.exec_driver_sql("SELECT row_to_json(k)::text FROM billing.api_key k")
        text = "\n".join(row[0] for row in dump)
    assert made["start"] in text
    assert made["key"] not in text
    assert made["key"][12:] not in text


def test_introspection_tells_what_a_key_may_do(hub, owner):
    """Tenant, scopes, expiry, life of the answer and the plan's limits: docs/contracts.md §2."""
    made = owner.new_key("metrics:write")
    assert hub.introspect(made["key"]) == {
        "active": True,
        "key_id": made["id"],
        "tenant": owner.org,
        "scopes": ["metrics:write"],
        "expires_at": None,
        "ttl_s": 60,
        "limits": {
            "plan": "showback",
            "samples_per_s": None,
            "burst_samples": None,
            "active_series": 1_000_000,
            "retention_days": 400,
            "query_samples": 50_000_000,
            "query_concurrency": 20,
            "min_interval_ms": None,
            "blocked": None,
        },
        "networks": [],
        "requests_per_s": None,
    }


def test_a_revoked_key_is_inactive_at_once_and_published(hub, owner):
    """The very next introspection says revoked, and the log has it for those who cached it."""
    made = owner.new_key("metrics:write")
    assert hub.introspect(made["key"])["active"]
    before = hub.internal("revocations")["seq"]
    assert owner.delete(f"/api/v1/keys/{made['id']}").status_code == 204
    assert hub.introspect(made["key"]) == {"active": False, "reason": "revoked"}
    log = hub.internal("revocations", after=before)
    assert [(r["kind"], r["ref"]) for r in log["revocations"]] == [("key", made["id"])]
    assert log["seq"] == log["revocations"][-1]["seq"] == before + 1
    assert listed(owner, made["id"])["revoked_at"] is not None


def test_revoking_twice_changes_nothing(hub, owner):
    """The second revocation is 204 too, without a second row in log or audit."""
    made = owner.new_key("metrics:write")
    owner.delete(f"/api/v1/keys/{made['id']}")
    seq = hub.internal("revocations")["seq"]
    audit = owner.get("/api/v1/audit").json()["events"][0]["seq"]
    assert owner.delete(f"/api/v1/keys/{made['id']}").status_code == 204
    assert hub.internal("revocations")["seq"] == seq
    assert owner.get("/api/v1/audit").json()["events"][0]["seq"] == audit


def test_a_key_expires_when_it_said_so(hub, owner):
    """Active until the last moment, expired from then on."""
    made = owner.new_key("metrics:write", expires_in_days=2)
    hub.clock.advance(days=2, seconds=-2)
    assert hub.introspect(made["key"])["active"]
    hub.clock.advance(seconds=2)
    assert hub.introspect(made["key"]) == {"active": False, "reason": "expired"}


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "malformed"),
        ("coh_live_short", "malformed"),
        ("coh_live_" + "a" * 38, "malformed"),
        (new_api_key(), "unknown"),
    ],
)
def test_a_key_that_is_none_is_told_apart(hub, key, reason):
    """A wrong shape never reaches the database; a right shape that nobody issued is unknown."""
    assert hub.introspect(key) == {"active": False, "reason": reason}


def test_bad_requests_for_keys_say_what_is_wrong(hub):
    """Unknown scopes, none, empty names and impossible lives are refused by name."""
    owner = hub.log_in("founder@example.org")
    for body, reason in (
        ({"name": "k", "scopes": ["everything"]}, "everything"),
        ({"name": "k", "scopes": []}, "at least one"),
        ({"name": " ", "scopes": ["admin"]}, "name"),
        ({"name": "k", "scopes": ["admin"], "expires_in_days": 0}, "expires_in_days"),
        ({"name": "k", "scopes": ["admin"], "expires_in_days": 10**9}, "expires_in_days"),
    ):
        refused = owner.post("/api/v1/keys", body)
        assert refused.status_code == 400, refused.text
        assert reason in refused.json()["error"]


def test_use_is_noted_at_most_once_a_minute(hub):
    """Introspection only reads; uses are written together, and within a minute only once."""
    owner = hub.log_in("founder@example.org")
    made = owner.new_key("metrics:write")
    hub.introspect(made["key"])
    hub.services.keys.flush_uses()
    first = listed(owner, made["id"])["last_used_at"]
    assert first is not None
    hub.clock.advance(seconds=30)
    hub.introspect(made["key"])
    hub.services.keys.flush_uses()
    assert listed(owner, made["id"])["last_used_at"] == first
    hub.clock.advance(seconds=31)
    hub.introspect(made["key"])
    hub.services.keys.flush_uses()
    assert listed(owner, made["id"])["last_used_at"] > first


def test_a_follower_of_the_log_misses_no_revocation(hub):
    """While eight threads revoke at once, a poller that always asks `after` the last seq it was
    given gets every row exactly once: numbers become visible in order.
    """
    owner = hub.log_in("founder@example.org")
    keys, org = hub.services.keys, UUID(owner.org)
    made = [owner.new_key("metrics:read")["id"] for _ in range(40)]
    position = start_at = hub.internal("revocations")["seq"]
    seen, done = [], threading.Event()

    def follow():
        nonlocal position
        finished = False
        while not finished:
            finished = done.is_set()
            page = hub.internal("revocations", after=position)
            seen.extend(r["ref"] for r in page["revocations"])
            position = page["seq"]

    def revoke(mine):
        for key_id in mine:
            keys.revoke(org, key_id, Actor("test"))

    ids = [UUID(key_id) for key_id in made]
    follower = threading.Thread(target=follow)
    workers = [threading.Thread(target=revoke, args=(ids[n::8],)) for n in range(8)]
    for thread in (follower, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    follower.join()
    assert sorted(seen) == sorted(made)
    assert position == start_at + len(made)


def test_a_first_look_at_the_log_is_told_the_last_ten_minutes(hub):
    """Who asks without a position, or with one the log has not reached, is told what a living
    token may be under: ten minutes, no more, and where to go on from.
    """
    owner = hub.log_in("founder@example.org")
    hub.clock.advance(minutes=11)
    first, second = (owner.new_key("metrics:read")["id"] for _ in range(2))
    owner.delete(f"/api/v1/keys/{first}")
    hub.clock.advance(minutes=9, seconds=59)
    owner.delete(f"/api/v1/keys/{second}")
    seq = hub.internal("revocations")["seq"]
    for asked in ({}, {"after": seq + 1_000}):
        log = hub.internal("revocations", **asked)
        assert [r["ref"] for r in log["revocations"]] == [first, second]
        assert log["seq"] == seq
    hub.clock.advance(seconds=2)
    assert [r["ref"] for r in hub.internal("revocations")["revocations"]] == [second]


def test_old_revocations_are_swept_but_never_the_newest(hub):
    """After a day nobody needs a row; the last one stays, so the log's position never goes back."""
    owner = hub.log_in("founder@example.org")
    owner.delete(f"/api/v1/keys/{owner.new_key('metrics:read')['id']}")
    seq = hub.internal("revocations")["seq"]
    hub.clock.advance(days=2)
    with hub.services.database.directory() as session:
        sweep(session, hub.clock.now())
    log = hub.internal("revocations", after=0)
    assert [r["seq"] for r in log["revocations"]] == [seq]
    assert hub.internal("revocations")["seq"] == seq
