"""Who may do what: every published route, every kind of caller."""

import re

import httpx
import pytest
from conftest import PASSWORD, settings_for

from user_billing.app import create_app

BROWSER_ROUTES = {
    ("POST", "/api/v1/logout"),
    ("GET", "/api/v1/session"),
    ("POST", "/api/v1/session/organisation"),
    ("POST", "/api/v1/token"),
    ("GET", "/api/v1/second-factor"),
    ("POST", "/api/v1/second-factor"),
    ("POST", "/api/v1/second-factor/confirm"),
    ("POST", "/api/v1/second-factor/recovery-codes"),
    ("POST", "/api/v1/second-factor/disable"),
    ("POST", "/api/v1/oidc/{name}/link"),
    ("GET", "/api/v1/identities"),
    ("DELETE", "/api/v1/identities/{identity_id}"),
    ("POST", "/api/v1/session/fresh"),
    ("GET", "/api/v1/sessions"),
    ("POST", "/api/v1/sessions/end-others"),
    ("DELETE", "/api/v1/sessions/{session_id}"),
    ("POST", "/api/v1/me/email"),
    ("POST", "/api/v1/me/email/verification"),
    ("POST", "/api/v1/me/password"),
    ("GET", "/api/v1/me/export"),
    ("POST", "/api/v1/me/erase"),
}
PERSON_ROUTES = {("POST", "/api/v1/organisations")}
WRITER_ROUTES = {("POST", "/api/v1/usage/events")}
OPEN_ROUTES = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/api/v1/setup"),
    ("POST", "/api/v1/setup"),
    ("POST", "/api/v1/login"),
    ("POST", "/api/v1/login/code"),
    ("GET", "/api/v1/oidc"),
    ("GET", "/api/v1/oidc/{name}/start"),
    ("GET", "/api/v1/oidc/{name}/callback"),
    ("POST", "/api/v1/oidc/link"),
    ("POST", "/api/v1/invitations/accept"),
    ("POST", "/api/v1/password/forgotten"),
    ("POST", "/api/v1/password/reset"),
    ("POST", "/api/v1/email/verify"),
    ("POST", "/api/v1/email/confirm"),
}
ADMIN_READS = {"/keys", "/members", "/invitations", "/service-accounts", "/webhooks"}
"""What only administrators read, and all below it; the rest is read with `billing:read`."""
READER_POSTS = {("POST", "/api/v1/subscriptions/preview"), ("POST", "/api/v1/what-if")}
"""Questions with a body: nothing is changed."""
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def people(hub):
    owner = hub.owner("Roles")
    return {
        "owner": owner,
        "admin": hub.member(owner, "admin"),
        "viewer": hub.member(owner, "viewer"),
    }


def published():
    """Every operation of the service, which connects to nothing to tell."""
    paths = create_app(settings_for("postgresql:///none")).openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


ROUTES = published()
INTERNAL_ROUTES = {one for one in ROUTES if one[1].startswith("/internal/")}
OPERATOR_ROUTES = {one for one in ROUTES if one[1].startswith("/api/v1/operator/")}
OF_ORGANISATION = ROUTES - (
    BROWSER_ROUTES | PERSON_ROUTES | OPEN_ROUTES | WRITER_ROUTES | INTERNAL_ROUTES | OPERATOR_ROUTES
)
READER_ROUTES = READER_POSTS | {
    (method, path)
    for method, path in OF_ORGANISATION
    if method == "GET" and f"/{path.split('/')[3]}" not in ADMIN_READS
}
ADMIN_ROUTES = OF_ORGANISATION - READER_ROUTES
"""Whatever changes an organisation needs `admin`, unless it is named above."""


def concrete(path):
    return re.sub(r"{\w+}", NOBODY, path)


def test_the_lists_name_routes_that_there_are():
    assert BROWSER_ROUTES | PERSON_ROUTES | OPEN_ROUTES | WRITER_ROUTES | READER_POSTS <= ROUTES
    assert all(path.startswith("/api/v1/") for _, path in OF_ORGANISATION)


