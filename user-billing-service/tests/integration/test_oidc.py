"""Log-in with a provider: what is believed, what is refused, and that no account changes hands."""

from itertools import count
from urllib.parse import parse_qs, urlsplit

import httpx
import pyotp
import pytest
from conftest import PASSWORD, SETUP_TOKEN, UI, running_hub, serving
from embedded_postgres import fresh_database
from joserfc.jwk import RSAKey
from stand_in_provider import CLIENT_ID, CLIENT_SECRET, StandIn

from user_billing import migrate
from user_billing.oidc.rules import REASONS
from user_billing.throttle.rules import PER_ADDRESS

NUMBERS = count(1)


@pytest.fixture(scope="module")
def provider():
    stand_in = StandIn()
    with serving(stand_in.app) as url:
        stand_in.issuer = url
        yield stand_in


@pytest.fixture(scope="module")
def hub(server_url, provider):
    """A hub with the same provider twice: `corp` maps groups, `login` is for who has an account."""
    basis = {"issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    corp = {
        **basis, "name": "corp", "title": "Corporate", "organisation": "founders",
        "domains": ["Corp.example"], "role": None,
        "roles": {"ops": "admin", "everyone": "viewer", "board": "owner"},
    }  # fmt: skip
    providers = [corp, {**basis, "name": "login"}]
    with fresh_database(server_url, "ubs_oidc") as url:
        migrate.upgrade(url)
        with running_hub(url, setup_token=SETUP_TOKEN, oidc=providers) as running:
            founder = running.browser()
            body = {"token": SETUP_TOKEN, "email": "founder@corp.example", "password": PASSWORD}
            founder.adopt(founder.post("/api/v1/setup", {**body, "organisation": "Founders"}))
            running.founder = founder
            yield running


@pytest.fixture(autouse=True)
def well_behaved(hub, provider):
    provider.reset()
    provider.clock = hub.clock


def somebody(provider, *groups, **more):
    """A person of the provider whom the hub has never seen."""
    number = next(NUMBERS)
    provider.person = {
        "sub": f"subject {number}", "email": f"person{number}@corp.example",
        "email_verified": True, "groups": list(groups), **more,
    }  # fmt: skip
    return provider.person


def travel(hub, browser, url):
    """The place of our page that the browser ends at; what it calls our page is this hub."""
    for _ in range(5):
        parts = urlsplit(url)
        if url.startswith(f"{UI}/#"):
            return parts.fragment
        if url.startswith(f"{UI}/api/ubs/"):
            url = f"{hub.base_url}{parts.path.removeprefix('/api/ubs')}?{parts.query}"
        answer = browser.http.get(url)
        assert answer.status_code == 302, answer.text
        url = answer.headers["location"]
    pytest.fail(f"no end in sight: {url}")


def log_in(hub, name="corp", browser=None):
    """(browser, where it ended)."""
    browser = browser or hub.browser()
    start = f"{hub.base_url}/api/v1/oidc/{name}/start"
    return browser, travel(hub, browser, start)


def error_of(place):
    reason = parse_qs(place.partition("?")[2]).get("oidc_error", [None])[0]
    assert reason is None or reason in REASONS
    return reason


def session(browser):
    return browser.adopt(browser.get("/api/v1/session")).session


def test_the_log_in_page_knows_the_providers(hub):
    """Names, titles and the words of failures; no secret, no issuer."""
    answer = httpx.get(f"{hub.base_url}/api/v1/oidc", timeout=600)
    assert answer.json()["providers"] == [
        {"name": "corp", "title": "Corporate"},
        {"name": "login", "title": "login"},
    ]
    assert CLIENT_SECRET not in answer.text


def test_a_new_person_of_an_allowed_domain_joins_in_the_role_of_their_groups(hub, provider):
    """They are logged in, and it is the same person the next time."""
    person = somebody(provider, "everyone", "ops")
    browser, place = log_in(hub)
    assert place == "/"
    first = session(browser)
    assert (first["user"]["email"], first["role"]) == (person["email"], "admin")
    browser, _ = log_in(hub)
    assert session(browser)["user"] == first["user"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"email": "person@elsewhere.example"}, "unknown"),
        ({"email": "person@notcorp.example"}, "unknown"),
        ({"email_verified": False}, "unverified"),
        ({"email_verified": None}, "unverified"),
        ({"email": None}, "unverified"),
        ({"groups": []}, "unknown"),
        ({"groups": ["strangers"]}, "unknown"),
    ],
    ids=str,
)
def test_who_may_not_join_is_told_so(hub, provider, change, reason):
    """Another domain, an unverified address, no mapped group: no account is made."""
    somebody(provider, "everyone")
    provider.wrong = change
    browser, place = log_in(hub)
    assert error_of(place) == reason
    assert browser.get("/api/v1/session").status_code == 401
    assert provider.person["email"] not in hub.founder.get("/api/v1/members").text


