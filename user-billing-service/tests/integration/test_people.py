"""What people do with their accounts: passwords, addresses, sessions; nothing tells who exists."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import PASSWORD, UI, founded_hub, running_hub, wait_until
from embedded_postgres import execute
from letters import letters_to, link

NEW = "quite another phrase of words"
LINK = ("password/reset", "email/verify", "email/confirm")


@pytest.fixture(scope="module")
def outbox(tmp_path_factory):
    return tmp_path_factory.mktemp("outbox")


@pytest.fixture(scope="module")
def hub(server_url, outbox):
    with founded_hub(server_url, mail=f"file:{outbox}") as running:
        yield running


@pytest.fixture
def owner(hub):
    hub.founder.adopt(hub.founder.post("/api/v1/login", login(address(hub.founder))))
    return hub.owner("People")


@pytest.fixture
def person(hub, owner):
    return hub.member(owner, "admin")


def login(email, password=PASSWORD):
    return {"email": email, "password": password}


def address(browser):
    return browser.session["user"]["email"]


def letter(hub, outbox, to, page, number=1):
    """The token of the number-th letter to that page, once it was sent."""

    def tokens():
        hub.services.people.mail.work()
        links = [link(one) for one in letters_to(outbox, to) if "/#/" in one.get_content()]
        return [token for where, token in links if where == page]

    wait_until(lambda: len(tokens()) >= number)
    return tokens()[number - 1]


def anybody(hub, path, body):
    return hub.browser().post(f"/api/v1/{path}", body)


def test_a_log_in_that_began_before_a_new_password_gives_no_session(hub, person, monkeypatch):
    """Whoever has the old password and logs in all the time has nothing once it is replaced."""
    passwords = hub.services.sessions.proofs.passwords
    verify, body = passwords.verify, {"old": PASSWORD, "new": NEW}

    def replaced_meanwhile(stored, text):
        monkeypatch.setattr(passwords, "verify", verify)
        is_right = verify(stored, text)
        person.adopt(person.post("/api/v1/me/password", body))
        return is_right

    monkeypatch.setattr(passwords, "verify", replaced_meanwhile)
    thief = hub.browser()
    answer = thief.post("/api/v1/login", login(address(person)))
    assert person.get("/api/v1/sessions").json()["sessions"][0]["current"]
    assert len(person.get("/api/v1/sessions").json()["sessions"]) == 1
    assert answer.status_code == 401


def test_a_forgotten_password_is_replaced_once(hub, outbox, person):
    """The link works once, ends every session, and the new password is the only one."""
    other, email = hub.log_in(address(person)), address(person)
    assert anybody(hub, "password/forgotten", {"email": email}).status_code == 202
    token = letter(hub, outbox, email, "reset")
    weak = anybody(hub, "password/reset", {"token": token, "password": "short"})
    assert weak.status_code == 400
    body = {"token": token, "password": NEW}
    assert anybody(hub, "password/reset", body).status_code == 204
    assert anybody(hub, "password/reset", body).status_code == 404
    for browser in (person, other):
        assert browser.get("/api/v1/session").status_code == 401
    assert anybody(hub, "login", login(email)).status_code == 401
    hub.log_in(email, NEW)
    hub.services.people.mail.work()
    wait_until(lambda: "was changed" in letters_to(outbox, email)[-1]["Subject"])


def test_links_expire(hub, outbox, person):
    """After 30 minutes a link opens nothing."""
    email = address(person)
    anybody(hub, "password/forgotten", {"email": email})
    token = letter(hub, outbox, email, "reset")
    hub.clock.advance(minutes=30, seconds=1)
    body = {"token": token, "password": NEW}
    assert anybody(hub, "password/reset", body).status_code == 404
    hub.log_in(email)


def test_of_many_who_use_a_link_at_once_one_has_it(hub, outbox, person):
    """Single use holds for requests that overlap."""
    email = address(person)
    anybody(hub, "password/forgotten", {"email": email})
    token = letter(hub, outbox, email, "reset")

    def use(number):
        body = {"token": token, "password": f"{NEW} {number}"}
        return anybody(hub, "password/reset", body).status_code

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(use, range(4)))
    assert sorted(codes) == [204, 404, 404, 404]
    hub.log_in(email, f"{NEW} {codes.index(204)}")


def test_a_link_opens_only_its_own_end(hub, outbox, person):
    """A link that proves an address sets no password, and the other way round."""
    email = address(person)
    assert person.post("/api/v1/me/email/verification").status_code == 202
    token = letter(hub, outbox, email, "verify")
    body = {"token": token, "password": NEW}
    assert anybody(hub, "password/reset", body).status_code == 404
    assert anybody(hub, "email/confirm", {"token": token}).status_code == 404
    account = person.get("/api/v1/me/export").json()["account"]
    assert account["email_verified_at"] is None
    assert anybody(hub, "email/verify", {"token": token}).status_code == 204
    assert person.get("/api/v1/me/export").json()["account"]["email_verified_at"]
    assert anybody(hub, "email/verify", {"token": token}).status_code == 404


def test_nobody_learns_who_has_an_account(hub, outbox, person):
    """Same status, headers and body for an address with an account and one without; the same rows
    are written, so time tells nothing either.
    """
    url = hub.services.settings.database_url.get_secret_value()
    count = (
        "SELECT (SELECT count(*) FROM billing.mail) || ' ' ||"
        " (SELECT count(*) FROM billing.mailed_token)"
    )
    answers, written = [], []
    for email in (address(person), "nobody-at-all@example.org"):
        before = [int(n) for n in execute(url, count).split()]
        answer = anybody(hub, "password/forgotten", {"email": email})
        after = [int(n) for n in execute(url, count).split()]
        headers = {k: v for k, v in answer.headers.items() if k not in {"date", "x-request-id"}}
        answers.append((answer.status_code, answer.text, headers))
        written.append([b - a for a, b in zip(before, after, strict=True)])
    assert answers[0] == answers[1]
    assert written == [[1, 1], [1, 1]]
    letter(hub, outbox, address(person), "reset")
    assert letters_to(outbox, "nobody-at-all@example.org") == []


def test_a_new_address_is_a_letter_away_and_a_taken_one_looks_the_same(hub, outbox, owner, person):
    """The answer to a taken address is that to a free one, and nobody gets a letter."""
    body = {"email": address(owner), "password": PASSWORD}
    taken = person.post("/api/v1/me/email", body)
    free = person.post("/api/v1/me/email", {**body, "email": f"new-{address(person)}"})
    assert (taken.status_code, taken.text) == (free.status_code, free.text) == (202, "")
    letter(hub, outbox, f"new-{address(person)}", "address")
    pages = [link(one)[0] for one in letters_to(outbox, address(owner))]
    assert "address" not in pages


def test_a_change_of_address_is_told_to_the_old_one_and_undone_from_there(hub, outbox, person):
    """Confirmed at the new address; taken back from the old: the thief's sessions, password and
    links are void, and only the old address gets the way to a new password.
    """
    old, new = address(person), f"thief-{address(person)}"
    wrong = person.post("/api/v1/me/email", {"email": new, "password": NEW})
    assert wrong.status_code == 401
    assert person.post("/api/v1/me/email", {"email": new, "password": PASSWORD}).status_code == 202
    assert person.get("/api/v1/session").json()["user"]["email"] == old, "not before it is proved"
    confirm = {"token": letter(hub, outbox, new, "address")}
    assert anybody(hub, "email/confirm", confirm).status_code == 204
    thief = hub.log_in(new)
    assert anybody(hub, "login", login(old)).status_code == 401
    anybody(hub, "password/forgotten", {"email": new})
    stolen = letter(hub, outbox, new, "reset")
    undo = {"token": letter(hub, outbox, old, "address")}
    hub.clock.advance(days=6)
    assert anybody(hub, "email/confirm", undo).status_code == 204
    assert anybody(hub, "email/confirm", undo).status_code == 404
    assert thief.get("/api/v1/session").status_code == 401
    assert anybody(hub, "login", login(old)).status_code == 401, "the password is void"
    for token in (stolen, letter(hub, outbox, old, "reset")):
        answer = anybody(hub, "password/reset", {"token": token, "password": NEW})
        assert answer.status_code == (404 if token == stolen else 204)
    hub.log_in(old, NEW)


def test_a_link_to_change_the_address_needs_a_fresh_log_in(hub, person):
    """An hour after the log-in the password alone is not enough; a new proof is."""
    body = {"email": f"later-{address(person)}", "password": PASSWORD}
    hub.clock.advance(hours=1, seconds=1)
    assert person.post("/api/v1/me/email", body).status_code == 403
    assert person.post("/api/v1/session/fresh", {"password": NEW}).status_code == 401
    assert person.post("/api/v1/me/email", body).status_code == 403
    assert person.post("/api/v1/session/fresh", {"password": PASSWORD}).status_code == 204
    assert person.post("/api/v1/me/email", body).status_code == 202


def test_a_changed_password_ends_other_sessions_and_renews_this_one(hub, person):
    """Needs the old password; this browser goes on under another cookie, all others are out."""
    other, before = hub.log_in(address(person)), person.http.cookies["cloudopshub"]
    wrong = person.post("/api/v1/me/password", {"old": NEW, "new": NEW})
    assert wrong.status_code == 401
    weak = person.post("/api/v1/me/password", {"old": PASSWORD, "new": "short"})
    assert weak.status_code == 400
    person.adopt(person.post("/api/v1/me/password", {"old": PASSWORD, "new": NEW}))
    assert person.http.cookies["cloudopshub"] != before
    assert person.get("/api/v1/session").status_code == 200
    assert other.get("/api/v1/session").status_code == 401
    stolen = hub.browser()
    stolen.http.cookies.set("cloudopshub", before)
    assert stolen.get("/api/v1/session").status_code == 401
    hub.log_in(address(person), NEW)


def test_sessions_are_listed_and_ended(hub, owner, person):
    """One's own only, with a coarse place; one ends, or all but this one, and nobody else's."""
    second, third = hub.log_in(address(person)), hub.log_in(address(person))
    listed = person.get("/api/v1/sessions").json()["sessions"]
    assert len(listed) == 3
    assert [one["current"] for one in listed].count(True) == 1
    assert {one["network"] for one in listed} == {"127.0.0.0/24"}
    assert {one["browser"] for one in listed} == {"Python"}
    [theirs] = owner.get("/api/v1/sessions").json()["sessions"]
    assert person.delete(f"/api/v1/sessions/{theirs['id']}").status_code == 404
    newest = f"/api/v1/sessions/{listed[0]['id']}"
    assert person.delete(newest).status_code == 204
    assert person.delete(newest).status_code == 404
    assert third.get("/api/v1/session").status_code == 401
    assert second.get("/api/v1/session").status_code == 200
    assert person.post("/api/v1/sessions/end-others").status_code == 204
    assert second.get("/api/v1/session").status_code == 401
    assert person.get("/api/v1/session").status_code == 200
    assert owner.get("/api/v1/session").status_code == 200


def test_an_invitation_comes_by_letter_too(hub, outbox, owner):
    """The link in the letter is that of the answer, under the address of the page."""
    body = {"email": "letter@example.org", "role": "viewer"}
    made = owner.post("/api/v1/invitations", body).json()
    assert letter(hub, outbox, "letter@example.org", "invitation") in made["link"]
    [sent] = letters_to(outbox, "letter@example.org")
    assert f"{UI}{made['link']}" in sent.get_content()
    assert "People" in sent["Subject"]


@pytest.mark.parametrize("path", ["password/forgotten", *LINK])
def test_public_routes_take_no_other_sites_requests(hub, path):
    """A page of another site cannot make a browser use them."""
    answer = hub.browser().http.post(f"/api/v1/{path}", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


def test_guessing_links_is_slowed_down(hub, server_url):
    """After some wrong tokens the network waits, even with the right one; so do requests for
    letters, which do not close the way to log in.
    """
    email = "asked@example.org"
    answers = [anybody(hub, "password/forgotten", {"email": email}).status_code for _ in range(8)]
    assert answers[0] == 202
    assert answers[-1] == 429
    assert anybody(hub, "login", login(email)).status_code == 401
    codes = [anybody(hub, "email/verify", {"token": f"x{n}"}).status_code for n in range(40)]
    assert codes[0] == 404
    assert codes[-1] == 429
    hub.clock.advance(days=1)


def test_without_mail_the_hub_says_so_and_all_else_works(fresh_url):
    """No way to send: 409 for whoever asks for a letter; invitations show their link as before."""
    with running_hub(fresh_url, setup_token="setup-token-without-mail") as plain:
        owner = plain.browser()
        body = {
            "token": "setup-token-without-mail", "email": "o@example.org",
            "password": PASSWORD, "organisation": "Plain",
        }  # fmt: skip
        owner.adopt(owner.post("/api/v1/setup", body))
        for email in ("o@example.org", "nobody@example.org"):
            assert anybody(plain, "password/forgotten", {"email": email}).status_code == 409
        plain.join(owner, "v@example.org", "viewer")
        assert execute(fresh_url, "SELECT count(*)::text FROM billing.mail") == "0"
