"""Password hashing with a bound on how much of the machine it may take.

One verification costs about 30 ms of CPU and 19 MiB, so unbounded logins are a denial-of-service
lever: at most `slots` hash at once, a few more wait, all others get 429 at once. Browsers that
logged in before have a queue of their own, so a flood of strangers does not turn them away. No
caller holds a database connection while it is here.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from prometheus_client import Counter

from user_billing.errors import TooManyAttempts
from user_billing.people.rules import normalise_password

MEMORY_KIB, PASSES, LANES = 19_456, 2, 1

M_MMAP_THRESHOLD = -3

RETURNED_BYTES = 4 * 1024 * 1024

HASHING_REFUSED = Counter(
    "cloudopshub_billing_hashing_refused_total",
    "Password checks refused because every hashing slot was taken.",
)


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, *, slots: int, queue: int) -> None:
        """slots: hashes at once; queue: callers of each kind that may wait for one."""
        return_freed_blocks()
        self._hasher = PasswordHasher(
            time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID
        )
        self._turns = {known: threading.BoundedSemaphore(slots + queue) for known in (False, True)}
        self._hashing = threading.BoundedSemaphore(slots)
        self._dummy = self._hasher.hash("a password that nobody has")

    @contextmanager
    def turn(self, *, known: bool) -> Iterator[None]:
        """The right to hash, for a whole attempt. Raises TooManyAttempts when all are given.

        known: for a browser that logged in to the account before. Taken before an attempt is
        counted, so that a flood waits in neither threads nor the database.
        """
        if not self._turns[known].acquire(blocking=False):
            HASHING_REFUSED.inc()
            raise TooManyAttempts(retry_after_s=1)
        try:
            yield
        finally:
            self._turns[known].release()

    def hash(self, password: str) -> str:
        """The PHC string to store."""
        with self._hashing:
            return self._hasher.hash(normalise_password(password))

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one stored; the same work is done when there is none.

        None (no such account) is verified against a dummy hash, so time tells nothing.
        """
        with self._hashing:
            try:
                matches = self._hasher.verify(stored or self._dummy, normalise_password(password))
            except (VerificationError, InvalidHashError):
                return False
        return matches and stored is not None

    def needs_rehash(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)


def return_freed_blocks() -> None:
    """What a hash took goes back to the system when it ends.

    glibc raises the size from which it does so to that of the largest block freed so far, and then
    keeps 19 MiB for each thread that ever hashed: 318 MB after 40 threads, 14 MB with this, at the
    same CPU. Other C libraries have no such threshold.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, RETURNED_BYTES)
