"""A suspended organisation: refused everywhere, read by its people, whole when it comes back."""

import httpx
import pytest
from conftest import INTERNAL, PASSWORD


@pytest.fixture
def team(hub):
    email = hub.founder.session["user"]["email"]
    hub.founder.adopt(hub.founder.post("/api/v1/login", {"email": email, "password": PASSWORD}))
    owner = hub.owner("Late payers")
    owner.key = owner.new_key("admin", "metrics:write")
    return owner


def suspend(hub, org, reason="an invoice is 60 days overdue"):
    return hub.founder.post(f"/api/v1/operator/organisations/{org}/suspend", {"reason": reason})


def resume(hub, org):
    return hub.founder.post(f"/api/v1/operator/organisations/{org}/resume")


def test_keys_and_tokens_are_refused_at_once_and_the_log_says_so(hub, team):
    """Introspection, keys, new tokens of people and of services; one revocation for all of it."""
    before = hub.internal("revocations")["seq"]
    assert suspend(hub, team.org).status_code == 204
    assert hub.introspect(team.key["key"]) == {"active": False, "reason": "suspended"}
    header = {"X-API-Key": team.key["key"]}
    assert httpx.get(f"{hub.base_url}/api/v1/keys", headers=header, timeout=600).status_code == 401
    assert team.post("/api/v1/token", {"audience": "das"}).status_code == 403
    body = {
        "service": "das", "tenant": team.org, "audience": "dis", "scopes": ["metrics:read"],
    }  # fmt: skip
    token = httpx.post(f"{hub.base_url}/internal/token", json=body, headers=INTERNAL, timeout=600)
    assert token.status_code == 403
    [row] = hub.internal("revocations", after=before)["revocations"]
    assert (row["kind"], row["ref"]) == ("organisation", team.org)
    assert suspend(hub, team.org, "again").status_code == 204
    assert hub.internal("revocations", after=before)["revocations"] == [row]
    assert resume(hub, team.org).status_code == 204
    assert hub.introspect(team.key["key"])["active"]
    assert team.post("/api/v1/token", {"audience": "das"}).status_code == 200
    assert httpx.post(
        f"{hub.base_url}/internal/token", json=body, headers=INTERNAL, timeout=600
    ).is_success


def test_its_people_read_what_it_owes_and_change_nothing(hub, team):
    """A log-in says why, and reads usage and audit; everything else waits until it is resumed."""
    suspend(hub, team.org)
    person = hub.log_in(team.session["user"]["email"])
    assert person.session["suspended"] == "an invoice is 60 days overdue"
    assert person.session["scopes"] == ["billing:read"]
    token = person.post("/api/v1/token", {"audience": "ubs"}).json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    for headers in ({}, bearer):
        assert person.get("/api/v1/usage", headers=headers).status_code == 200
        assert person.get("/api/v1/audit", headers=headers).status_code == 200
        assert person.get("/api/v1/keys", headers=headers).status_code == 403
    for path, body in (
        ("keys", {"name": "k", "scopes": ["metrics:write"]}),
        ("invitations", {"email": "x@example.org", "role": "viewer"}),
        ("organisations", {"name": "A way around"}),
    ):
        assert person.post(f"/api/v1/{path}", body).status_code == 403, path
    resume(hub, team.org)
    assert person.get("/api/v1/session").json()["suspended"] is None
    person.new_key("metrics:write")
    actions = [e["action"] for e in person.get("/api/v1/audit").json()["events"]]
    assert {"organisation.suspended", "organisation.resumed"} <= set(actions)


def test_only_the_operator_suspends_and_never_itself(hub, team):
    """Not an owner, not a customer's admin key; needs a fresh log-in, a reason, an organisation."""
    path = f"/api/v1/operator/organisations/{team.org}/suspend"
    assert team.post(path, {"reason": "x"}).status_code == 403
    header = {"X-API-Key": team.key["key"]}
    assert (
        httpx.get(
            f"{hub.base_url}/api/v1/operator/organisations", headers=header, timeout=600
        ).status_code
        == 403
    )
    assert suspend(hub, hub.founder.org).status_code == 409
    assert suspend(hub, team.user_id).status_code == 404
    assert suspend(hub, team.org, " ").status_code == 400
    hub.clock.advance(hours=2)
    assert suspend(hub, team.org).status_code == 403


def test_the_operator_lists_all_a_page_at_a_time(hub, team):
    """Every organisation once, oldest first, with its members and its state."""
    hub.member(team, "viewer")
    suspend(hub, team.org)
    listed, after = [], None
    while True:
        query = {"limit": 2} if after is None else {"limit": 2, "after": after}
        page = hub.founder.get("/api/v1/operator/organisations", params=query).json()
        listed += page["organisations"]
        after = page["next"]
        if after is None:
            break
    ids = [one["id"] for one in listed]
    assert ids == sorted(set(ids))
    assert {hub.founder.org, team.org} <= set(ids)
    one = next(one for one in listed if one["id"] == team.org)
    assert (one["name"], one["members"], one["state"]) == ("Late payers", 2 + 1, "suspended")
    assert one["suspended_reason"] == "an invoice is 60 days overdue"
    resume(hub, team.org)
