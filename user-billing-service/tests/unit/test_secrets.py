"""Derived keys, sealed bytes, identifiers, password hashing and its bound."""

import contextlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.errors import TooManyAttempts
from user_billing.identifiers import new_id, new_token, uuid7
from user_billing.keyring import Keyring, SealBroken
from user_billing.people.passwords import MEMORY_KIB, Passwords

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


@pytest.mark.parametrize("known", [False, True])
def test_hashing_takes_a_bounded_share_of_the_machine(known):
    """When every slot and every place in the queue is taken, the next caller gets 429 at once;
    strangers and browsers that logged in before do not take each other's places.
    """
    passwords = Passwords(slots=1, queue=1)
    with contextlib.ExitStack() as turns:
        for _ in range(2):
            turns.enter_context(passwords.turn(known=known))
        with pytest.raises(TooManyAttempts) as refused, passwords.turn(known=known):
            pass
        assert refused.value.facts["retry_after_s"] == 1
        with passwords.turn(known=not known):
            pass
    with passwords.turn(known=known):
        pass


FLOOD = """
import threading
from user_billing.people.passwords import MEMORY_KIB, Passwords

def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

passwords = Passwords(slots=2, queue=0)
before, threads = resident_kib(), [
    threading.Thread(target=passwords.verify, args=(None, "wrong wrong wrong")) for _ in range(30)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident_kib() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_the_memory_of_a_flood_is_given_back():
    """After thirty threads hashed, the process holds less than one hash needs more than before."""
    done = subprocess.run(
        [sys.executable, "-c", FLOOD], capture_output=True, text=True, timeout=600, check=True
    )
    assert int(done.stdout) < MEMORY_KIB


DAY = timedelta(days=1)


def test_a_device_is_known_to_one_account_for_ninety_days():
    """A browser's token names it for the address that logged in, in this installation, in time;
    changed anywhere it names nobody.
    """
    now = datetime(2026, 11, 29, tzinfo=UTC)
    token = KEYS.device_token("ann@example.org", now)
    name = KEYS.device_of(token, "ann@example.org", now)
    assert name == KEYS.device_of(token, "ann@example.org", now + 89 * DAY)
    assert name != KEYS.device_of(KEYS.device_token("ann@example.org", now), "ann@example.org", now)
    assert KEYS.device_of(token, "ann@example.org", now + 90 * DAY) is None
    assert KEYS.device_of(token, "bob@example.org", now) is None
    assert OTHER.device_of(token, "ann@example.org", now) is None
    for changed in ("", ".", "..", "x" + token, token[:-1], token.replace(".", "", 1), f"9{token}"):
        assert KEYS.device_of(changed, "ann@example.org", now) is None
