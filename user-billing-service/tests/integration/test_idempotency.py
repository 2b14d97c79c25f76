"""A request with a key of its own happens once, however often and however many at once send it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import text

from user_billing.idempotency import service

BODY = {"url": "https://example.org/hook"}


@pytest.fixture
def owner(hub):
    hub.founder = hub.log_in("founder@example.org")
    return hub.owner("Once")


def create(browser, key, body=BODY, **headers):
    headers = {"Idempotency-Key": key} | (headers or browser.headers())
    return browser.http.post("/api/v1/webhooks", json=body, headers=headers)


def count(owner):
    return len(owner.get("/api/v1/webhooks").json()["webhooks"])


def test_the_same_request_is_answered_the_same(hub, owner):
    """One endpoint is made; its secret is in both answers, and nowhere readable in between."""
    first, second = create(owner, "a"), create(owner, "a")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.headers["Cache-Control"] == "no-store"
    assert count(owner) == 1
    with hub.services.database.organisation(owner.org) as session:
        row = session.execute(text("SELECT * FROM billing.idempotency")).one()
    assert first.json()["secret"].encode() not in bytes(row.body_sealed)


def test_another_request_with_the_key_is_refused(hub, owner):
    """Another body, another caller: 409, and nothing is made. Another organisation has its own."""
    create(owner, "a")
    other = create(owner, "a", {"url": "https://example.org/other"})
    assert (other.status_code, "another request" in other.text) == (409, True)
    key = owner.new_key("admin")["key"]
    assert create(owner, "a", **{"X-API-Key": key}).status_code == 409
    assert count(owner) == 1
    assert create(hub.owner("Other"), "a").status_code == 201


def test_what_was_refused_may_be_sent_again(owner):
    """Nothing was done under the key, so it is free for the right request."""
    assert create(owner, "a", {"url": "ftp://x"}).status_code == 400
    assert create(owner, "a", {"address": "x"}).status_code == 400
    assert create(owner, "a").status_code == 201


def test_at_once_it_is_done_once(owner):
    """Of eight that start together one is done; the others get its answer, or 409 while it runs."""
    start = Barrier(8)

    def send(_):
        start.wait()
        return create(owner, "race")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.text for answer in answers if answer.status_code == 201}) == 1
    assert all("in work" in answer.text for answer in answers if answer.status_code == 409)
    assert count(owner) == 1
    assert create(owner, "race").status_code == 201


def test_a_request_that_died_frees_its_key_after_a_minute(hub, owner):
    """Until then it may still be in work: 409."""
    digest = hashlib.sha256()
    user = f"user:{owner.user_id}"
    for part in (user, "POST", "/api/v1/webhooks", ""):
        digest.update(part.encode() + b"\0")
    request = owner.http.build_request("POST", "/", json=BODY)
    digest.update(request.content)
    assert hub.services.answers.claim(owner.org, "dead", digest.digest()) is None
    assert create(owner, "dead").status_code == 409
    hub.clock.advance(seconds=61)
    assert create(owner, "dead").status_code == 201


def test_keys_have_a_bound_and_an_end(hub, owner, monkeypatch):
    """One too many is 429 until older ones are swept, a day later."""
    monkeypatch.setattr(service, "KEYS_MAX", 2)
    assert [create(owner, key).status_code for key in "abc"] == [201, 201, 429]
    assert create(owner, "a").headers["Idempotency-Replayed"] == "true"
    hub.clock.advance(hours=25)
    hub.services.answers.sweep()
    owner = hub.log_in(owner.session["user"]["email"])
    assert create(owner, "c").status_code == 201
    assert "Idempotency-Replayed" not in create(owner, "a").headers


def test_an_answer_too_large_to_keep_is_not_done_again(owner, monkeypatch):
    """It says so, and nothing is made twice."""
    monkeypatch.setattr(service, "ANSWER_BYTES_MAX", 10)
    assert create(owner, "a").status_code == 201
    again = create(owner, "a")
    assert (again.status_code, "too large" in again.text) == (409, True)
    assert count(owner) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
def test_what_is_no_key(owner, key):
    """Empty, with a blank, too long."""
    assert create(owner, key).status_code == 400
