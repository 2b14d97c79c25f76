"""What a member's keys and invitations become when the member leaves or gets a lesser role."""

from dataclasses import replace
from uuid import UUID

import httpx
import pytest
from conftest import PASSWORD
from embedded_postgres import execute

from user_billing.errors import NotAuthenticated
from user_billing.members import rules as members_rules
from user_billing.model import Actor, Principal, Role, Scope

EVERYTHING = [scope.value for scope in Scope]


def invite(who, email, role="viewer"):
    made = who.post("/api/v1/invitations", {"email": email, "role": role})
    assert made.status_code == 201, made.text
    return made.json()["link"].rpartition("/")[2]


def accept(hub, token):
    body = {"token": token, "password": PASSWORD}
    return hub.browser().post("/api/v1/invitations/accept", body).status_code


def by_key(hub, key, method, path, body=None):
    return httpx.request(
        method, hub.base_url + path, json=body, headers={"X-API-Key": key["key"]}, timeout=600
    )


def made_by_key(hub, key, *scopes, **more):
    body = {"name": "child", "scopes": list(scopes), **more}
    made = by_key(hub, key, "POST", "/api/v1/keys", body)
    assert made.status_code == 201, made.text
    return made.json()


def living(hub, keys):
    return {name for name, key in keys.items() if hub.introspect(key["key"])["active"]}


def revoked_since(hub, seq):
    return {row["ref"] for row in hub.internal("revocations", after=seq)["revocations"]}


@pytest.fixture
def owner(hub):
    hub.founder = hub.log_in("founder@example.org")
    return hub.owner("Leaving")


def keys_of(hub, person):
    """Keys a person made, and keys that these made."""
    strong = person.new_key(*EVERYTHING)
    return {
        "strong": strong,
        "reads": person.new_key("metrics:read"),
        "writes": person.new_key("metrics:write"),
        "writes and reads": person.new_key("metrics:write", "metrics:read"),
        "child": made_by_key(hub, strong, *EVERYTHING),
        "child that writes": made_by_key(hub, strong, "metrics:write"),
    }


def test_who_leaves_takes_along_all_keys_but_those_that_only_write_metrics(hub, owner):
    """A removed member's keys, and keys made by their keys, are revoked and published with the
    removal; agents that only write go on; keys of others are not touched.
    """
    admin = hub.member(owner, "admin")
    keys, mine = keys_of(hub, admin), owner.new_key("metrics:read")
    before = hub.internal("revocations")["seq"]
    assert owner.delete(f"/api/v1/members/{admin.user_id}").status_code == 204
    assert living(hub, {**keys, "mine": mine}) == {"writes", "child that writes", "mine"}
    dead = {key["id"] for name, key in keys.items() if name not in {"writes", "child that writes"}}
    assert dead <= revoked_since(hub, before)
    assert by_key(hub, keys["strong"], "GET", "/api/v1/members").status_code == 401
    events = owner.get("/api/v1/audit").json()["events"]
    told = {e["target"] for e in events if e["action"] == "key.revoked" and e["detail"]["reason"]}
    assert told == {f"key:{key_id}" for key_id in dead}
    assert hub.services.audit.first_break(UUID(owner.org)) is None


def test_a_key_whose_own_maker_was_revoked_first_leaves_with_the_person(hub, owner):
    """Revoking the key in between does not cut the chain back to the person."""
    admin = hub.member(owner, "admin")
    strong = admin.new_key(*EVERYTHING)
    child = made_by_key(hub, strong, *EVERYTHING)
    assert owner.delete(f"/api/v1/keys/{strong['id']}").status_code == 204
    assert hub.introspect(child["key"])["active"]
    assert owner.delete(f"/api/v1/members/{admin.user_id}").status_code == 204
    assert hub.introspect(child["key"]) == {"active": False, "reason": "revoked"}


def test_no_invitation_of_who_left_lets_anybody_in(hub, owner):
    """Open invitations by the removed, by their keys and to their address are void; those of
    others stand, and who joined before stays.
    """
    email = "coming-back@example.net"
    admin = hub.join(owner, email, "admin")
    joined = hub.join(admin, "joined-early@example.net", "viewer")
    strong = admin.new_key(*EVERYTHING)
    body = {"email": "by-key@example.net", "role": "viewer"}
    by = by_key(hub, strong, "POST", "/api/v1/invitations", body).json()["link"].rpartition("/")[2]
    void = [invite(admin, "second-me@example.net", "admin"), by]
    stands = invite(owner, "somebody-else@example.net")
    assert owner.delete(f"/api/v1/members/{admin.user_id}").status_code == 204
    assert [accept(hub, token) for token in void] == [404, 404]
    assert accept(hub, stands) == 200
    assert joined.get("/api/v1/session").status_code == 200
    # as set-up can leave one behind: an invitation to somebody who is a member by another way
    again = hub.join(owner, "other-way@example.net", "viewer")
    token = invite(owner, "placeholder@example.net")
    execute(
        hub.services.settings.database_url.get_secret_value(),
        "UPDATE billing.invitation SET email = 'other-way@example.net'"
        " WHERE email = 'placeholder@example.net' RETURNING 1",
    )
    assert owner.delete(f"/api/v1/members/{again.user_id}").status_code == 204
    assert accept(hub, token) == 404


