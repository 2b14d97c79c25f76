"""The laws of the identity twin, held against a ubs that answers over httpx's mock transport."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from data_api.chassis.clock import Clock
from data_api.chassis.identity import (
    Forbidden,
    IdentityClient,
    IdentityUnavailable,
    Unauthenticated,
    credential_of,
)
from data_api.chassis.identity.keys import BASE62, checksum, is_well_formed_key

TENANT = uuid4()
NOW_S = 1_900_000_000.0


def make_key(body: str = "a" * 32) -> str:
    return f"coh_live_{body}" + checksum(f"coh_live_{body}")


class Ubs:
    """The four internal answers of user-billing-service, with what they were asked."""

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.generate()
        self.kid = "k1"
        self.keys: dict[str, dict[str, Any]] = {}
        self.revocations: list[dict[str, Any]] = []
        self.down = False
        self.silent: set[str] = set()
        self.asked: list[str] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.down or request.url.path in self.silent:
            raise httpx.ConnectError("refused")
        match request.url.path:
            case "/internal/introspect":
                found = self.keys.get(json.loads(request.content)["key"])
                return httpx.Response(200, json=found or {"active": False, "reason": "unknown"})
            case "/internal/revocations":
                after = int(request.url.params.get("after", 0))
                rows = self.revocations[after : after + 1_000]
                seq = min(after, len(self.revocations)) + len(rows)
                body = {"seq": seq, "revocations": rows, "signing_keys": [self.kid]}
                return httpx.Response(200, json=body)
            case "/.well-known/jwks.json":
                raw = self.private.public_key().public_bytes_raw()
                x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
                key = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": self.kid, "x": x}
                return httpx.Response(200, json={"keys": [key]})
            case "/internal/token":
                return httpx.Response(200, json={"token": "t.t.t", "expires_in_s": 300})
        return httpx.Response(404)

    def grant(self, key: str, **more: Any) -> None:
        self.keys[key] = {
            "active": True,
            "key_id": "11111111-1111-7111-8111-111111111111",
            "tenant": str(TENANT),
            "scopes": ["metrics:read"],
            "expires_at": None,
            "ttl_s": 60,
            "limits": {"plan": "showback", "query_samples": 5, "invented_later": 1},
            **more,
        }

    def revoke(self, kind: str, ref: str, at: str = "2030-03-17T17:46:41+00:00") -> None:
        seq = len(self.revocations) + 1
        self.revocations.append({"seq": seq, "kind": kind, "ref": ref, "at": at})

    def token(self, **more: Any) -> str:
        claims = {
            "iss": "cloudopshub",
            "aud": "das",
            "sub": "22222222-2222-7222-8222-222222222222",
            "org": str(TENANT),
            "role": "viewer",
            "scopes": ["metrics:read"],
            "sid": "33333333-3333-7333-8333-333333333333",
            "iat": int(time.time()),
            "exp": int(time.time()) + 300,
            **more,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.private, algorithm="EdDSA", headers={"kid": self.kid})


@pytest.fixture
def ubs() -> Ubs:
    return Ubs()


class SecondsClock(Clock):
    """Tells the seconds that a function returns."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds

    def now_s(self) -> float:
        return self._seconds()


def with_client(ubs: Ubs, scenario: Callable[[IdentityClient], Any], clock: Any = time.time) -> Any:
    async def run() -> Any:
        transport = httpx.MockTransport(ubs.handle)
        async with httpx.AsyncClient(transport=transport) as http:
            return await scenario(
                IdentityClient("http://ubs", "service", "das", http, SecondsClock(clock))
            )

    return asyncio.run(run())


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


@given(
    st.text(alphabet=BASE62, min_size=32, max_size=32),
    st.integers(0, 46),
    st.sampled_from("09AZaz-"),
)
def test_one_changed_character_is_never_a_key(body: str, place: int, other: str) -> None:
    """A key with any one character changed is refused without asking anybody."""
    key = make_key(body)
    assert is_well_formed_key(key)
    changed = key[:place] + other + key[place + 1 :]
    assert is_well_formed_key(changed) == (changed == key)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": "Bearer KEY"}, None),
        ({"authorization": "Token KEY"}, None),
        ({"authorization": "Basic " + base64.b64encode(b"any:KEY").decode()}, None),
        ({"x-api-key": "KEY"}, None),
        ({"x-amz-firehose-access-key": "KEY"}, None),
        ({}, {"u": "any", "p": "KEY"}),
    ],
    ids=["bearer", "influx-token", "basic", "x-api-key", "firehose", "influx-query"],
)
def test_every_protocol_finds_its_key(
    headers: dict[str, str], query: dict[str, str] | None
) -> None:
    """A credential is found wherever the sender's protocol puts it."""
    assert credential_of(headers, query) == "KEY"


