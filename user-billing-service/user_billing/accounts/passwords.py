"""Password hashing with a bound on how much of the machine it may take.

One verification costs about 30 ms of CPU and 19 MiB, so unbounded logins are a denial-of-service
lever: at most `slots` hash at once, a few more wait, all others get 429 at once. No caller holds a
database connection while it is here.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from prometheus_client import Counter

from user_billing.accounts.rules import normalise_password
from user_billing.errors import TooManyAttempts

# OWASP Password Storage Cheat Sheet, second row: m=19 MiB, t=2, p=1.
MEMORY_KIB, PASSES, LANES = 19_456, 2, 1

HASHING_REFUSED = Counter(
    "cloudopshub_billing_hashing_refused_total",
    "Password checks refused because every hashing slot was taken.",
)


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, *, slots: int, queue: int) -> None:
        """slots: hashes at once; queue: callers that may wait for one."""
        self._hasher = PasswordHasher(
            time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID
        )
        self._admitted = threading.BoundedSemaphore(slots + queue)
        self._hashing = threading.BoundedSemaphore(slots)
        self._dummy = self._hasher.hash("a password that nobody has")

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._admitted.acquire(blocking=False):
            HASHING_REFUSED.inc()
            raise TooManyAttempts(retry_after_s=1)
        try:
            with self._hashing:
                yield
        finally:
            self._admitted.release()

    def hash(self, password: str) -> str:
        """The PHC string to store. Raises TooManyAttempts when all slots are taken."""
        with self._slot():
            return self._hasher.hash(normalise_password(password))

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one stored; the same work is done when there is none.

        None (no such account) is verified against a dummy hash, so time tells nothing.
        Raises TooManyAttempts when all slots are taken.
        """
        with self._slot():
            try:
                matches = self._hasher.verify(stored or self._dummy, normalise_password(password))
            except (VerificationError, InvalidHashError):
                return False
        return matches and stored is not None

    def needs_rehash(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)
