"""Second factors: codes once, recovery codes once, no session without them, required by owners."""

import threading
from itertools import count

import httpx
import pyotp
import pytest
from conftest import PASSWORD, UI

from user_billing import operate
from user_billing.factors import rules

ADDRESSES = count(1)


def code_of(hub, secret):
    """The authenticator's code of a step that was never used: the clock moves on first."""
    hub.clock.advance(seconds=60)
    return at_step(hub, secret, 0)


def at_step(hub, secret, offset):
    totp = pyotp.TOTP(secret)
    return totp.generate_otp(totp.timecode(hub.clock.now()) + offset)


def from_elsewhere():
    """Headers of an address of its own, so that tests do not close each other's doors."""
    return {"Origin": UI, "X-Forwarded-For": f"198.51.100.{next(ADDRESSES)}"}


def enable(hub, browser):
    """(secret, recovery codes) of the browser's person, who has a second factor from here on."""
    begun = browser.post("/api/v1/second-factor").json()
    code = code_of(hub, begun["secret"])
    confirmed = browser.post("/api/v1/second-factor/confirm", {"code": code})
    assert confirmed.status_code == 200, confirmed.text
    return begun["secret"], confirmed.json()["recovery_codes"]


def password_step(hub, email, **more):
    answer = httpx.post(
        f"{hub.base_url}/api/v1/login", json={"email": email, "password": PASSWORD},
        headers=from_elsewhere(), **more, timeout=600
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    assert "set-cookie" not in answer.headers
    return answer.json()["challenge"]


def code_step(hub, challenge, code, headers=None):
    return httpx.post(
        f"{hub.base_url}/api/v1/login/code", json={"challenge": challenge, "code": code},
        headers=headers or from_elsewhere(), timeout=600
    )  # fmt: skip


@pytest.fixture
def person(hub):
    owner = hub.owner("Careful")
    owner.email = owner.session["user"]["email"]
    owner.secret, owner.recovery_codes = enable(hub, owner)
    return owner


def test_nothing_counts_before_it_is_confirmed(hub):
    """A secret that nobody confirmed changes no log-in; a wrong code confirms nothing."""
    owner = hub.owner()
    begun = owner.post("/api/v1/second-factor").json()
    assert begun["otpauth"].startswith("otpauth://totp/CloudOpsHub:")
    assert begun["secret"] in begun["otpauth"]
    assert begun["qr_svg"].startswith("<svg")
    wrong = owner.post("/api/v1/second-factor/confirm", {"code": "000000"})
    assert wrong.status_code == 401
    assert hub.log_in(owner.session["user"]["email"])
    assert owner.get("/api/v1/second-factor").json()["confirmed_at"] is None


def test_a_password_alone_gives_no_session(hub, person):
    """After the password there is a challenge and no cookie; the challenge is no credential."""
    challenge = password_step(hub, person.email)
    for headers in (
        {"Authorization": f"Bearer {challenge}"},
        {"Cookie": f"cloudopshub={challenge}"},
    ):
        assert (
            httpx.get(f"{hub.base_url}/api/v1/session", headers=headers, timeout=600).status_code
            == 401
        )
    done = code_step(hub, challenge, code_of(hub, person.secret))
    assert done.status_code == 200
    assert done.json()["user"]["email"] == person.email
    assert "cloudopshub=" in done.headers["set-cookie"]


def test_a_code_works_once(hub, person):
    """Neither the same code nor one of an earlier step is taken after a code was; sent at the same
    moment by many, one gets in.
    """
    code = code_of(hub, person.secret)
    earlier = at_step(hub, person.secret, -1)
    challenges = [password_step(hub, person.email) for _ in range(4)]
    answers = []
    threads = [
        threading.Thread(target=lambda c=c: answers.append(code_step(hub, c, code).status_code))
        for c in challenges
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 401, 401, 401]
    assert code_step(hub, password_step(hub, person.email), earlier).status_code == 401


def test_a_challenge_is_short_lived_and_works_once(hub, person):
    """Spent by its log-in, dead after five minutes; both look like a wrong code."""
    challenge = password_step(hub, person.email)
    wrong = code_step(hub, challenge, "000000")
    assert code_step(hub, challenge, code_of(hub, person.secret)).status_code == 200
    spent = code_step(hub, challenge, code_of(hub, person.secret))
    late = password_step(hub, person.email)
    hub.clock.advance(minutes=5)
    expired = code_step(hub, late, code_of(hub, person.secret))
    unknown = code_step(hub, "x" * 43, "000000")
    assert {a.status_code for a in (wrong, spent, expired, unknown)} == {401}
    assert len({a.json()["error"] for a in (wrong, spent, expired, unknown)}) == 1


def test_a_recovery_code_works_once(hub, person):
    """Written as people write it; a second use is refused; new codes void the old ones."""
    first, second, third = person.recovery_codes[:3]
    assert len(set(person.recovery_codes)) == rules.RECOVERY_CODES
    assert code_step(hub, password_step(hub, person.email), first.upper()).status_code == 200
    assert code_step(hub, password_step(hub, person.email), first).status_code == 401
    state = person.get("/api/v1/second-factor").json()
    assert state["recovery_codes_left"] == rules.RECOVERY_CODES - 1
    renewed = person.post("/api/v1/second-factor/recovery-codes", {"code": second})
    assert renewed.status_code == 200
    assert code_step(hub, password_step(hub, person.email), third).status_code == 401
    fresh = renewed.json()["recovery_codes"][0]
    assert code_step(hub, password_step(hub, person.email), fresh).status_code == 200


def test_guessing_codes_is_slowed_down(hub, person):
    """After five wrong codes from an address its door closes, also for the right code, and a new
    password step does not open it; another address still gets in.
    """
    here = from_elsewhere()
    for _ in range(6):
        code_step(hub, password_step(hub, person.email), "000000", here)
    body = {"email": person.email, "password": PASSWORD}
    again = httpx.post(f"{hub.base_url}/api/v1/login", json=body, headers=here, timeout=600).json()[
        "challenge"
    ]
    code = at_step(hub, person.secret, 1)
    closed = code_step(hub, again, code, here)
    assert closed.status_code == 429
    assert int(closed.headers["Retry-After"]) >= 1
    assert code_step(hub, again, code).status_code == 200


def test_disabling_needs_a_fresh_log_in_and_a_code(hub, person):
    """Without either nothing changes; afterwards a password is enough."""
    wrong = person.post("/api/v1/second-factor/disable", {"code": "000000"})
    assert wrong.status_code == 401
    hub.clock.advance(hours=2)
    stale = person.post("/api/v1/second-factor/disable", {"code": code_of(hub, person.secret)})
    assert stale.status_code == 403
    fresh = hub.browser()
    code = code_of(hub, person.secret)
    challenge = password_step(hub, person.email)
    fresh.adopt(fresh.post("/api/v1/login/code", {"challenge": challenge, "code": code}))
    waiting = password_step(hub, person.email)
    code = code_of(hub, person.secret)
    assert fresh.post("/api/v1/second-factor/disable", {"code": code}).status_code == 204
    assert code_step(hub, waiting, code_of(hub, person.secret)).status_code == 401
    assert hub.log_in(person.email).session["user"]["email"] == person.email


def test_a_password_alone_proves_nobody_who_has_a_second_factor(hub, person):
    """A fresh session, another password and erasure need a code too, each its own; guesses at it
    close a door that the password does not open again.
    """
    for path, body in (
        ("session/fresh", {"password": PASSWORD}),
        ("me/password", {"old": PASSWORD, "new": f"{PASSWORD} and more"}),
        ("me/erase", {"password": PASSWORD}),
    ):
        assert person.post(f"/api/v1/{path}", body).status_code == 401, path
        assert person.post(f"/api/v1/{path}", body | {"code": "000000"}).status_code == 401, path
    proof = {"password": PASSWORD, "code": person.recovery_codes[0]}
    assert person.post("/api/v1/session/fresh", proof).status_code == 429
    hub.clock.advance(minutes=1)
    assert person.post("/api/v1/session/fresh", proof).status_code == 204
    assert person.post("/api/v1/session/fresh", proof).status_code == 401


def test_an_invitation_is_no_way_around(hub, person):
    """Who has a second factor joins by password and gets in by code."""
    other = hub.owner("Other")
    invited = other.post("/api/v1/invitations", {"email": person.email, "role": "viewer"}).json()
    token = invited["link"].rpartition("/")[2]
    answer = httpx.post(
        f"{hub.base_url}/api/v1/invitations/accept",
        json={"token": token, "password": PASSWORD}, headers=from_elsewhere(), timeout=600
    )  # fmt: skip
    assert answer.status_code == 202
    done = code_step(hub, answer.json()["challenge"], code_of(hub, person.secret))
    assert done.json()["organisation"]["id"] == other.org


def test_an_organisation_may_require_it(hub, person):
    """Sessions of members without one end; they log in again and may only set one up. Only an
    owner who has one requires it.
    """
    admin, viewer = hub.member(person, "admin"), hub.member(person, "viewer")
    require = "/api/v1/organisation/second-factor"
    put = {"json": {"required": True}}
    assert admin.http.put(require, headers=admin.headers(), **put).status_code == 403
    bare = hub.owner()
    assert bare.http.put(require, headers=bare.headers(), **put).status_code == 409
    assert person.http.put(require, headers=person.headers(), **put).status_code == 204
    assert viewer.get("/api/v1/session").status_code == 401
    assert person.get("/api/v1/session").json()["must_enrol"] is False
    again = hub.log_in(viewer.session["user"]["email"])
    assert again.session["must_enrol"] is True
    for answer in (
        again.get("/api/v1/usage"),
        again.post("/api/v1/token", {"audience": "das"}),
        again.post("/api/v1/organisations", {"name": "Escape"}),
    ):
        assert answer.status_code == 403
        assert "second factor" in answer.json()["error"]
    enable(hub, again)
    assert again.post("/api/v1/token", {"audience": "das"}).status_code == 200
    seqs = hub.internal("revocations")["revocations"]
    assert sum(r["kind"] == "session" for r in seqs) >= 2


def test_the_operator_helps_who_lost_everything(hub, person, capsys):
    """After `reset-second-factor` a password is enough; the log says so."""
    settings = hub.services.settings
    assert "without a code" in operate.run(settings, "reset-second-factor", email=person.email)
    back = hub.log_in(person.email)
    actions = [e["action"] for e in back.get("/api/v1/audit").json()["events"]]
    assert "second_factor.reset" in actions


def test_the_secrets_are_not_in_the_database(hub, person):
    """Neither the authenticator's secret nor a recovery code can be read there."""
    with hub.services.database.engine.connect() as connection:
        text = ""
        for table in ("second_factor", "recovery_code", "challenge", "audit_event"):
            rows = connection.exec_driver_sql(f"SELECT row_to_json(t)::text FROM billing.{table} t")
            text += "\n".join(row[0] for row in rows)
    for secret in (person.secret, *person.recovery_codes):
        assert secret not in text
        assert secret.encode().hex() not in text