def test_a_provider_without_an_organisation_makes_nobody(hub, provider):
    """`login` is for people who have an account and have linked it."""
    somebody(provider, "ops")
    assert error_of(log_in(hub, "login")[1]) == "unknown"


OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": None},
        {"aud": [CLIENT_ID, "another"]},
        {"azp": "another"},
        {"iss": "https://another.example"},
        {"iss": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"exp": "never"},
        {"iat": 9_999_999_999},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
    ],
    ids=str,
)
def test_an_id_token_with_a_wrong_claim_is_refused(hub, provider, wrong):
    """Each claim that OpenID Connect Core asks to check, amiss one at a time."""
    somebody(provider, "ops")
    assert error_of(log_in(hub)[1]) is None
    provider.wrong = wrong
    browser, place = log_in(hub)
    assert error_of(place) == "token"
    assert browser.get("/api/v1/session").status_code == 401


@pytest.mark.parametrize("how", ["other key", "unknown key", "none", "HS256", "PS256"])
def test_an_id_token_with_a_wrong_signature_is_refused(hub, provider, how, monkeypatch):
    """Another key, an unknown one, no signature, the public key as a secret, an algorithm that the
    operator did not allow.
    """
    somebody(provider, "ops")
    match how:
        case "other key":
            provider.signing_key = OTHER_KEY
        case "unknown key":
            provider.header = {"alg": "RS256", "kid": "two"}
        case "HS256":
            provider.header = {"alg": "HS256", "kid": "one"}
        case algorithm:
            provider.header = {"alg": algorithm, "kid": "one"}
    if how == "PS256":
        provider.unsaid = {"alg"}
        monkeypatch.setattr(hub.services.oidc.client, "_keys", {})
        provider.signing_key = RSAKey.import_key(provider.key.as_pem(private=True))
    assert error_of(log_in(hub)[1]) == "token"


def test_a_callback_belongs_to_the_browser_that_began(hub, provider):
    """Another state, another browser's state, no cookie, a cookie of ten minutes ago: refused."""
    somebody(provider, "ops")
    path = "/api/v1/oidc/corp/callback"

    def begun():
        browser = hub.browser()
        url = browser.http.get("/api/v1/oidc/corp/start").headers["location"]
        back = browser.http.get(url).headers["location"]
        return browser, {k: v[0] for k, v in parse_qs(urlsplit(back).query).items()}

    def end(browser, query):
        answer = browser.http.get(path, params=query)
        return error_of(urlsplit(answer.headers["location"]).fragment)

    mine, my_query = begun()
    _, their_query = begun()
    assert end(mine, {**my_query, "state": "another"}) == "expired"
    mine, my_query = begun()
    assert end(mine, their_query) == "expired"
    assert end(hub.browser(), their_query) == "expired"
    late, late_query = begun()
    hub.clock.advance(minutes=10)
    assert end(late, late_query) == "expired"
    declined, query = begun()
    assert end(declined, {"state": query["state"], "error": "access_denied"}) == "cancelled"
    other, query = begun()
    moved = other.http.get(path.replace("corp", "login"), params=query)
    assert error_of(urlsplit(moved.headers["location"]).fragment) == "expired"


def test_made_up_codes_do_not_reach_the_provider_for_long(hub, provider):
    """An address that calls back again and again with codes of its own is refused before the
    provider is asked; others log in.
    """
    browser, here = hub.browser(), {"X-Forwarded-For": "203.0.113.99"}
    url = browser.http.get("/api/v1/oidc/corp/start").headers["location"]
    query = {"state": parse_qs(urlsplit(url).query)["state"][0], "code": "made up"}
    path, cookies = "/api/v1/oidc/corp/callback", dict(browser.http.cookies)
    reasons = []
    for _ in range(PER_ADDRESS.free + 2):
        answer = httpx.get(
            f"{hub.base_url}{path}", params=query, headers=here, cookies=cookies, timeout=600
        )
        reasons.append(error_of(urlsplit(answer.headers["location"]).fragment))
    assert reasons == ["provider"] * (PER_ADDRESS.free + 1) + ["busy"]
    somebody(provider, "ops")
    assert log_in(hub)[1] == "/"


