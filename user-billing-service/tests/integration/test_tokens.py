"""Access tokens, verified the way another service would: by JWKS, with another library."""

import json

import httpx
import pytest
from conftest import INTERNAL, settings_for
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from user_billing.app import wire
from user_billing.db.sweep import sweep
from user_billing.errors import NotAuthenticated
from user_billing.identifiers import new_id
from user_billing.model import Audience
from user_billing.setup.service import Bootstrap


@pytest.fixture(scope="module")
def owner(hub):
    return hub.owner("Tokens")


def jwks(hub):
    return httpx.get(f"{hub.base_url}/.well-known/jwks.json", timeout=600).json()


def verified(hub, token, keys=None):
    """The claims, by joserfc with the published keys and EdDSA alone."""
    key_set = KeySet.import_key_set(keys or jwks(hub))
    return jwt.decode(token, key_set, algorithms=["EdDSA", "Ed25519"])


def token_of(browser, audience="das"):
    answer = browser.post("/api/v1/token", {"audience": audience})
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in_s"] == 300
    return answer.json()["token"]


@pytest.mark.parametrize("audience", ["das", "dis", "aps", "ubs"])
def test_a_token_says_what_the_contract_says(hub, owner, audience):
    """Every claim of docs/contracts.md §2, with the values of this session, for five minutes."""
    token = verified(hub, token_of(owner, audience))
    claims = token.claims
    now = int(hub.clock.now().timestamp())
    assert token.header["alg"] == "EdDSA"
    assert token.header["kid"] in {key["kid"] for key in jwks(hub)["keys"]}
    assert claims["iss"] == "cloudopshub"
    assert claims["aud"] == audience
    assert claims["sub"] == owner.user_id
    assert claims["org"] == owner.org
    assert claims["role"] == "owner"
    assert claims["scopes"] == [
        "metrics:write", "metrics:read", "analysis:run", "billing:read", "admin",
    ]  # fmt: skip
    assert claims["limits"]["plan"] == "showback"
    assert abs(claims["iat"] - now) <= 1
    assert claims["exp"] == claims["iat"] + 300
    assert set(claims) == {
        "iss", "aud", "sub", "org", "role", "scopes", "sid", "limits", "iat", "exp", "jti",
    }  # fmt: skip


def test_a_viewers_token_reads_only(hub, owner):
    """The scopes are the role's."""
    claims = verified(hub, token_of(hub.member(owner, "viewer"))).claims
    assert claims["role"] == "viewer"
    assert claims["scopes"] == ["metrics:read", "billing:read"]


def test_an_unknown_audience_is_refused(owner):
    """A token is for one of the four services."""
    answer = owner.post("/api/v1/token", {"audience": "everyone"})
    assert answer.status_code == 400
    assert "\"audience\": Input should be 'das', 'dis', 'aps' or 'ubs'" in answer.json()["error"]


def test_a_service_acts_for_a_tenant_with_just_the_scopes_it_asked(hub, owner):
    """Subject `service:aps`, role `service`, no session, the tenant's limits."""
    body = {"tenant": owner.org, "audience": "dis", "scopes": ["metrics:write"], "service": "aps"}
    answer = httpx.post(f"{hub.base_url}/internal/token", json=body, headers=INTERNAL, timeout=600)
    assert answer.json()["expires_in_s"] == 300
    claims = verified(hub, answer.json()["token"]).claims
    assert (claims["sub"], claims["role"], claims["org"]) == ("service:aps", "service", owner.org)
    assert claims["scopes"] == ["metrics:write"]
    assert "sid" not in claims


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"tenant": "00000000-0000-7000-8000-000000000000"}, 404),
        ({"tenant": "x"}, 400),
        ({"scopes": ["root"]}, 400),
        ({"audience": "moon"}, 400),
        ({"service": "moon"}, 400),
    ],
)
def test_a_service_token_for_nothing_is_refused(hub, owner, change, status):
    """Unknown tenants, scopes, audiences and services get no token."""
    body = {"tenant": owner.org, "audience": "dis", "scopes": ["metrics:write"], "service": "aps"}
    url = f"{hub.base_url}/internal/token"
    answer = httpx.post(url, json={**body, **change}, headers=INTERNAL, timeout=600)
    assert answer.status_code == status, answer.text


def test_the_published_keys_are_public_and_cacheable(hub):
    """No private part; 5 minutes; an ETag that answers 304."""
    first = httpx.get(f"{hub.base_url}/.well-known/jwks.json", timeout=600)
    assert all(set(key) == {"kty", "crv", "x", "kid", "alg", "use"} for key in first.json()["keys"])
    assert first.headers["cache-control"] == "public, max-age=300"
    again = httpx.get(
        f"{hub.base_url}/.well-known/jwks.json",
        headers={"If-None-Match": first.headers["etag"]},
        timeout=600,
    )
    assert again.status_code == 304
    assert again.headers["etag"] == first.headers["etag"]


