"""Derived keys, sealed bytes, identifiers, password hashing and its bound."""

import threading
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.accounts.identifiers import new_id, new_token, uuid7
from user_billing.accounts.keyring import Keyring, SealBroken
from user_billing.accounts.passwords import Passwords
from user_billing.errors import TooManyAttempts

KEYS = Keyring("k" * 32)
OTHER = Keyring("o" * 32)


@given(plain=st.binary(max_size=64), label=st.text(max_size=10))
def test_what_is_sealed_opens_only_under_its_label_and_secret(plain, label):
    """Sealed bytes come back whole; another secret, label or bit refuses them."""
    sealed = KEYS.seal(plain, label=label)
    assert KEYS.open(sealed, label=label) == plain
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for keys, text, data in (
        (OTHER, label, sealed),
        (KEYS, label + "x", sealed),
        (KEYS, label, flipped),
    ):
        with pytest.raises(SealBroken):
            keys.open(data, label=text)


def test_derived_keys_differ_by_purpose():
    """The same text hashes differently for a key, a session and an invitation."""
    hashes = {
        KEYS.api_key_hash("x"),
        KEYS.token_hash("session", "x"),
        KEYS.token_hash("invitation", "x"),
    }
    assert len(hashes) == 3


def test_a_csrf_token_is_of_one_session():
    """Two sessions, or two installations, never share a token."""
    one, two = uuid4(), uuid4()
    assert KEYS.csrf_token(one) == KEYS.csrf_token(one)
    assert len({KEYS.csrf_token(one), KEYS.csrf_token(two), OTHER.csrf_token(one)}) == 3


@given(unix_ms=st.integers(0, 2**48 - 1), bits=st.integers(0, 2**74 - 1))
def test_identifiers_are_version_7_and_sort_by_time(unix_ms, bits):
    """RFC 9562: version 7, variant 10, milliseconds first."""
    made = uuid7(unix_ms, bits)
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert made.int >> 80 == unix_ms


def test_secrets_never_repeat():
    """A thousand identifiers and tokens are a thousand."""
    assert len({new_id() for _ in range(1_000)}) == 1_000
    assert len({new_token() for _ in range(1_000)}) == 1_000


def test_a_password_verifies_only_against_its_own_hash():
    """Right: yes. Wrong: no. No account: no, after the same work. Another normal form: yes."""
    passwords = Passwords(slots=1, queue=0)
    stored = passwords.hash("Zürich am Morgen 7")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.verify(stored, "Zu\u0308rich am Morgen 7")
    assert not passwords.verify(stored, "Zürich am Morgen 8")
    assert not passwords.verify(None, "Zürich am Morgen 7")
    assert not passwords.verify(None, "a password that nobody has")
    assert not passwords.needs_rehash(stored)


def test_hashing_takes_a_bounded_share_of_the_machine():
    """When every slot and every place in the queue is taken, the next caller gets 429 at once."""
    passwords = Passwords(slots=1, queue=1)
    with passwords._slot():
        waiter_done = threading.Event()

        def wait() -> None:
            with passwords._slot():
                waiter_done.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        while passwords._admitted._value:
            pass
        with pytest.raises(TooManyAttempts) as refused:
            passwords.hash("whatever it is, really")
        assert refused.value.facts["retry_after_s"] == 1
        assert not waiter_done.is_set()
    waiter.join(5)
    assert waiter_done.is_set()
