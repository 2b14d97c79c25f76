"""The audit log: every change, in order, provable, without secrets."""

import threading
from uuid import UUID

import pytest
from conftest import PASSWORD
from sqlalchemy import text

from user_billing import operate


@pytest.fixture(scope="module")
def owner(hub):
    return hub.owner("Audited")


def events(browser, **params):
    return browser.get("/api/v1/audit", params=params).json()["events"]


def test_every_change_leaves_an_event_in_order(hub, owner):
    """Key, role, invitation, removal, log-in, log-out: told with actor, target, request."""
    start = events(owner)[0]["seq"]
    key = owner.new_key("metrics:read")
    owner.delete(f"/api/v1/keys/{key['id']}")
    viewer = hub.member(owner, "viewer")
    owner.patch(f"/api/v1/members/{viewer.user_id}", {"role": "admin"})
    again = hub.log_in(viewer.session["user"]["email"])
    again.post("/api/v1/logout")
    made = owner.post("/api/v1/invitations", {"email": "w@example.org", "role": "viewer"}).json()
    owner.delete(f"/api/v1/invitations/{made['id']}")
    owner.delete(f"/api/v1/members/{viewer.user_id}")
    told = [e for e in reversed(events(owner)) if e["seq"] > start]
    assert [e["action"] for e in told] == [
        "key.created",
        "key.revoked",
        "invitation.created",
        "invitation.accepted",
        "session.login",
        "member.role_changed",
        "session.login",
        "session.logout",
        "invitation.created",
        "invitation.revoked",
        "member.removed",
    ]
    assert [e["seq"] for e in told] == list(range(start + 1, start + 12))
    assert told[0]["actor"] == owner.session["user"]["email"]
    assert told[0]["target"] == f"key:{key['id']}"
    assert told[5]["detail"] == {"before": "viewer", "after": "admin"}
    assert all(e["request_id"] for e in told)


def test_no_secret_is_in_the_log(hub, owner):
    """Neither keys, passwords, cookies nor invitation tokens are told."""
    key = owner.new_key("metrics:read")["key"]
    made = owner.post("/api/v1/invitations", {"email": "s@example.org", "role": "viewer"}).json()
    told = owner.get("/api/v1/audit").text
    secrets = [key, key[12:], PASSWORD, made["link"].rpartition("/")[2]]
    assert not [secret for secret in secrets if secret in told]


def test_pages_go_back_without_gap_or_overlap(owner):
    """`before` and `limit` walk the whole log, newest first, each event once."""
    walked, before = [], {}
    while page := events(owner, limit=3, **before):
        walked += [e["seq"] for e in page]
        before = {"before": walked[-1]}
        if walked[-1] == 1:
            break
    assert walked == list(range(walked[0], 0, -1))


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "before=0", "before=-1"])
def test_impossible_pages_are_refused(owner, query):
    """A page outside the bounds is 400."""
    assert owner.get(f"/api/v1/audit?{query}").status_code == 400


def test_a_refused_change_leaves_no_event(owner):
    """What did not happen is not told."""
    before = events(owner)[0]["seq"]
    owner.post("/api/v1/keys", {"name": "k", "scopes": ["nonsense"]})
    owner.delete(f"/api/v1/members/{UUID(int=5)}")
    assert events(owner)[0]["seq"] == before


def test_the_chain_proves_itself_under_concurrency(hub, owner):
    """Sixteen threads writing at once: no gap, no repeat, whole."""
    start = events(owner)[0]["seq"]
    gate = threading.Barrier(16)

    def write():
        gate.wait()
        owner.new_key("metrics:read")

    threads = [threading.Thread(target=write) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert events(owner)[0]["seq"] == start + 16
    assert hub.services.audit.first_break(UUID(owner.org)) is None


def test_tampering_below_the_triggers_is_found(hub):
    """A superuser who switches triggers off changes a row: the proof names that very event."""
    owner = hub.owner("Tampered")
    org = UUID(owner.org)
    settings = hub.services.settings
    assert operate.run(settings, "verify-audit", org) == "the audit chain is whole"
    with hub.services.database.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(
            text("UPDATE billing.audit_event SET actor = 'x' WHERE org_id = :o AND seq = 2"),
            {"o": org},
        )
    assert hub.services.audit.first_break(org) == 2
    with pytest.raises(SystemExit, match="breaks at event 2"):
        operate.run(settings, "verify-audit", org)


def test_cutting_the_end_off_is_found(hub):
    """The chain's head is kept apart, so removing the newest events is noticed."""
    owner = hub.owner("Cut")
    org = UUID(owner.org)
    last = events(owner)[0]["seq"]
    with hub.services.database.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(
            text("DELETE FROM billing.audit_event WHERE org_id = :o AND seq = :s"),
            {"o": org, "s": last},
        )
    assert hub.services.audit.first_break(org) == last
