"""Log-in attempts counted in Postgres, so that every replica closes the same door.

An attempt is counted as a failure before the password is looked at, in its own short transaction;
a success takes it back. The answer to a throttled attempt depends on the address and e-mail typed,
never on whether the account exists.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from user_billing.accounts import directory, rules
from user_billing.accounts.keyring import Keyring
from user_billing.chassis.clock import Clock
from user_billing.db.session import Database
from user_billing.errors import TooManyAttempts


@dataclass(frozen=True, slots=True)
class Attempt:
    """The buckets one attempt was counted in."""

    account: str | None
    shared: tuple[str, ...]

    def succeeded(self, session: Session) -> None:
        """The account starts again from nothing; the shared buckets lose this attempt."""
        reset = (self.account,) if self.account is not None else ()
        directory.forgive(session, reset=reset, step_back=self.shared)


class Throttle:
    """Admits attempts."""

    def __init__(self, database: Database, clock: Clock, keyring: Keyring) -> None:
        self._database = database
        self._clock = clock
        self._keyring = keyring

    def admit(self, *, email: str | None, address: str) -> Attempt:
        """The attempt, counted. Raises TooManyAttempts while one of its buckets is closed.

        email: None where no account is guessed at (set-up). A refused attempt is not counted.
        """
        account = None if email is None else f"account:{self._keyring.throttle_name(email)}"
        network = f"address:{rules.address_bucket(address)}"
        policies: dict[str, rules.ThrottlePolicy] = {
            network: rules.PER_ADDRESS,
            "global": rules.GLOBAL,
        }
        if account is not None:
            policies[account] = rules.PER_ACCOUNT
        now = self._clock.now()
        with self._database.directory() as session:
            states = directory.lock_throttle(session, list(policies), now)
            wait_s = max(_wait_s(state.blocked_until, now) for state in states.values())
            if wait_s > 0:
                raise TooManyAttempts(retry_after_s=wait_s)
            for bucket, policy in sorted(policies.items()):
                state = rules.after_attempt(policy, states[bucket], now)
                directory.save_throttle(session, bucket, state)
        return Attempt(account, (network, "global"))


def _wait_s(blocked_until: datetime | None, now: datetime) -> float:
    return 0.0 if blocked_until is None else (blocked_until - now).total_seconds()
