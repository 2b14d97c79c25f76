"""Log-in attempts counted in Postgres, so that every replica closes the same door.

    a browser that logged in to the account before ──▶ its own bucket, and no other
    everybody else ──▶ one address at one account · the account · the address · all together

So what others do, from wherever, never closes the door to a person's own browser. Source: OWASP,
"Slow Down Online Guessing Attacks with Device Cookies". An attempt is counted as a failure before
the password is looked at, in its own short transaction; a success takes it back. The answer to a
throttled attempt depends on what was sent, never on whether the account exists.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from user_billing.chassis.clock import Clock
from user_billing.db.session import Database
from user_billing.errors import TooManyAttempts
from user_billing.keyring import Keyring
from user_billing.model import Client
from user_billing.throttle import rules, sql


@dataclass(frozen=True, slots=True)
class Attempt:
    """The buckets one attempt was counted in: its own, and those it shares with others."""

    own: tuple[str, ...]
    shared: tuple[str, ...] = ()

    def succeeded(self, session: Session) -> None:
        """The own buckets start again from nothing; the shared ones lose this attempt."""
        sql.forgive(session, reset=self.own, step_back=self.shared)


@dataclass(frozen=True)
class Throttle:
    """Admits attempts."""

    database: Database
    clock: Clock
    keyring: Keyring

    def device_of(self, email: str, client: Client) -> str | None:
        """The name of the client's browser when it logged in as `email` before, else None."""
        if client.device is None:
            return None
        return self.keyring.device_of(client.device, email, self.clock.now())

    def admit(self, *, email: str | None, client: Client, step: str = "") -> Attempt:
        """The attempt, counted. Raises TooManyAttempts while one of its buckets is closed.

        email: None where no account is guessed at (set-up). step: of a log-in of several, each
        of which counts for itself. A refused attempt is not counted.
        """
        if email is not None and (device := self.device_of(email, client)) is not None:
            policies = {f"device:{device}{step}": rules.PER_DEVICE}
            attempt = Attempt(tuple(policies))
        else:
            network = rules.address_bucket(client.address)
            policies = {f"address:{network}": rules.PER_ADDRESS, "global": rules.GLOBAL}
            shared = tuple(policies)
            if email is not None:
                name = self.keyring.throttle_name(email) + step
                policies[f"account:{name}"] = rules.PER_ACCOUNT
                policies[f"account:{name}@{network}"] = rules.PER_DEVICE
            attempt = Attempt(tuple(policies.keys() - set(shared)), shared)
        now = self.clock.now()
        with self.database.directory() as session:
            states = sql.lock_throttle(session, list(policies), now)
            wait_s = max(_wait_s(state.blocked_until, now) for state in states.values())
            if wait_s > 0:
                raise TooManyAttempts(retry_after_s=wait_s)
            for bucket, policy in sorted(policies.items()):
                state = rules.after_attempt(policy, states[bucket], now)
                sql.save_throttle(session, bucket, state)
        return attempt


def _wait_s(blocked_until: datetime | None, now: datetime) -> float:
    return 0.0 if blocked_until is None else (blocked_until - now).total_seconds()