def test_a_code_is_exchanged_once(hub, provider):
    """The same callback again: the cookie is gone, and the provider takes no code twice."""
    somebody(provider, "ops")
    browser = hub.browser()
    url = browser.http.get("/api/v1/oidc/corp/start").headers["location"]
    back = urlsplit(browser.http.get(url).headers["location"])
    cookie = browser.http.cookies["cloudopshub-oidc"]
    first = browser.http.get(f"/api/v1/oidc/corp/callback?{back.query}")
    assert first.headers["location"] == f"{UI}/#/"
    assert "cloudopshub-oidc" not in browser.http.cookies
    again = httpx.get(
        f"{hub.base_url}/api/v1/oidc/corp/callback?{back.query}",
        cookies={"cloudopshub-oidc": cookie},
        timeout=600,
    )
    assert error_of(urlsplit(again.headers["location"]).fragment) == "provider"


def test_a_matching_address_logs_nobody_in(hub, provider):
    """A verified address of an account asks for its password, once; a wrong one links nothing; an
    unverified one is refused outright.
    """
    victim = hub.owner("Victim")
    email = victim.session["user"]["email"]
    somebody(provider, "ops", email=email)
    provider.wrong = {"email_verified": False}
    assert error_of(log_in(hub, "login")[1]) == "unverified"
    provider.wrong = {}
    browser, place = log_in(hub, "login")
    assert browser.get("/api/v1/session").status_code == 401
    challenge = parse_qs(place.partition("?")[2])["link"][0]
    body = {"challenge": challenge, "password": "not the password at all"}
    wrong = browser.post("/api/v1/oidc/link", body)
    unknown = browser.post("/api/v1/oidc/link", {**body, "challenge": "x" * 43})
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert wrong.json() == unknown.json()
    assert "link=" in log_in(hub, "login")[1]
    elsewhere = hub.browser().post("/api/v1/oidc/link", {**body, "password": PASSWORD})
    assert elsewhere.status_code == 401, "only the browser that came from the provider"
    linked = browser.post("/api/v1/oidc/link", {**body, "password": PASSWORD})
    assert linked.status_code == 200
    assert linked.json()["user"]["email"] == email
    spent = hub.browser().post("/api/v1/oidc/link", {**body, "password": PASSWORD})
    assert spent.status_code == 401
    again, place = log_in(hub, "login")
    assert place == "/"
    assert session(again)["user"]["email"] == email


def test_an_identity_stays_with_its_subject(hub, provider):
    """The provider's person is the subject: another subject with the same address is another."""
    person = somebody(provider, "ops")
    first, _ = log_in(hub)
    provider.person = {**person, "sub": "another subject"}
    _, place = log_in(hub)
    assert "link=" in place
    provider.person = {**person, "email": "renamed@corp.example"}
    renamed, _ = log_in(hub)
    assert session(renamed)["user"] == session(first)["user"]


def test_linking_from_within_and_unlinking(hub, provider):
    """By a fresh session, to that session's person alone; one identity is one person's; who has no
    password keeps their last one.
    """
    owner, other = hub.owner("Links"), hub.owner("Others")
    person = somebody(provider, email="unrelated@elsewhere.example")
    url = owner.post("/api/v1/oidc/login/link").json()["url"]
    assert travel(hub, owner, url) == "/settings/signin"
    browser, _ = log_in(hub, "login")
    assert session(browser)["user"]["id"] == owner.user_id
    url = other.post("/api/v1/oidc/login/link").json()["url"]
    assert error_of(travel(hub, other, url)) == "other_account"
    stranger = hub.browser()
    url = other.post("/api/v1/oidc/login/link").json()["url"]
    stranger.http.cookies["cloudopshub-oidc"] = other.http.cookies["cloudopshub-oidc"]
    assert error_of(travel(hub, stranger, url)) == "session"
    url = other.post("/api/v1/oidc/login/link").json()["url"]
    victim = hub.owner("Victim of a link")
    victim.http.cookies["cloudopshub-oidc"] = other.http.cookies["cloudopshub-oidc"]
    somebody(provider, email="attacker@elsewhere.example")
    assert error_of(travel(hub, victim, url)) == "session"
    assert victim.get("/api/v1/identities").json() == {"identities": []}
    provider.person = person
    (identity,) = owner.get("/api/v1/identities").json()["identities"]
    assert other.delete(f"/api/v1/identities/{identity['id']}").status_code == 404
    assert owner.delete(f"/api/v1/identities/{identity['id']}").status_code == 204
    assert error_of(log_in(hub, "login")[1]) == "unknown"
    somebody(provider, "ops")
    only, _ = log_in(hub)
    session(only)
    (identity,) = only.get("/api/v1/identities").json()["identities"]
    assert only.delete(f"/api/v1/identities/{identity['id']}").status_code == 409
    hub.clock.advance(hours=2)
    assert owner.post("/api/v1/oidc/login/link").status_code == 403


