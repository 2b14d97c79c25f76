"""Pure laws of codes, of keys that are replaced, and of roles by group."""

import base64
import hashlib
import hmac
import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.errors import BadInput, NotAllowed
from user_billing.factors import rules as factor_rules
from user_billing.keys import rules as key_rules
from user_billing.model import Role
from user_billing.oidc.providers import Provider, is_safe_url
from user_billing.oidc.rules import Claims, may_join, wanted_role

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
INSTANTS = st.integers(10**9, 38 * 10**8).map(lambda s: datetime.fromtimestamp(s, UTC))


def code_at(secret, step):
    """RFC 4226 §5.3, written out."""
    mac = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1)
    offset = mac[-1] & 0xF
    number = struct.unpack(">I", mac[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**6:06d}"


@pytest.mark.parametrize(
    ("at_s", "code"), [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")]
)
def test_codes_are_those_of_the_rfc(at_s, code):
    """The vectors of RFC 6238, appendix B, in six digits."""
    now = datetime.fromtimestamp(at_s, UTC)
    assert factor_rules.matching_step(RFC_SECRET, code, now, last_step=0) == at_s // 30


@given(INSTANTS, st.integers(-4, 4), st.integers(-4, 4))
def test_a_code_is_taken_near_its_time_and_after_the_last_one(now, offset, last):
    """A step before, now, or a step after; never one that was used or is older."""
    secret = factor_rules.new_secret()
    present = int(now.timestamp()) // 30
    step = factor_rules.matching_step(
        secret, code_at(secret, present + offset), now, last_step=present + last
    )
    expected = present + offset if abs(offset) <= 1 and offset > last else None
    clashes = {code_at(secret, present + near) for near in (-1, 0, 1) if near != offset}
    if code_at(secret, present + offset) not in clashes:
        assert step == expected


@given(st.text(max_size=100))
def test_any_text_is_a_wrong_code_and_no_defect(text):
    """What people paste is normalised and refused."""
    code = factor_rules.normalise_code(text)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    if not code.isdigit():
        assert factor_rules.matching_step(RFC_SECRET, code, now, last_step=0) is None


def test_recovery_codes_are_read_as_people_write_them():
    """Case, spaces and hyphens do not matter."""
    code = factor_rules.new_recovery_code()
    assert len(code) == 19
    for written in (code.upper(), code.replace("-", ""), f" {code.replace('-', ' ')} "):
        assert factor_rules.normalise_code(written) == factor_rules.normalise_code(code)


@given(INSTANTS, st.none() | st.integers(1, 10**7), st.integers(0, 7 * 86_400))
def test_a_rotation_lengthens_no_life(now, left_s, overlap_s):
    """The old key ends after the overlap or when it would have, whichever is first."""
    expires_at = None if left_s is None else now + timedelta(seconds=left_s)
    ends = key_rules.end_of_replaced(expires_at, now, timedelta(seconds=overlap_s))
    assert ends <= now + timedelta(seconds=overlap_s)
    assert expires_at is None or ends <= expires_at


@pytest.mark.parametrize("wrong", [["10.0.0.1/8"], ["10.0.0.0/33"], [""], ["::/129"], ["a.b"]])
def test_networks_are_exact(wrong):
    """Bits beyond the mask are a typing error, and are told as one."""
    with pytest.raises(BadInput, match="CIDR"):
        key_rules.parse_networks(wrong)
    assert key_rules.parse_networks([" 10.0.0.1 ", "10.0.0.1/32"]) == ("10.0.0.1/32",)


def test_a_key_makes_none_that_may_be_used_from_more_networks():
    """What it makes without networks has its own; wider ones, or others, are refused."""
    bound = ("192.0.2.0/24", "2001:db8::/32")
    assert key_rules.within_caller((), bound) == bound
    assert key_rules.within_caller(("192.0.2.8/32",), bound) == ("192.0.2.8/32",)
    assert key_rules.within_caller(("0.0.0.0/0",), ()) == ("0.0.0.0/0",)
    for wider in ("192.0.0.0/16", "198.51.100.1/32", "::/0"):
        with pytest.raises(NotAllowed):
            key_rules.within_caller((wider,), bound)


def provider(**more):
    basis = {"name": "p", "issuer": "https://id.example", "client_id": "c", "client_secret": "s"}
    return Provider.model_validate({**basis, **more})


@given(st.sets(st.sampled_from("abcd")))
def test_the_strongest_group_decides(groups):
    """Owner over admin over viewer; who is in none has the provider's role."""
    roles = {"a": "owner", "b": "admin", "c": "viewer"}
    mapped = provider(organisation="o", domains=["x.org"], roles=roles, role=None)
    expected = next((Role(roles[group]) for group in "abc" if group in groups), None)
    assert wanted_role(mapped, Claims("s", None, frozenset(groups))) is expected


@pytest.mark.parametrize("email", [None, "a@sub.x.org", "a@x.org.evil", "a@y.org"])
def test_only_the_very_domain_joins(email):
    """No subdomain, no suffix, no address at all."""
    allowed = provider(organisation="o", domains=["X.org"])
    assert not may_join(allowed, Claims("s", email, frozenset()))
    assert may_join(allowed, Claims("s", "a@x.org", frozenset()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://id.example"},
        {"issuer": "https://id.example?x=1"},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"domains": ["x.org"]},
        {"organisation": "o"},
        {"organisation": "o", "domains": ["x.org"], "role": "service"},
        {"name": "Not a name"},
        {"rolls": {}},
    ],
    ids=str,
)
def test_a_provider_that_cannot_be_meant_stops_the_start(wrong):
    """Plain http, symmetric or no signatures, people without a place, typing errors."""
    with pytest.raises(ValueError, match="validation error"):
        provider(**wrong)


def test_secrets_go_over_https_or_stay_here():
    """Loopback is this machine; everything else is encrypted."""
    assert is_safe_url("https://id.example/token")
    assert is_safe_url("http://127.0.0.1:9000/token")
    for url in ("http://id.example", "https://", "ftp://127.0.0.1", "javascript:1", ""):
        assert not is_safe_url(url)
