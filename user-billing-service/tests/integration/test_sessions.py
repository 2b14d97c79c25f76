"""Log-in, cookies, rotation, CSRF and throttling."""

import threading
from datetime import timedelta

import httpx
import pytest
from conftest import PASSWORD, UI

from user_billing.model import Throttled
from user_billing.people.passwords import Passwords
from user_billing.throttle import sql as throttle_sql


@pytest.fixture(scope="module")
def owner(hub):
    return hub.owner("Sessions")


@pytest.fixture
def person(hub, owner):
    """A new admin, invited by the owner with a fresh log-in: tests here move the clock by hours."""
    return hub.member(hub.log_in(owner.session["user"]["email"]), "admin")


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(hub, person):
    """HttpOnly, SameSite=Lax, Path=/; on plain http without the prefix and without Secure."""
    email = person.session["user"]["email"]
    answer = hub.browser().post("/api/v1/login", {"email": email, "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("cloudopshub=")
    assert {"httponly", "path=/", "samesite=lax"} <= {part.strip() for part in cookie.split(";")}
    assert "secure" not in cookie
    assert answer.headers["cache-control"] == "no-store"


def test_the_database_does_not_know_the_cookie(hub, person):
    """What is stored of a session cannot be sent as one."""
    cookie = person.http.cookies["cloudopshub"]
    with hub.services.database.engine.connect() as connection:
        dump = connection.exec_driver_sql("SELECT encode(token_hash, 'hex') FROM billing.session")
        assert all(cookie.encode().hex() not in row[0] for row in dump)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "Origin"),
        ({"Origin": UI}, "X-CSRF-Token"),
        ({"X-CSRF-Token": "TOKEN"}, "Origin"),
        ({"Origin": UI, "X-CSRF-Token": "wrong"}, "X-CSRF-Token"),
        ({"Origin": "https://evil.example.org", "X-CSRF-Token": "TOKEN"}, "Origin"),
        ({"Origin": "null", "X-CSRF-Token": "TOKEN"}, "Origin"),
        ({"Sec-Fetch-Site": "cross-site", "Origin": UI, "X-CSRF-Token": "TOKEN"}, "Origin"),
        ({"Sec-Fetch-Site": "same-site", "X-CSRF-Token": "TOKEN"}, "Origin"),
    ],
    ids=str,
)
def test_an_unsafe_request_must_prove_its_origin_and_its_session(person, headers, reason):
    """With the cookie alone nothing changes: token and origin are both needed."""
    sent = {k: v.replace("TOKEN", person.session["csrf_token"]) for k, v in headers.items()}
    answer = person.http.post("/api/v1/token", json={"audience": "das"}, headers=sent)
    assert answer.status_code == 403
    assert reason in answer.json()["error"]