def test_requests_that_took_a_wrong_turn(hub):
    """HEAD of a probe answers; what is meant for another service is told to come back; a slash too
    many is no redirect, which would leave the prefix of the door.
    """
    for path in ("/health", "/ready"):
        assert httpx.head(hub.base_url + path, timeout=600).status_code == 200
    for code, status in (("ubs", 200), ("dis", 503)):
        headers = {"X-CloudOpsHub-Service": code}
        answer = httpx.get(f"{hub.base_url}/health", headers=headers, timeout=600)
        assert answer.status_code == status
    assert answer.json()["errorType"] == "unavailable"
    assert answer.headers["retry-after"] == "1"
    assert httpx.get(f"{hub.base_url}/api/v1/setup/", timeout=600).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    sorted(ROUTES - OPEN_ROUTES),
)
def test_without_a_credential_every_route_is_closed(hub, method, path):
    """401 before anything else is looked at, the body included."""
    for headers in (
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Digest x"},
        {"X-API-Key": "coh_live_" + "a" * 38},
        {"Cookie": "cloudopshub=guess"},
    ):
        answer = httpx.request(method, hub.base_url + concrete(path), headers=headers, timeout=600)
        assert answer.status_code == 401, (headers, answer.text)
        assert "valid session, token or API key is needed" in answer.text


@pytest.mark.parametrize(("method", "path"), sorted(ADMIN_ROUTES | OPERATOR_ROUTES))
def test_a_viewer_and_a_lesser_key_are_refused_by_name_of_the_scope(hub, people, method, path):
    """Members, keys and invitations need `admin`: 403 says so, to a person and to a key."""
    key = people["owner"].new_key("metrics:read", "billing:read")["key"]
    viewer = people["viewer"]
    answers = [
        viewer.http.request(method, concrete(path), headers=viewer.headers()),
        httpx.request(
            method, hub.base_url + concrete(path), headers={"X-API-Key": key}, timeout=600
        ),
    ]
    for answer in answers:
        assert answer.status_code == 403, answer.text
        assert "admin" in answer.json()["error"]


@pytest.mark.parametrize(("method", "path"), sorted(ADMIN_ROUTES | READER_ROUTES))
def test_owner_admin_and_an_admin_key_pass(hub, people, method, path):
    """Who has `admin` reaches the route: its answer is about the request, not about the caller."""
    key = people["owner"].new_key("admin")["key"]
    for who in (people["owner"], people["admin"]):
        answer = who.http.request(method, concrete(path), headers=who.headers())
        assert answer.status_code in {200, 201, 400, 404}, answer.text
    for headers in (
        {"X-API-Key": key},
        {"Authorization": f"Bearer {key}"},
        {"Authorization": httpx.BasicAuth("any", key)._auth_header},
    ):
        answer = httpx.request(method, hub.base_url + concrete(path), headers=headers, timeout=600)
        assert answer.status_code in {200, 201, 400, 404}, answer.text


def test_reading_the_audit_needs_billing_read(hub, people):
    """A viewer reads the audit log; a key that only writes metrics does not."""
    assert people["viewer"].get("/api/v1/audit").status_code == 200
    key = people["owner"].new_key("metrics:write")["key"]
    refused = httpx.get(f"{hub.base_url}/api/v1/audit", headers={"X-API-Key": key}, timeout=600)
    assert refused.status_code == 403
    assert "billing:read" in refused.json()["error"]


@pytest.mark.parametrize(("method", "path"), sorted(BROWSER_ROUTES | PERSON_ROUTES))
def test_keys_have_no_session(hub, people, method, path):
    """What belongs to a person with a cookie is closed to the strongest key."""
    key = people["owner"].new_key("admin")["key"]
    body = {"name": "x", "audience": "das", "organisation_id": NOBODY}
    answer = httpx.request(
        method, hub.base_url + path, headers={"X-API-Key": key},
        json=None if method == "GET" else body, timeout=600
    )  # fmt: skip
    assert answer.status_code in {400, 403}, answer.text


def test_an_admin_does_not_touch_owners(people):
    """An admin neither invites, makes, demotes nor removes an owner."""
    owner, admin = people["owner"], people["admin"]
    refusals = [
        admin.post("/api/v1/invitations", {"email": "boss@example.org", "role": "owner"}),
        admin.patch(f"/api/v1/members/{people['viewer'].user_id}", {"role": "owner"}),
        admin.patch(f"/api/v1/members/{owner.user_id}", {"role": "viewer"}),
        admin.delete(f"/api/v1/members/{owner.user_id}"),
    ]
    assert [r.status_code for r in refusals] == [403] * 4
    assert all("owner" in r.json()["error"] for r in refusals)


def test_an_organisation_keeps_an_owner(hub):
    """The last owner is neither demoted nor removed."""
    owner = hub.owner("Keeps")
    founder_id = hub.founder.user_id
    assert owner.delete(f"/api/v1/members/{founder_id}").status_code == 204
    for refused in (
        owner.patch(f"/api/v1/members/{owner.user_id}", {"role": "admin"}),
        owner.delete(f"/api/v1/members/{owner.user_id}"),
    ):
        assert refused.status_code == 409
        assert "at least one owner" in refused.json()["error"]


