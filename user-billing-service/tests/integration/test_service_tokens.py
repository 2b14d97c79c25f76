"""A token per service, and what each may ask with it."""

import contextlib

import httpx
import pytest
from conftest import INTERNAL, PASSWORD, SETUP_TOKEN, running_hub, settings_for
from embedded_postgres import fresh_database
from pydantic import ValidationError

from user_billing import migrate

OWN = {code: f"own-token-of-{code}-0123456789" for code in ("das", "dis", "aps")}
TOKENS = ",".join(f"{code}={token}" for code, token in OWN.items())
NEEDED = {
    ("aps", "das", "metrics:read"),
    ("aps", "dis", "metrics:write"),
    ("das", "dis", "metrics:write"),
    ("das", "dis", "metrics:read"),
}


@pytest.fixture(scope="module")
def own(server_url):
    """A service that knows each service's own token, and its first organisation."""
    with fresh_database(server_url, "ubs_own") as url, contextlib.ExitStack() as running:
        migrate.upgrade(url)
        hub = running.enter_context(
            running_hub(url, setup_token=SETUP_TOKEN, service_tokens=TOKENS)
        )
        form = {
            "token": SETUP_TOKEN, "email": "o@example.org", "password": PASSWORD,
            "organisation": "Own",
        }  # fmt: skip
        hub.founder = hub.browser()
        hub.founder.adopt(hub.founder.post("/api/v1/setup", form))
        yield hub


def ask(hub, headers, method, path, json=None):
    address = f"{hub.base_url}/internal/{path}"
    # a call without TLS needs no store of certificates, which costs more than the call
    return httpx.request(method, address, json=json, headers=headers, verify=False, timeout=600)


def bearer(code):
    return {"Authorization": f"Bearer {OWN[code]}"}


def wanted(hub, service, audience, *scopes):
    return {
        "tenant": hub.founder.org, "service": service, "audience": audience, "scopes": scopes,
    }  # fmt: skip


def test_each_service_has_its_own_token_and_no_other_is_taken(own):
    """Keys, revocations and who the organisations are is for all three, the hub's own for das and
    dis; the token that was everybody's opens nothing any more.
    """
    for code in OWN:
        known = ask(own, bearer(code), "POST", "introspect", {"key": "coh_live_x"})
        assert known.json() == {"active": False, "reason": "malformed"}
        assert ask(own, bearer(code), "GET", "revocations").status_code == 200
        home = ask(own, bearer(code), "GET", "home-organisation")
        assert home.status_code == (200 if code in {"das", "dis"} else 403)
        everybody = ask(own, bearer(code), "GET", "organisations").json()
        assert everybody == {"tenants": [own.founder.org], "next": None}
    for headers in (INTERNAL, {"Authorization": f"Basic {OWN['das']}"}, {}):
        assert ask(own, headers, "GET", "revocations").status_code == 401


@pytest.mark.parametrize("holder", sorted(OWN))
def test_a_service_asks_for_what_its_work_needs_and_only_as_itself(own, holder):
    """Whoever holds the token of one service gets no other service's tokens, and from none a token
    of another scope or for ubs: one that leaks makes nobody an administrator.
    """
    for service in ("das", "dis", "aps", "ubs"):
        for audience in ("das", "dis", "aps", "ubs"):
            for scope in ("metrics:read", "metrics:write", "analysis:run", "billing:read", "admin"):
                body = wanted(own, service, audience, scope)
                answer = ask(own, bearer(holder), "POST", "token", body)
                needed = holder == service and (service, audience, scope) in NEEDED
                assert answer.status_code == (200 if needed else 403), (body, answer.text)
    both = wanted(own, "aps", "das", "metrics:read", "admin")
    assert ask(own, bearer(holder), "POST", "token", both).status_code == 403


def test_one_token_for_all_asks_for_no_more_than_the_services_need(hub):
    """Where all services share a token it still makes no administrator of any organisation."""
    hub.founder = hub.log_in("founder@example.org")
    granted = {
        (service, audience, scope)
        for service in ("das", "dis", "aps")
        for audience in ("das", "dis", "aps", "ubs")
        for scope in ("metrics:read", "metrics:write", "admin")
        if ask(
            hub, INTERNAL, "POST", "token", wanted(hub, service, audience, scope)
        ).status_code == 200
    }  # fmt: skip
    assert granted == NEEDED


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ("das=0123456789abcdef,dis=0123456789abcdeg", "das=TOKEN,dis=TOKEN,aps=TOKEN"),
        (f"{TOKENS},ubs=0123456789abcdefg", "das=TOKEN,dis=TOKEN,aps=TOKEN"),
        ("0123456789abcdef", "das=TOKEN,dis=TOKEN,aps=TOKEN"),
        ("das=0123456789abcdef,dis=0123456789abcdeg,aps=short", "16 characters"),
        ("das=0123456789abcdef,dis=0123456789abcdef,aps=0123456789abcdeg", "one token"),
    ],
    ids=["one missing", "one too many", "not by service", "short", "shared"],
)
def test_a_setting_that_is_not_a_token_for_each_stops_the_start(tokens, reason):
    """The error says the form and repeats no token."""
    with pytest.raises(ValidationError) as refused:
        settings_for("postgresql://u@h/d", service_tokens=tokens)
    (error,) = refused.value.errors(include_input=False)
    assert reason in error["msg"]
    assert "0123456789abcde" not in error["msg"]
