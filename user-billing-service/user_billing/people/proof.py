"""A password proves a person: the steps that log-in, linking, invitations and changes share.

    turn to hash ─▶ attempt counted as a failure ─▶ password checked ─▶ `accept` takes it back
One text and the same work for a wrong address, a wrong password and a disabled account.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from user_billing.db.session import BoundSession, Database
from user_billing.errors import BadCredentials
from user_billing.model import Client, Login
from user_billing.people import sql
from user_billing.people.passwords import Passwords
from user_billing.throttle.service import Attempt, Throttle


@dataclass(frozen=True, slots=True)
class Proved:
    """A person whose password was given, and the attempt that it was counted as."""

    login: Login
    attempt: Attempt

    def accept(self, session: BoundSession) -> None:
        """The attempt was no failure; address and password stay until the transaction ends.

        Raises BadCredentials when one was replaced since: else a log-in that looked at the old
        password would outlive it.
        """
        sql.lock_person(session, self.login.person.id)
        if sql.login_of(session, self.login.person.email) != self.login:
            raise BadCredentials
        self.attempt.succeeded(session)


@dataclass(frozen=True)
class Proofs:
    """Checks passwords of people, slowed down and bounded."""

    database: Database
    passwords: Passwords
    throttle: Throttle

    @contextmanager
    def attempt(self, email: str | None, client: Client) -> Iterator[Attempt]:
        """A turn to hash, held in the block, and the attempt. email: None for no account."""
        is_known = email is not None and self.throttle.device_of(email, client) is not None
        with self.passwords.turn(known=is_known):
            yield self.throttle.admit(email=email, client=client)

    @contextmanager
    def password(self, email: str, password: str, client: Client) -> Iterator[Proved]:
        """The account whose password this is; a turn to hash is held in the block.

        Raises BadCredentials; TooManyAttempts when throttled.
        """
        with self.attempt(email, client) as attempt:
            with self.database.directory() as session:
                login = sql.login_of(session, email)
            stored = None if login is None or login.is_disabled else login.password_hash
            if not self.passwords.verify(stored, password) or login is None:
                raise BadCredentials
            yield Proved(login, attempt)