def test_a_link_needs_the_page(hub, provider):
    """No other site can make a logged-in browser link: the CSRF token is needed."""
    owner = hub.owner("Page")
    answer = owner.http.post("/api/v1/oidc/login/link", headers={"Origin": UI})
    assert answer.status_code == 403


def test_roles_follow_the_groups_at_each_log_in(hub, provider):
    """Up, down and out; with a lesser role sessions and keys end; who was made a member here stays
    as they are; the last owner stays.
    """
    somebody(provider, "everyone")
    browser, _ = log_in(hub)
    assert session(browser)["role"] == "viewer"
    provider.wrong = {"groups": ["ops"]}
    admin, _ = log_in(hub)
    assert session(admin)["role"] == "admin"
    assert browser.get("/api/v1/session").status_code == 401
    key = admin.new_key("admin")
    provider.wrong = {"groups": "everyone"}
    log_in(hub)
    assert admin.get("/api/v1/session").status_code == 401
    assert hub.introspect(key["key"]) == {"active": False, "reason": "revoked"}
    provider.wrong = {"groups": []}
    assert error_of(log_in(hub)[1]) == "unknown"
    assert provider.person["email"] not in hub.founder.get("/api/v1/members").text
    by_hand = hub.member(hub.log_in("founder@corp.example"), "viewer")
    somebody(provider, "ops", email="other@corp.example")
    url = by_hand.post("/api/v1/oidc/corp/link").json()["url"]
    travel(hub, by_hand, url)
    browser, _ = log_in(hub)
    assert session(browser)["role"] == "viewer"


def test_the_last_owner_is_not_mapped_away(hub, provider):
    """An owner by group who is the only one left stays owner when the group is gone."""
    somebody(provider, "board")
    owner, _ = log_in(hub)
    founder = session(owner) and hub.founder.user_id
    assert owner.patch(f"/api/v1/members/{founder}", {"role": "admin"}).status_code == 200
    provider.wrong = {"groups": ["everyone"]}
    again, _ = log_in(hub)
    assert session(again)["role"] == "owner"
    assert again.patch(f"/api/v1/members/{founder}", {"role": "owner"}).status_code == 200
    down, _ = log_in(hub)
    assert session(down)["role"] == "viewer"
    hub.founder.adopt(
        hub.founder.post("/api/v1/login", {"email": "founder@corp.example", "password": PASSWORD})
    )


def test_a_second_factor_is_asked_for_here_too(hub, provider):
    """The provider's word is a first proof; the code is the second. Linking by password is no way
    around it either.
    """
    somebody(provider, "ops")
    browser, _ = log_in(hub)
    session(browser)
    secret = browser.post("/api/v1/second-factor").json()["secret"]
    totp = pyotp.TOTP(secret)
    code = totp.generate_otp(totp.timecode(hub.clock.now()))
    assert browser.post("/api/v1/second-factor/confirm", {"code": code}).status_code == 200
    again, place = log_in(hub)
    assert again.get("/api/v1/session").status_code == 401
    challenge = parse_qs(place.partition("?")[2])["challenge"][0]
    hub.clock.advance(seconds=60)
    code = totp.generate_otp(totp.timecode(hub.clock.now()))
    done = again.post("/api/v1/login/code", {"challenge": challenge, "code": code})
    assert done.status_code == 200


@pytest.mark.parametrize(
    "fault", ["other issuer", "plain http", "too long", "no answer", "not JSON"]
)
def test_a_broken_provider_is_an_answer_in_words(hub, provider, fault, monkeypatch):
    """Discovery that is wrong, too long or absent ends at our page; nothing hangs or leaks."""
    client = hub.services.oidc.client
    monkeypatch.setattr(client, "_metadata", {})
    match fault:
        case "other issuer":
            provider.metadata = {"issuer": "https://another.example"}
        case "plain http":
            provider.metadata = {"token_endpoint": "http://another.example/token"}
        case "too long":
            provider.padding = 300_000
        case "no answer":
            broken = hub.services.oidc.providers["corp"].model_copy(
                update={"issuer": "http://127.0.0.1:9"}
            )
            monkeypatch.setitem(hub.services.oidc.providers, "corp", broken)
        case "not JSON":
            broken = hub.services.oidc.providers["corp"].model_copy(
                update={"issuer": f"{provider.issuer}/jwks?"}
            )
            monkeypatch.setitem(hub.services.oidc.providers, "corp", broken)
    assert error_of(log_in(hub)[1]) == "provider"


def test_an_unknown_provider_is_not_found(hub):
    """No redirect for a name that the operator never gave."""
    for step in ("start", "callback"):
        assert (
            httpx.get(f"{hub.base_url}/api/v1/oidc/nobody/{step}", timeout=600).status_code == 404
        )