def test_a_lesser_role_keeps_what_it_could_make_itself(hub, owner):
    """Demoted to viewer: keys that read or write metrics stay, the others and all invitations
    end. From owner to admin: invitations of owners end, the rest stays.
    """
    admin = hub.member(owner, "admin")
    keys = keys_of(hub, admin)
    token = invite(admin, "by-admin@example.net")
    path = f"/api/v1/members/{admin.user_id}"
    assert owner.patch(path, {"role": "viewer"}).status_code == 200
    assert living(hub, keys) == {"reads", "writes", "writes and reads", "child that writes"}
    assert accept(hub, token) == 404

    second = hub.member(owner, "owner")
    keys = keys_of(hub, second)
    tokens = [invite(second, f"{role}-of@example.net", role) for role in ("owner", "admin")]
    path = f"/api/v1/members/{second.user_id}"
    assert owner.patch(path, {"role": "admin"}).status_code == 200
    assert living(hub, keys) == set(keys)
    assert [accept(hub, token) for token in tokens] == [404, 200]


def test_a_request_that_began_before_the_removal_makes_nothing_after_it(hub, owner):
    """Whoever was removed, demoted or revoked while a request was on its way is refused."""
    admin = hub.member(owner, "admin")
    key = admin.new_key(*EVERYTHING)
    services, org = hub.services, UUID(owner.org)
    person = Principal(
        org, Actor(f"user:{admin.user_id}"), frozenset(Scope), "token", Role.ADMIN,
        UUID(admin.user_id),
    )  # fmt: skip
    machine = Principal(org, Actor(f"key:{key['id']}"), frozenset(Scope), "key")
    assert owner.delete(f"/api/v1/members/{admin.user_id}").status_code == 204
    for principal in (person, machine, replace(person, role=Role.OWNER)):
        with pytest.raises(NotAuthenticated):
            services.keys.create(principal, name="k", scopes=["admin"], expires_in_days=None)
        with pytest.raises(NotAuthenticated):
            services.members.invite(principal, email="late@example.net", role=Role.VIEWER)
        with pytest.raises(NotAuthenticated):
            services.members.change_role(principal, UUID(owner.user_id), "viewer")


def test_what_was_left_behind_ends_at_the_next_start(hub, owner):
    """Keys and invitations of people who were removed by an older version end too, once."""
    admin = hub.member(owner, "admin")
    keys, token = keys_of(hub, admin), invite(admin, "left-behind@example.net")
    execute(
        hub.services.settings.database_url.get_secret_value(),
        f"DELETE FROM billing.membership WHERE user_id = '{admin.user_id}' RETURNING 1",
    )
    before = hub.internal("revocations")["seq"]
    assert hub.services.members.end_outgrown() == 4
    assert hub.services.members.end_outgrown() == 0
    assert living(hub, keys) == {"writes", "child that writes"}
    assert len(revoked_since(hub, before)) == 4
    assert accept(hub, token) == 404


def test_invitations_of_a_revoked_key_are_void(hub, owner):
    """A key that was stolen and revoked lets nobody in afterwards."""
    key = owner.new_key(*EVERYTHING)
    body = {"email": "thief@example.net", "role": "admin"}
    made = by_key(hub, key, "POST", "/api/v1/invitations", body)
    assert owner.delete(f"/api/v1/keys/{key['id']}").status_code == 204
    assert accept(hub, made.json()["link"].rpartition("/")[2]) == 404


def test_no_key_makes_a_stronger_key(hub, owner):
    """By no way round: neither by a key, nor by a member it invites or promotes; and nothing it
    makes outlives it.
    """
    viewer = hub.member(owner, "viewer")
    other = hub.member(owner, "admin")
    only_admin = owner.new_key("admin")
    member = f"/api/v1/members/{viewer.user_id}"
    refused = [
        ("POST", "/api/v1/invitations", {"email": "up@example.net", "role": "admin"}),
        ("POST", "/api/v1/invitations", {"email": "up@example.net", "role": "viewer"}),
        ("PATCH", member, {"role": "admin"}),
        ("POST", "/api/v1/keys", {"name": "k", "scopes": ["admin", "metrics:read"]}),
    ]
    for method, path, body in refused:
        answer = by_key(hub, only_admin, method, path, body)
        assert answer.status_code == 403, (path, body, answer.text)
        assert "metrics" in answer.json()["error"]
    demoted = by_key(
        hub, only_admin, "PATCH", f"/api/v1/members/{other.user_id}", {"role": "viewer"}
    )
    assert demoted.status_code == 200, demoted.text

    short = owner.new_key(*EVERYTHING, expires_in_days=7)
    refused = [
        ("POST", "/api/v1/invitations", {"email": "up@example.net", "role": "viewer"}),
        ("PATCH", member, {"role": "admin"}),
        ("POST", "/api/v1/keys", {"name": "k", "scopes": ["admin"]}),
        ("POST", "/api/v1/keys", {"name": "k", "scopes": ["admin"], "expires_in_days": 8}),
    ]
    for method, path, body in refused:
        assert by_key(hub, short, method, path, body).status_code == 403, (path, body)
    made_by_key(hub, short, *EVERYTHING, expires_in_days=7)


def test_an_organisation_writes_to_a_bounded_number_of_strangers_a_day(hub, monkeypatch):
    """Withdrawing invitations makes no room for more; the next day does."""
    monkeypatch.setattr(members_rules, "A_DAY_MAX", 3)  # one made the owner
    owner = hub.owner("Many letters")

    def invite(name):
        return owner.post("/api/v1/invitations", {"email": f"{name}@many.org", "role": "viewer"})

    made = invite("first").json()["id"]
    owner.delete(f"/api/v1/invitations/{made}")
    assert [invite(name).status_code for name in ("second", "third")] == [201, 409]
    hub.clock.advance(days=1)
    owner = hub.log_in(owner.session["user"]["email"])
    assert invite("third").status_code == 201