def test_a_csrf_token_of_another_session_is_refused(hub, person, owner):
    """The token is bound to the session, so a tossed cookie does not help."""
    headers = {"Origin": UI, "X-CSRF-Token": owner.session["csrf_token"]}
    answer = person.http.post("/api/v1/token", json={"audience": "das"}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_fetch_metadata_of_the_own_page_is_enough(person, site):
    """A modern browser's Sec-Fetch-Site stands in for Origin."""
    headers = {"Sec-Fetch-Site": site, "X-CSRF-Token": person.session["csrf_token"]}
    answer = person.http.post("/api/v1/token", json={"audience": "das"}, headers=headers)
    assert answer.status_code == 200


def test_another_site_cannot_log_a_browser_in(hub):
    """Log-in CSRF: a form on another page is refused before the password is looked at."""
    answer = httpx.post(
        f"{hub.base_url}/api/v1/login",
        json={"email": "founder@example.org", "password": PASSWORD},
        headers={"Origin": "https://evil.example.org"},
        timeout=600,
    )
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_each_login_is_a_new_session(hub, person):
    """A session fixed before the log-in is not the one after it."""
    email = person.session["user"]["email"]
    before = person.http.cookies["cloudopshub"]
    person.adopt(person.post("/api/v1/login", {"email": email, "password": PASSWORD}))
    assert person.http.cookies["cloudopshub"] != before


def test_changing_the_organisation_rotates_the_session(hub, person):
    """New cookie, new CSRF token; the old ones are dead and published as revoked."""
    person.post("/api/v1/organisations", {"name": "Second home"})
    organisations = person.get("/api/v1/session").json()["organisations"]
    other = next(o for o in organisations if o["name"] == "Second home")
    old_cookie, old_csrf = person.http.cookies["cloudopshub"], person.session["csrf_token"]
    before = hub.internal("revocations")["seq"]
    person.adopt(person.post("/api/v1/session/organisation", {"organisation_id": other["id"]}))
    assert person.session["organisation"] == other
    assert person.session["role"] == "owner"
    assert person.session["csrf_token"] != old_csrf
    stale = httpx.get(
        f"{hub.base_url}/api/v1/session", cookies={"cloudopshub": old_cookie}, timeout=600
    )
    assert stale.status_code == 401
    kinds = [r["kind"] for r in hub.internal("revocations", after=before)["revocations"]]
    assert kinds == ["session"]


def test_logging_out_ends_the_session_and_its_tokens(hub, person):
    """Afterwards neither the cookie nor a token made from it opens anything."""
    token = person.post("/api/v1/token", {"audience": "ubs"}).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (
        httpx.get(f"{hub.base_url}/api/v1/members", headers=headers, timeout=600).status_code == 200
    )
    cookie = person.http.cookies["cloudopshub"]
    assert person.post("/api/v1/logout").status_code == 204
    assert (
        httpx.get(f"{hub.base_url}/api/v1/members", headers=headers, timeout=600).status_code == 401
    )
    stale = httpx.get(
        f"{hub.base_url}/api/v1/session", cookies={"cloudopshub": cookie}, timeout=600
    )
    assert stale.status_code == 401


def test_wrong_address_and_wrong_password_get_one_answer(hub, person):
    """Status, body and header names tell nobody whether an account exists."""
    email = person.session["user"]["email"]
    wrong = "not the right phrase"
    known = hub.browser().post("/api/v1/login", {"email": email, "password": wrong})
    unknown = hub.browser().post("/api/v1/login", {"email": "x@example.org", "password": wrong})
    assert known.status_code == unknown.status_code == 401
    assert known.text == unknown.text
    assert set(known.headers) == set(unknown.headers)


def test_an_unknown_account_costs_the_same_work(hub, monkeypatch):
    """The dummy hash is verified when there is no account: one hash either way."""
    verified = []
    real = Passwords.verify

    def counting(self, stored, password):
        verified.append(stored is None)
        return real(self, stored, password)

    monkeypatch.setattr(Passwords, "verify", counting)
    for email in ("nobody-at-all@example.org", "founder@example.org"):
        hub.browser().post("/api/v1/login", {"email": email, "password": "wrong wrong wrong"})
    assert verified == [True, False]


def attempt(hub, email, password="wrong wrong wrong", *, address="127.0.0.1", browser=None):
    """A log-in by somebody whom the proxy in front saw at `address`."""
    body = {"email": email, "password": password}
    headers = {"X-Forwarded-For": address}
    return (browser or hub.browser()).http.post("/api/v1/login", json=body, headers=headers)


@pytest.mark.parametrize("exists", [True, False], ids=["an account", "no account"])
def test_an_account_closes_after_five_failures(hub, person, exists):
    """The seventh attempt from one address waits, with the right password too, whether or not
    there is an account; after the wait the right password opens it and the count starts again.
    """
    email = person.session["user"]["email"] if exists else "ghost@example.org"
    statuses = [attempt(hub, email).status_code for _ in range(7)]
    assert statuses == [401] * 6 + [429]
    refused = attempt(hub, email, PASSWORD)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    hub.clock.advance(seconds=2)
    if exists:
        assert attempt(hub, email, PASSWORD).status_code == 200
        assert attempt(hub, email).status_code == 401
    hub.clock.advance(minutes=20)


def test_parallel_guesses_do_not_pass_a_closed_door(hub, person):
    """Twenty guesses at one moment count as twenty: at most six are looked at."""
    email = person.session["user"]["email"]
    start = threading.Barrier(20)
    statuses = []

    def guess():
        start.wait()
        statuses.append(attempt(hub, email).status_code)

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {401, 429}
    assert statuses.count(401) <= 6
    hub.clock.advance(hours=1)


def test_an_address_closes_after_many_accounts(hub):
    """One password tried at many accounts closes the address; others are not affected."""
    forwarded = {"X-Forwarded-For": "203.0.113.77"}

    def from_there(n):
        body = {"email": f"victim{n}@example.org", "password": "wrong wrong wrong"}
        return httpx.post(
            f"{hub.base_url}/api/v1/login", json=body, headers=forwarded, timeout=600
        ).status_code

    statuses = [from_there(n) for n in range(32)]
    assert statuses[:31] == [401] * 31
    assert statuses[31] == 429
    assert attempt(hub, "victim1@example.org").status_code == 401
    hub.clock.advance(hours=1)


def test_an_address_of_a_trusted_network_cannot_choose_another(hub):
    """What a client writes before its proxy is not its address, even when the client's own is one
    of those that proxies have.
    """
    statuses = [
        attempt(hub, f"v{n}@example.org", address=f"127.0.1.{n}, 127.0.0.99").status_code
        for n in range(32)
    ]
    assert statuses == [401] * 31 + [429]
    hub.clock.advance(hours=1)


def test_others_failures_do_not_lock_a_person_out(hub, person):
    """Guesses from one address close the account to that address alone. Guesses from everywhere
    close it to strangers, but not to a browser that logged in before.
    """
    email = person.session["user"]["email"]
    statuses = [attempt(hub, email, address="198.51.100.1").status_code for _ in range(7)]
    assert statuses == [401] * 6 + [429]
    assert attempt(hub, email, PASSWORD, address="198.51.100.2").status_code == 200
    statuses = [attempt(hub, email, address=f"203.0.113.{n}").status_code for n in range(32)]
    assert statuses == [401] * 31 + [429]
    assert attempt(hub, email, PASSWORD, address="198.51.100.3").status_code == 429
    for address in ("198.51.100.3", "203.0.113.1"):
        known = attempt(hub, email, PASSWORD, address=address, browser=person)
        assert known.status_code == 200
    hub.clock.advance(hours=1)


def test_a_flood_of_strangers_does_not_close_a_known_browser(hub, person):
    """When all log-ins together, or the person's own address, are closed, the browser that logged
    in before is served, and a stranger is not.
    """
    email = person.session["user"]["email"]
    for n in range(31):
        attempt(hub, f"w{n}@example.org", address="198.51.100.77")
    closed = Throttled(5_000, hub.clock.now(), hub.clock.now() + timedelta(seconds=30))
    with hub.services.database.directory() as session:
        throttle_sql.lock_throttle(session, ["global"], hub.clock.now())
        throttle_sql.save_throttle(session, "global", closed)
    for browser, status in ((person, 200), (None, 429)):
        answer = attempt(hub, email, PASSWORD, address="198.51.100.77", browser=browser)
        assert answer.status_code == status
    hub.clock.advance(hours=1)


def test_a_known_browser_guesses_no_more_than_others(hub, person):
    """Its own failures close it after five, as they do a stranger; the cookie that makes it known
    is out of reach of scripts and proves nothing for another account.
    """
    email = person.session["user"]["email"]
    answer = attempt(hub, email, PASSWORD)
    (cookie,) = (c for c in answer.headers.get_list("set-cookie") if "-device=" in c)
    assert {"httponly", "path=/", "samesite=lax"} <= set(cookie.lower().split("; "))
    statuses = [attempt(hub, email, browser=person).status_code for _ in range(7)]
    assert statuses == [401] * 6 + [429]
    assert attempt(hub, email, PASSWORD).status_code == 200
    other = f"other-{email}"
    statuses = [attempt(hub, other, browser=person).status_code for _ in range(7)]
    assert statuses == [401] * 6 + [429]
    assert attempt(hub, other).status_code == 429
    hub.clock.advance(hours=1)


def test_a_session_ends_idle_and_absolutely(hub, person):
    """A day without use ends a session; thirty days end one that is used every day."""
    idle = hub.log_in(person.session["user"]["email"])
    for _ in range(29):
        hub.clock.advance(hours=23, minutes=59)
        assert person.get("/api/v1/session").status_code == 200
    assert idle.get("/api/v1/session").status_code == 401
    hub.clock.advance(days=1)
    assert person.get("/api/v1/session").status_code == 401


def test_keys_and_roles_need_a_fresh_login(hub):
    """An hour after the log-in, making a key is refused with a reason; revoking one is not."""
    browser = hub.log_in("founder@example.org")
    key = browser.new_key("metrics:read")
    hub.clock.advance(hours=1, seconds=1)
    refused = browser.post("/api/v1/keys", {"name": "late", "scopes": ["metrics:read"]})
    assert refused.status_code == 403
    assert "log in again" in refused.json()["error"]
    assert browser.delete(f"/api/v1/keys/{key['id']}").status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"email": 1, "password": 2}',
        b'{"email": "a@b", "password": "\\ud800 lone surrogate here"}',
        b'{"email": "a\\u0000@b", "password": "x"}',
        b'{"email": "a@b", "password": "x", "admin": true}',
        b"\xff\xfe\x00",
    ],
)
def test_garbage_is_refused_and_explained(hub, body):
    """Whatever is sent as a body: 400 with a reason, never 500."""
    answer = httpx.post(
        f"{hub.base_url}/api/v1/login",
        content=body,
        headers={"Content-Type": "application/json"},
        timeout=600,
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]


def test_a_large_body_is_refused_unread(hub):
    """More than 64 KiB is 413, whether the length is declared or not."""
    url = f"{hub.base_url}/api/v1/login"
    declared = httpx.post(url, content=b"x" * 70_000, timeout=600)
    assert declared.status_code == 413
    chunked = httpx.post(url, content=(b"x" * 10_000 for _ in range(10)), timeout=600)
    assert chunked.status_code == 413
