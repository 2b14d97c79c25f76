"""A person who leaves the hub is an id, everywhere; and can see before what is stored of them."""

import pytest
from conftest import PASSWORD, founded_hub
from embedded_postgres import execute


@pytest.fixture(scope="module")
def hub(server_url, tmp_path_factory):
    with founded_hub(server_url, mail=f"file:{tmp_path_factory.mktemp('outbox')}") as running:
        yield running


@pytest.fixture
def owner(hub):
    email = hub.founder.session["user"]["email"]
    hub.founder.adopt(hub.founder.post("/api/v1/login", {"email": email, "password": PASSWORD}))
    return hub.owner("Privacy")


def places_of(hub, needle):
    """Every column of every table, text or not, in which the text is."""
    url = hub.services.settings.database_url.get_secret_value()
    columns = execute(
        url,
        "SELECT string_agg(table_name || '.' || column_name, ' ') FROM information_schema.columns"
        " WHERE table_schema = 'billing'",
    )
    places = []
    for column in columns.split():
        table, _, name = column.partition(".")
        value = f"convert_to(CAST(\"{name}\" AS text), 'UTF8')"
        hit = f"SELECT count(*)::text FROM billing.{table} WHERE position('{needle}'::bytea IN"
        if execute(url, f"{hit} {value}) > 0") != "0":
            places.append(column)
    return places


def fill(hub, owner, email):
    """A person whose address is wherever an address can be."""
    owner.post("/api/v1/invitations", {"email": email, "role": "viewer"})
    person = hub.join(owner, email, "admin")
    other = hub.owner("Elsewhere")
    other.post("/api/v1/invitations", {"email": email, "role": "viewer"})
    hub.browser().post("/api/v1/password/forgotten", {"email": email})
    hub.browser().post("/api/v1/login", {"email": email, "password": "wrong"})
    person.post("/api/v1/me/email/verification")
    other.post("/api/v1/me/email", {"email": email, "password": PASSWORD})
    person.post("/api/v1/me/email", {"email": f"next-{email}", "password": PASSWORD})
    return person


def test_an_erased_person_is_nowhere_in_the_database(hub, owner):
    """No column has the address; credentials, sessions, keys and links are gone; the audit log
    keeps the id and its chain is whole; the address is free for a new account.
    """
    email = "leaving.person@example.org"
    person = fill(hub, owner, email)
    key = person.new_key("metrics:read")
    token = person.post("/api/v1/token", {"audience": "ubs"}).json()["token"]
    assert places_of(hub, email), "the search finds it before"
    hub.clock.advance(hours=2)
    assert person.post("/api/v1/me/erase", {"password": "wrong"}).status_code == 401
    assert person.post("/api/v1/me/erase", {"password": PASSWORD}).status_code == 204
    assert places_of(hub, email) == []
    assert person.get("/api/v1/session").status_code == 401
    bearer = {"Authorization": f"Bearer {token}"}
    assert hub.browser().get("/api/v1/session", headers=bearer).status_code == 401
    again = hub.browser().post("/api/v1/login", {"email": email, "password": PASSWORD})
    assert again.status_code == 401
    assert hub.introspect(key["key"]) == {"active": False, "reason": "revoked"}
    url = hub.services.settings.database_url.get_secret_value()
    for table in ("session", "credential", "membership", "mailed_token"):
        rows = f"SELECT count(*)::text FROM billing.{table} WHERE user_id = '{person.user_id}'"
        assert execute(url, rows) == "0", table
    events = owner.get("/api/v1/audit").json()["events"]
    erased = next(e for e in events if e["action"] == "person.erased")
    assert erased["actor"] == erased["target"] == f"user:{person.user_id}"
    assert hub.services.audit.first_break(owner.org) is None
    owner = hub.log_in(owner.session["user"]["email"])
    assert hub.join(owner, email, "viewer").user_id != person.user_id


def test_the_only_owner_hands_over_first(hub, owner):
    """An organisation is not left without an owner: 409 names it; afterwards it goes."""
    owner.delete(f"/api/v1/members/{hub.founder.user_id}")
    refused = owner.post("/api/v1/me/erase", {"password": PASSWORD})
    assert refused.status_code == 409
    assert "Privacy" in refused.text
    assert owner.get("/api/v1/session").status_code == 200
    heir = hub.member(owner, "owner")
    assert owner.post("/api/v1/me/erase", {"password": PASSWORD}).status_code == 204
    members = heir.get("/api/v1/members").json()["members"]
    assert [m["user_id"] for m in members] == [heir.user_id]


def test_the_operator_erases_whoever_asked_for_it_and_nobody_else_can(hub, owner):
    """Only an administrator of the organisation that runs the hub, with a fresh log-in."""
    person = hub.member(owner, "viewer")
    path = f"/api/v1/operator/people/{person.user_id}/erase"
    assert owner.post(path).status_code == 403
    hub.clock.advance(hours=2)
    assert hub.founder.post(path).status_code == 403
    assert hub.founder.post("/api/v1/session/fresh", {"password": PASSWORD}).status_code == 204
    assert hub.founder.post(path).status_code == 204
    assert person.get("/api/v1/session").status_code == 401
    assert places_of(hub, person.session["user"]["email"]) == []
    missing = f"/api/v1/operator/people/{owner.org}/erase"
    assert hub.founder.post(missing).status_code == 404


def test_the_export_has_all_that_is_the_persons_and_no_secret(hub, owner):
    """Account, organisations, own keys, own events, own sessions; nothing of other people."""
    person = hub.member(owner, "admin")
    key = person.new_key("metrics:read")
    owner.new_key("metrics:read")
    answer = person.get("/api/v1/me/export")
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told["account"]["id"] == person.user_id
    [place] = told["organisations"]
    assert [one["id"] for one in place["keys"]] == [key["id"]]
    assert [e["action"] for e in place["events"]] == [
        "key.created",
        "session.login",
        "invitation.accepted",
    ]
    assert len(told["sessions"]) == 1
    for secret in (key["key"], owner.session["user"]["email"], "argon2", "token_hash"):
        assert secret not in answer.text