def test_a_known_key_is_asked_for_once(ubs: Ubs) -> None:
    """A key is introspected once in its TTL, also when many requests carry it at once."""
    ubs.grant(make_key())

    async def scenario(client: IdentityClient) -> None:
        await asyncio.gather(*(client.authenticate(bearer(make_key())) for _ in range(20)))
        principal = await client.authenticate(bearer(make_key()))
        assert principal.tenant == TENANT
        assert principal.limits.query_samples == 5
        with pytest.raises(Forbidden, match="metrics:write"):
            principal.require("metrics:write")

    with_client(ubs, scenario)
    assert ubs.asked.count("/internal/introspect") == 1


def test_a_revoked_key_is_refused_at_the_next_poll(ubs: Ubs) -> None:
    """Once the revocation log was read, a revoked key is asked for anew and refused."""
    ubs.grant(make_key())

    async def scenario(client: IdentityClient) -> None:
        await client.revocations.read()
        await client.authenticate(bearer(make_key()))
        ubs.revoke("key", ubs.keys[make_key()]["key_id"])
        ubs.keys[make_key()] = {"active": False, "reason": "revoked"}
        await client.revocations.read()
        with pytest.raises(Unauthenticated, match="revoked"):
            await client.authenticate(bearer(make_key()))

    with_client(ubs, scenario)


def test_a_suspended_organisation_is_refused_at_the_next_poll_and_comes_back(ubs: Ubs) -> None:
    """Its keys and the tokens made before are refused once the log was read, those of others are
    not; when it is resumed, keys and tokens made later work, also those of this service.
    """
    other = make_key("b" * 32)
    ubs.grant(make_key())
    ubs.grant(other, tenant=str(uuid4()), key_id="44444444-4444-7444-8444-444444444444")
    now_s = [float(int(time.time()))]

    async def scenario(client: IdentityClient) -> None:
        await client.revocations.read()
        before = ubs.token(iat=int(now_s[0]))
        for credential in (make_key(), other, before):
            await client.authenticate(bearer(credential))
        await client.service_token_for(TENANT, "dis", ["metrics:read"])
        at = datetime.fromtimestamp(now_s[0], UTC).isoformat()
        ubs.revoke("organisation", str(TENANT), at)
        ubs.keys[make_key()] = {"active": False, "reason": "suspended"}
        await client.revocations.read()
        for credential, reason in ((make_key(), "suspended"), (before, "ended")):
            with pytest.raises(Unauthenticated, match=reason):
                await client.authenticate(bearer(credential))
        await client.authenticate(bearer(other))
        ubs.grant(make_key())
        now_s[0] += 5.1
        after = ubs.token(iat=int(now_s[0]))
        for credential in (make_key(), after):
            await client.authenticate(bearer(credential))
        await client.service_token_for(TENANT, "dis", ["metrics:read"])

    with_client(ubs, scenario, lambda: now_s[0])
    assert ubs.asked.count("/internal/token") == 2


def test_keys_outlive_ubs_to_their_ttl(ubs: Ubs) -> None:
    """While ubs is down a known key lives to its TTL; an unknown one is unavailable, not wrong."""
    ubs.grant(make_key())
    now_s = [NOW_S]

    async def scenario(client: IdentityClient) -> None:
        await client.authenticate(bearer(make_key()))
        ubs.down = True
        now_s[0] += 59
        await client.authenticate(bearer(make_key()))
        with pytest.raises(IdentityUnavailable):
            await client.authenticate(bearer(make_key("b" * 32)))
        now_s[0] += 2
        with pytest.raises(IdentityUnavailable):
            await client.authenticate(bearer(make_key()))

    with_client(ubs, scenario, lambda: now_s[0])


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "dis"},
        {"iss": "another"},
        {"exp": int(time.time()) - 60},
        {"org": "not-a-uuid"},
        {"exp": int(time.time()) + 3_600},
        {"exp": 2_777_000_000},
        {"iat": None},
        {"iat": int(time.time()) + 200, "exp": int(time.time()) + 500},
        {"iat": 1, "exp": float("inf")},
    ],
    ids=[
        *("other-audience", "other-issuer", "expired", "bad-tenant"),
        *("an-hour-long", "until-2058", "not-issued", "issued-later", "for-ever"),
    ],
)
def test_a_token_is_refused_for_any_wrong_claim(ubs: Ubs, claims: dict[str, Any]) -> None:
    """A token opens only the service, issuer, time and tenant it was made for."""

    async def scenario(client: IdentityClient) -> None:
        assert (await client.authenticate(bearer(ubs.token()))).tenant == TENANT
        with pytest.raises(Unauthenticated):
            await client.authenticate(bearer(ubs.token(**claims)))

    with_client(ubs, scenario)