def test_the_key_that_will_sign_next_is_published_before_it_does(hub, owner):
    """A verifier that cached the keys before a rotation verifies tokens made after it, and tokens
    made before it go on being valid; after two hours the old key is gone.
    """
    hub.clock.advance(days=31)
    owner = hub.log_in(owner.session["user"]["email"])
    cached, old_token = jwks(hub), token_of(owner)
    old_kid = verified(hub, old_token).header["kid"]
    assert hub.services.signing.rotate()
    new_token = token_of(owner)
    new_kid = verified(hub, new_token, cached).header["kid"]
    assert new_kid != old_kid
    assert verified(hub, old_token).claims["sub"] == owner.user_id
    assert len(jwks(hub)["keys"]) == 3
    hub.clock.advance(hours=2, seconds=31)
    with hub.services.database.directory() as session:
        sweep(session, hub.clock.now())
    hub.clock.advance(seconds=31)
    assert old_kid not in {key["kid"] for key in jwks(hub)["keys"]}
    assert new_kid in {key["kid"] for key in jwks(hub)["keys"]}


def test_after_a_leak_every_key_is_dropped_at_once(hub):
    """All keys go, `next` too: no token made before is accepted, here or by another process of
    this service, and neither JWKS nor the poll of revocations names an old key.
    """
    founder = hub.log_in("founder@example.org")
    old_token, old_kids = token_of(founder, "ubs"), {key["kid"] for key in jwks(hub)["keys"]}
    database = hub.services.settings.database_url.get_secret_value()
    other, _ = wire(settings_for(database), hub.clock, Bootstrap())
    other.signing.verify(old_token, Audience.UBS)
    assert set(hub.internal("revocations")["signing_keys"]) == old_kids
    hub.services.signing.replace_all()
    assert old_kids.isdisjoint(hub.internal("revocations")["signing_keys"])
    hub.clock.advance(seconds=2)
    new_kids = {key["kid"] for key in jwks(hub)["keys"]}
    assert len(new_kids) == 2
    assert old_kids.isdisjoint(new_kids)
    for signing in (hub.services.signing, other.signing):
        with pytest.raises(NotAuthenticated, match="unknown key"):
            signing.verify(old_token, Audience.UBS)
    assert verified(hub, token_of(founder)).claims["sub"] == founder.user_id
    other.database.engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        {"exp": 2_777_000_000},
        {"iat": 1},
        {"iat": None},
        {"iat": 2_777_000_000 - 300, "exp": 2_777_000_000},
    ],
    ids=["until 2058", "issued long ago", "never issued", "issued later"],
)
def test_a_token_that_lives_over_five_minutes_is_refused(hub, change):
    """Whatever the signature: exp is at most 300 s after iat, and iat is there and past."""
    signing, now_s = hub.services.signing, int(hub.clock.now().timestamp())
    claims = {
        "iss": "cloudopshub", "aud": "ubs", "sub": "service:das", "org": str(new_id()),
        "jti": "x", "iat": now_s, "exp": now_s + 300,
    }  # fmt: skip
    signing.verify(signing.sign(claims), Audience.UBS)
    changed = {name: value for name, value in {**claims, **change}.items() if value is not None}
    with pytest.raises(NotAuthenticated):
        signing.verify(signing.sign(changed), Audience.UBS)


def test_the_signing_key_is_replaced_when_it_is_old(hub):
    """Young keys stay; after thirty days the next one takes over, and another is next."""
    signing = hub.services.signing
    assert not signing.rotate()
    before = signing.current().active_kid
    hub.clock.advance(days=31)
    assert signing.rotate()
    assert signing.current().active_kid != before


def test_private_keys_are_sealed_at_rest(hub):
    """The database alone signs nothing: what it holds opens with UBS_SECRET_KEY only."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    held = hub.services.signing.current()
    raw = held.private_key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    with hub.services.database.engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT private_key_sealed FROM billing.signing_key")
        assert all(raw not in bytes(row[0]) for row in stored)


def test_another_installations_token_is_refused(hub):
    """A key set of somebody else verifies nothing of ours."""
    founder = hub.log_in("founder@example.org")
    from joserfc.jwk import OKPKey  # noqa: PLC0415

    stranger = OKPKey.generate_key("Ed25519").as_dict(private=False)
    kid = jwks(hub)["keys"][0]["kid"]
    foreign = {"keys": [{**stranger, "kid": key["kid"]} for key in jwks(hub)["keys"]]}
    assert kid
    with pytest.raises(BadSignatureError):
        verified(hub, token_of(founder), foreign)


def test_this_service_refuses_wrong_tokens(hub):
    """Another audience, an expired one, `alg: none`, a changed claim: 401, each with its reason."""
    import base64  # noqa: PLC0415

    founder = hub.log_in("founder@example.org")
    signing = hub.services.signing
    good = token_of(founder, "ubs")
    assert signing.verify(good, Audience.UBS)["sub"] == founder.user_id

    def segment(data):
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

    header, payload, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = [
        token_of(founder, "das"),
        f"{segment({'alg': 'none', 'kid': 'x'})}.{payload}.",
        f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{payload}.{signature}",
        f"{header}.{segment({**claims, 'role': 'service'})}.{signature}",
        "a.b.c",
        "",
    ]
    for token in forged:
        with pytest.raises(NotAuthenticated):
            signing.verify(token, Audience.UBS)
    hub.clock.advance(seconds=309)
    signing.verify(good, Audience.UBS)
    hub.clock.advance(seconds=2)
    with pytest.raises(NotAuthenticated, match="expired"):
        signing.verify(good, Audience.UBS)
