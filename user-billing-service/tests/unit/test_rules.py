"""Roles, names, passwords and waiting times."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing import access
from user_billing.errors import BadInput, LoginNotFresh, NotAllowed, WeakPassword
from user_billing.model import Actor, LiveSession, Person, Principal, Role, Scope, Throttled
from user_billing.organisations import rules as organisations_rules
from user_billing.people import rules as people_rules
from user_billing.throttle import rules as throttle_rules

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def principal(role: Role | None, *, logged_in: timedelta | None = None) -> Principal:
    session = None
    if logged_in is not None:
        at = NOW - logged_in
        session = LiveSession(
            uuid4(), Person(uuid4(), "p@x.org"), uuid4(), role, at, at, NOW + timedelta(days=1)
        )
    scopes = access.ROLE_SCOPES[role] if role else frozenset({Scope.ADMIN})
    return Principal(uuid4(), Actor("user:x"), scopes, "session", role, uuid4(), session)


def test_owner_and_admin_have_every_scope_and_a_viewer_reads():
    """Owner and admin may do all five; a viewer reads metrics and billing."""
    assert access.ROLE_SCOPES[Role.OWNER] == access.ROLE_SCOPES[Role.ADMIN] == frozenset(Scope)
    assert access.ROLE_SCOPES[Role.VIEWER] == {"metrics:read", "billing:read"}


@pytest.mark.parametrize("who", [Role.ADMIN, Role.VIEWER, None])
@pytest.mark.parametrize(
    ("before", "after"), [(Role.OWNER, Role.VIEWER), (Role.VIEWER, Role.OWNER), (Role.OWNER, None)]
)
def test_only_an_owner_makes_changes_or_removes_an_owner(who, before, after):
    """Neither an admin nor an API key touches ownership."""
    with pytest.raises(NotAllowed):
        access.require_may_grant(principal(who), before=before, after=after)
    access.require_may_grant(principal(Role.OWNER), before=before, after=after)


@pytest.mark.parametrize(
    ("before", "after", "scopes", "needs"),
    [
        (None, Role.ADMIN, {Scope.ADMIN}, "metrics:write"),
        (None, Role.VIEWER, {Scope.ADMIN}, "metrics:read"),
        (Role.VIEWER, Role.ADMIN, {Scope.ADMIN, Scope.METRICS_READ}, "analysis:run"),
        (None, Role.ADMIN, set(Scope), None),
        (Role.ADMIN, Role.VIEWER, {Scope.ADMIN}, None),
        (Role.VIEWER, None, {Scope.ADMIN}, None),
    ],
)
def test_a_key_makes_nobody_who_may_do_more_than_itself(before, after, scopes, needs):
    """Whoever it invites or promotes gets no scope that the key lacks; taking away is free."""
    key = replace(principal(None), scopes=frozenset(scopes))
    if needs is None:
        access.require_may_grant(key, before=before, after=after)
    else:
        with pytest.raises(NotAllowed, match=needs):
            access.require_may_grant(key, before=before, after=after)


def test_a_key_that_ends_makes_nothing_that_lives_longer():
    """No member, no key without an end or with a later one; a key of the same end is made."""
    key = replace(principal(None), scopes=frozenset(Scope), expires_at=NOW + timedelta(days=7))
    with pytest.raises(NotAllowed, match="expire"):
        access.require_may_grant(key, before=None, after=Role.VIEWER)
    access.require_may_grant(key, before=Role.ADMIN, after=Role.VIEWER)
    for expires_at in (None, NOW + timedelta(days=8)):
        with pytest.raises(NotAllowed, match="lives as long"):
            access.require_no_longer_life(key, expires_at)
    access.require_no_longer_life(key, NOW + timedelta(days=7))
    access.require_no_longer_life(principal(Role.OWNER), None)


def test_a_credential_gives_away_only_what_it_has():
    """A key with `admin` alone cannot make a key that writes metrics."""
    with pytest.raises(NotAllowed, match="metrics:write"):
        access.require_grantable(principal(None), [Scope.METRICS_WRITE])


def test_a_login_is_fresh_for_one_hour():
    """Keys and roles need a log-in within the last hour, both ends included."""
    access.require_fresh(principal(Role.OWNER, logged_in=timedelta(hours=1)), NOW)
    with pytest.raises(LoginNotFresh):
        access.require_fresh(principal(Role.OWNER, logged_in=timedelta(hours=1, seconds=1)), NOW)
    access.require_fresh(principal(None), NOW)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("fourteen chars", "14 of at least 15 characters"),
        ("x" * 257, "256"),
        ("aaaaaaaaaaaaaaaa", "pattern"),
        ("abcabcabcabcabcabc", "pattern"),
        ("abcdefghijklmnopqr", "pattern"),
        ("zyxwvutsrqponmlk", "pattern"),
        ("PasswordPassword", "common"),
        ("correct horse battery staple", "common"),
        ("cloudopshub-2026", "product"),
        ("margarethe12345", "address"),
    ],
)
def test_a_guessable_password_is_refused_with_its_reason(password, reason):
    """Too short, too long, common, patterned or made of known words: refused, and why."""
    with pytest.raises(WeakPassword, match=f"^This password cannot be used: .*{reason}"):
        people_rules.check_password(password, context=["margarethe@example.org"])


@pytest.mark.parametrize(
    "password",
    [
        "tuesday coffee orbit",
        "пароль длинный и свой",
        "x7$Lq!0vZ_e-93b",
        "🦊" * 3 + " jumps over 12 dogs",
    ],
)
def test_a_long_phrase_needs_no_composition_rule(password):
    """Fifteen characters of any script pass; no digit or capital is asked for."""
    people_rules.check_password(password, context=["margarethe@example.org", "Acme"])


@given(text=st.text(min_size=15, max_size=256))
def test_a_password_is_normalised_once(text):
    """Two ways to type one character give one password, and nothing is trimmed."""
    once = people_rules.normalise_password(text)
    assert people_rules.normalise_password(once) == once


@given(failures=st.integers(min_value=0, max_value=2_000))
def test_waiting_never_shrinks_with_more_failures(failures):
    """Each failure closes the door for at least as long as the one before."""
    for policy in (
        throttle_rules.PER_DEVICE,
        throttle_rules.PER_ACCOUNT,
        throttle_rules.PER_ADDRESS,
        throttle_rules.GLOBAL,
    ):
        assert throttle_rules.wait_s(policy, failures) <= throttle_rules.wait_s(
            policy, failures + 1
        )


@pytest.mark.parametrize(
    ("policy", "free"), [(throttle_rules.PER_DEVICE, 5), (throttle_rules.PER_ACCOUNT, 30)]
)
def test_a_door_waits_after_its_free_failures_and_a_day_after_a_hundred(policy, free):
    """Five failures (an account from everywhere: thirty) are free, then 1, 2, 4 … 900 s; the
    hundredth closes for a day (NIST).
    """
    waits = [
        throttle_rules.wait_s(policy, n) for n in (free, free + 1, free + 2, free + 3, 60, 99, 100)
    ]
    assert waits == [0, 1, 2, 4, 900, 900, 86_400]


def test_a_quiet_window_starts_the_count_again():
    """After the window without an attempt, the next failure is the first."""
    old = Throttled(50, NOW - timedelta(seconds=throttle_rules.PER_ADDRESS.window_s + 1), None)
    assert throttle_rules.after_attempt(throttle_rules.PER_ADDRESS, old, NOW).failures == 1
    recent = Throttled(50, NOW - timedelta(seconds=10), None)
    after = throttle_rules.after_attempt(throttle_rules.PER_ADDRESS, recent, NOW)
    assert after.failures == 51
    assert after.blocked_until is not None


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
    ],
)
def test_attempts_are_counted_by_network(address, bucket):
    """IPv4 by address, IPv6 by its /64: what one subscriber has."""
    assert throttle_rules.address_bucket(address) == bucket


@given(name=st.text(min_size=0, max_size=120))
def test_a_slug_is_always_usable(name):
    """Whatever an organisation is called, its slug is lower-case ASCII and never empty."""
    slug = organisations_rules.slug_of(name)
    assert slug
    assert len(slug) <= 48
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize(
    "text", ["", "a", "a@", "@b", "a b@c", "a@b@c", "a@b..c", "a@b\n", "a\0@b"]
)
def test_what_is_no_address_is_refused(text):
    """An e-mail address has one @, no white space, no control character, no empty label."""
    if text.strip() != text and "@b" in text.strip():
        assert people_rules.normalise_email(text) == text.strip()
    else:
        with pytest.raises(BadInput):
            people_rules.normalise_email(text)


@pytest.mark.parametrize("text", ["'@[", '"a b"@x.org', "<a>@x.org", "a,b@x.org", "a@[127.0.0.1]"])
def test_an_address_needs_no_quotes(text):
    """What means something else in the header of a letter is no address here."""
    with pytest.raises(BadInput):
        people_rules.normalise_email(text)


def test_addresses_differ_not_in_case():
    """`Ann@Example.ORG ` and `ann@example.org` are one person."""
    assert people_rules.normalise_email(" Ann@Example.ORG ") == "ann@example.org"


def test_scopes_are_known_and_at_least_one():
    """An unknown scope is named; none at all is refused; repetition is not."""
    assert access.parse_scopes(["admin", "metrics:read", "admin"]) == ("metrics:read", "admin")
    with pytest.raises(BadInput, match="metrics:all"):
        access.parse_scopes(["metrics:all"])
    with pytest.raises(BadInput, match="at least one"):
        access.parse_scopes([])