def test_only_eddsa_signs(ubs: Ubs) -> None:
    """A token signed in another way, or by another key, is refused."""

    async def scenario(client: IdentityClient) -> None:
        claims = jwt.decode(ubs.token(), options={"verify_signature": False})
        shared = "0" * 32
        hmac_signed = jwt.encode(claims, shared, algorithm="HS256", headers={"kid": ubs.kid})
        stranger = Ed25519PrivateKey.generate()
        forged = jwt.encode(claims, stranger, algorithm="EdDSA", headers={"kid": ubs.kid})
        for token in (hmac_signed, forged):
            with pytest.raises(Unauthenticated):
                await client.authenticate(bearer(token))

    with_client(ubs, scenario)


def test_a_revoked_session_ends_its_tokens(ubs: Ubs) -> None:
    """A token of a revoked session is refused; a user's token issued after the revocation works."""

    async def scenario(client: IdentityClient) -> UUID:
        await client.revocations.read()
        ended = ubs.token(sid="gone")
        ubs.revoke("session", "gone")
        ubs.revoke("user", "22222222-2222-7222-8222-222222222222", "2001-01-01T00:00:00+00:00")
        await client.revocations.read()
        with pytest.raises(Unauthenticated, match="ended"):
            await client.authenticate(bearer(ended))
        return (await client.authenticate(bearer(ubs.token()))).tenant

    assert with_client(ubs, scenario) == TENANT


@pytest.mark.parametrize("before", [0, 2_500], ids=["alone", "behind two full pages"])
def test_a_session_that_ended_before_the_start_stays_ended(ubs: Ubs, before: int) -> None:
    """A process that has just started refuses a token whose session ended before: its first token
    waits until the log of the last ten minutes was read to its end, however long it is.
    """
    for number in range(before):
        ubs.revoke("session", f"other-{number}")
    ubs.revoke("session", "gone")

    async def scenario(client: IdentityClient) -> None:
        with pytest.raises(Unauthenticated, match="ended"):
            await client.authenticate(bearer(ubs.token(sid="gone")))
        await client.authenticate(bearer(ubs.token()))
        await client.revocations.close()

    with_client(ubs, scenario)
    assert ubs.asked.count("/internal/revocations") == before // 1_000 + 1


def test_no_token_is_judged_before_the_log_was_read(ubs: Ubs) -> None:
    """Until ubs has told what was revoked, a token is unavailable, neither right nor wrong; many
    that come at once ask once.
    """
    ubs.silent.add("/internal/revocations")

    async def scenario(client: IdentityClient) -> None:
        many = (client.authenticate(bearer(ubs.token())) for _ in range(20))
        outcomes = await asyncio.gather(*many, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {IdentityUnavailable}
        assert ubs.asked.count("/internal/revocations") == 1
        ubs.silent.clear()
        assert (await client.authenticate(bearer(ubs.token()))).tenant == TENANT
        ubs.down = True
        assert (await client.authenticate(bearer(ubs.token()))).tenant == TENANT

    with_client(ubs, scenario)


def test_a_log_that_was_set_back_forgets_the_keys(ubs: Ubs) -> None:
    """When ubs's log is shorter than it was, every cached key is asked for anew."""
    ubs.grant(make_key())
    ubs.revoke("key", "another")

    async def scenario(client: IdentityClient) -> None:
        await client.revocations.read()
        await client.authenticate(bearer(make_key()))
        ubs.revocations.clear()
        ubs.keys[make_key()] = {"active": False, "reason": "revoked"}
        await client.revocations.read()
        with pytest.raises(Unauthenticated, match="revoked"):
            await client.authenticate(bearer(make_key()))

    with_client(ubs, scenario)


def test_a_dropped_signing_key_verifies_nothing_after_the_next_poll(ubs: Ubs) -> None:
    """A key that ubs drops after a leak is refused once the log was read, long before the cached
    JWKS ends; tokens of the new key are accepted.
    """
    now_s = [NOW_S]

    async def scenario(client: IdentityClient) -> None:
        leaked = ubs.token()
        await client.authenticate(bearer(leaked))
        ubs.private, ubs.kid = Ed25519PrivateKey.generate(), "k2"
        now_s[0] += 6
        await client.revocations.read()
        with pytest.raises(Unauthenticated, match="unknown key"):
            await client.authenticate(bearer(leaked))
        assert (await client.authenticate(bearer(ubs.token()))).tenant == TENANT

    with_client(ubs, scenario, lambda: now_s[0])


def test_a_service_token_is_kept_until_a_minute_before_its_end(ubs: Ubs) -> None:
    """A service asks for a tenant's token once in its useful life."""
    now_s = [NOW_S]

    async def scenario(client: IdentityClient) -> None:
        for seconds in (0, 200, 30):
            now_s[0] += seconds
            await client.service_token_for(TENANT, "das", ["metrics:read"])
        assert ubs.asked.count("/internal/token") == 1
        now_s[0] += 30
        await client.service_token_for(TENANT, "das", ["metrics:read"])

    with_client(ubs, scenario, lambda: now_s[0])
    assert ubs.asked.count("/internal/token") == 2