def test_a_new_role_holds_at_once_and_ends_the_old_session(hub):
    """A demoted admin's session ends with the change, and is published as revoked; the next log-in
    has the new role.
    """
    owner = hub.owner("Demotes")
    admin = hub.member(owner, "admin")
    before = hub.internal("revocations")["seq"]
    changed = owner.patch(f"/api/v1/members/{admin.user_id}", {"role": "viewer"})
    assert changed.json()["role"] == "viewer"
    assert admin.get("/api/v1/session").status_code == 401
    published = hub.internal("revocations", after=before)["revocations"]
    assert [r["kind"] for r in published] == ["session"]
    again = hub.log_in(admin.session["user"]["email"])
    assert again.session["role"] == "viewer"
    assert again.get("/api/v1/keys").status_code == 403


def test_changing_the_own_role_gives_a_new_session(hub):
    """An owner who steps down goes on with a new cookie and the lesser role."""
    owner = hub.owner("Steps down")
    cookie = owner.http.cookies["cloudopshub"]
    assert owner.patch(f"/api/v1/members/{owner.user_id}", {"role": "viewer"}).status_code == 200
    assert owner.http.cookies["cloudopshub"] != cookie
    assert owner.get("/api/v1/session").json()["role"] == "viewer"


def test_a_removed_member_is_out_at_once(hub):
    """Removal ends the session, and a later log-in does not lead there."""
    owner = hub.owner("Removes")
    viewer = hub.member(owner, "viewer")
    assert owner.delete(f"/api/v1/members/{viewer.user_id}").status_code == 204
    assert viewer.get("/api/v1/session").status_code == 401
    refused = hub.browser().post(
        "/api/v1/login", {"email": viewer.session["user"]["email"], "password": PASSWORD}
    )
    assert refused.status_code == 403
    assert "no organisation" in refused.json()["error"]


def test_invitations_are_single_use_replaceable_and_expire(hub):
    """One acceptance; a second invitation voids the first; a week ends it; withdrawing ends it."""
    owner = hub.owner("Invites")

    def invite(email):
        made = owner.post("/api/v1/invitations", {"email": email, "role": "viewer"}).json()
        assert made["link"].startswith("/#/invitation/")
        return made["id"], made["link"].rpartition("/")[2]

    def accept(token):
        body = {"token": token, "password": PASSWORD}
        return hub.browser().post("/api/v1/invitations/accept", body).status_code

    _, first = invite("one@example.net")
    _, second = invite("one@example.net")
    assert accept(first) == 404
    assert accept(second) == 200
    assert accept(second) == 404
    again = owner.post("/api/v1/invitations", {"email": "one@example.net", "role": "viewer"})
    assert again.status_code == 409
    withdrawn, token = invite("two@example.net")
    assert owner.delete(f"/api/v1/invitations/{withdrawn}").status_code == 204
    assert owner.delete(f"/api/v1/invitations/{withdrawn}").status_code == 404
    assert accept(token) == 404
    _, late = invite("three@example.net")
    hub.clock.advance(days=7, seconds=1)
    assert accept(late) == 404


def test_an_existing_person_joins_with_their_own_password(hub):
    """The invitation of a known address is accepted with that account's password, no other."""
    hub.founder = hub.log_in("founder@example.org")
    first, second = hub.owner("First"), hub.owner("Second")
    person = hub.member(first, "viewer")
    email = person.session["user"]["email"]
    made = second.post("/api/v1/invitations", {"email": email, "role": "admin"})
    token = made.json()["link"].rpartition("/")[2]
    wrong = {"token": token, "password": "another long phrase"}
    assert hub.browser().post("/api/v1/invitations/accept", wrong).status_code == 401
    right = {"token": token, "password": PASSWORD}
    joined = hub.browser().post("/api/v1/invitations/accept", right)
    assert joined.status_code == 200
    assert joined.json()["role"] == "admin"
    assert {o["name"] for o in joined.json()["organisations"]} == {"First", "Second"}


@pytest.mark.parametrize(("method", "path"), sorted(OPERATOR_ROUTES))
def test_only_the_home_organisation_operates(hub, method, path):
    """The owner of any other organisation, and its strongest key, get 403."""
    owner = hub.owner("Does not operate")
    key = owner.new_key("admin", "billing:read")["key"]
    for answer in (
        owner.http.request(method, concrete(path), headers=owner.headers()),
        httpx.request(
            method, hub.base_url + concrete(path), headers={"X-API-Key": key}, timeout=600
        ),
    ):
        assert answer.status_code == 403
        assert "runs this hub" in answer.text
