"""Second factors of people: set up, confirmed, asked for, ended; required by organisations."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from user_billing import access
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db import people as t
from user_billing.db import rows
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import BadCode, Conflict, NotAllowed, NotFound
from user_billing.factors import rules, sql
from user_billing.keyring import Keyring, SealBroken
from user_billing.members import standing
from user_billing.model import Actor, Client, LiveSession, Principal, Role
from user_billing.people import sql as people_sql
from user_billing.sessions import sql as sessions_sql
from user_billing.throttle.service import Throttle

OPERATOR = Actor("operator")


@dataclass(frozen=True, slots=True)
class FactorState:
    """What a person has. confirmed_at None: no code is asked for. required: by the organisation of
    their session.
    """

    confirmed_at: datetime | None
    recovery_codes_left: int
    required: bool


@dataclass(frozen=True)
class Codes:
    """Accepts codes, inside the transaction of what they open."""

    keyring: Keyring

    def accept(self, session: BoundSession, user_id: UUID, code: str, now: datetime) -> str | None:
        """What the code is (`code`, `recovery code`), used from here on; None for a wrong one."""
        factor = sql.factor_of(session, user_id)
        if factor is None or factor.confirmed_at is None:
            return None
        if self.accept_step(session, user_id, factor, code, now):
            return "code"
        if sql.spend_recovery_code(session, user_id, self.recovery_hash(user_id, code)):
            return "recovery code"
        return None

    def require(self, session: BoundSession, user_id: UUID, code: str, now: datetime) -> None:
        """Passes for a code, used from here on. Raises BadCode."""
        if self.accept(session, user_id, code, now) is None:
            raise BadCode

    def accept_step(
        self, session: BoundSession, user_id: UUID, factor: Row[Any], code: str, now: datetime
    ) -> bool:
        """Whether it is a code of the authenticator; its time step is used from here on."""
        try:
            secret = self.keyring.open(factor.secret_sealed, label=f"totp:{user_id}").decode()
        except SealBroken:  # UBS_SECRET_KEY is another: `operate reset-second-factor` helps
            return False
        code = rules.normalise_code(code)
        step = rules.matching_step(secret, code, now, last_step=factor.last_step)
        if step is not None:
            rows.change(session, t.second_factor, {"user_id": user_id}, last_step=step)
        return step is not None

    def recovery_hash(self, user_id: UUID, code: str) -> bytes:
        """What is stored of a recovery code: 80 bits under a pepper need no slow hash."""
        return self.keyring.token_hash("recovery", f"{user_id}\0{rules.normalise_code(code)}")


@dataclass(frozen=True)
class Factors:
    """The second factor of the caller; each change needs a fresh log-in."""

    database: Database
    clock: Clock
    keyring: Keyring
    throttle: Throttle
    codes: Codes

    def state(self, live: LiveSession) -> FactorState:
        """What the person has now."""
        user_id = live.user.id
        with self.database.directory() as session:
            factor = sql.factor_of(session, user_id)
            return FactorState(
                None if factor is None else factor.confirmed_at,
                sql.recovery_codes_left(session, user_id),
                live.organisation_id in sql.requiring_organisations(session, user_id),
            )

    def begin(self, principal: Principal) -> str:
        """A new secret, which counts once `confirm` was given a code of it. Raises Conflict."""
        live, now = _fresh(principal, self.clock.now())
        secret = rules.new_secret()
        sealed = self.keyring.seal(secret.encode(), label=f"totp:{live.user.id}")
        with self.database.directory() as session:
            if not sql.begin(session, live.user.id, sealed, now):
                raise Conflict(detail="you have a second factor: disable it first")
        return secret

    def confirm(self, principal: Principal, code: str, client: Client) -> list[str]:
        """The authenticator counts from here on; the recovery codes, at their only moment."""
        with self._change(principal, client, "second_factor.enabled") as (session, user_id, now):
            factor = sql.factor_of(session, user_id)
            if factor is None or factor.confirmed_at is not None:
                raise Conflict(detail="there is nothing to confirm: begin anew")
            if not self.codes.accept_step(session, user_id, factor, code, now):
                raise BadCode
            rows.change(session, t.second_factor, {"user_id": user_id}, confirmed_at=now)
            return self._new_recovery_codes(session, user_id)

    def renew_recovery_codes(self, principal: Principal, code: str, client: Client) -> list[str]:
        """Ten new recovery codes; the old ones are void."""
        action = "second_factor.recovery_codes"
        with self._change(principal, client, action) as (session, user_id, now):
            self.codes.require(session, user_id, code, now)
            return self._new_recovery_codes(session, user_id)

    def disable(self, principal: Principal, code: str, client: Client) -> None:
        """No second factor; where one is required the person's sessions end."""
        with self._change(principal, client, "second_factor.disabled") as (session, user_id, now):
            self.codes.require(session, user_id, code, now)
            sql.remove(session, user_id)
            rows.drop(session, t.challenge, user_id=user_id)
        with self.database.directory() as session:
            self._end_where_required(session, user_id, now)

    def reset(self, email: str) -> None:
        """The operator's way for who lost authenticator and recovery codes. Raises NotFound."""
        now = self.clock.now()
        with self.database.directory() as session:
            login = people_sql.login_of(session, email)
            if login is None or sql.factor_of(session, login.person.id) is None:
                raise NotFound(detail="this person has no second factor", email=email)
            user_id = login.person.id
            sql.remove(session, user_id)
            rows.drop(session, t.challenge, user_id=user_id)
            audit.record_of_person(session, user_id, OPERATOR, "second_factor.reset", now)
            self._end_where_required(session, user_id, now)

    def require(self, principal: Principal, required: bool) -> None:
        """Members need a second factor, or no longer; who lacks it may only set it up.

        Only an owner with a second factor of their own says so. Sessions of members without one
        end, and their tokens with them, within the published bound.
        """
        now = self.clock.now()
        access.require_fresh(principal, now)
        if principal.role is not Role.OWNER or principal.user_id is None:
            raise NotAllowed(needs="role owner")
        org = principal.tenant
        with self.database.directory() as session:
            if required and not sql.has_confirmed(session, principal.user_id):
                raise Conflict(detail="set up your own second factor first")
            with within(session, org):
                standing.require(session, principal)
                if not sql.set_required(session, org, required):
                    return
                audit.record(
                    session, org, principal.actor, "organisation.second_factor",
                    f"organisation:{org}", now=now, required=str(required).lower(),
                )  # fmt: skip
            for user_id in sql.members_without(session, org) if required else ():
                sessions_sql.revoke(session, user_id, now, org=org)

    @contextmanager
    def _change(
        self, principal: Principal, client: Client, action: str
    ) -> Iterator[tuple[BoundSession, UUID, datetime]]:
        """A transaction for what a code allows, with its audit event; attempts are throttled."""
        live, now = _fresh(principal, self.clock.now())
        attempt = self.throttle.admit(email=live.user.email, client=client, step="code")
        org, target = live.organisation_id, f"user:{live.user.id}"
        with self.database.directory() as session:
            yield session, live.user.id, now
            attempt.succeeded(session)
            with within(session, org):
                audit.record(session, org, principal.actor, action, target, now=now)

    def _new_recovery_codes(self, session: BoundSession, user_id: UUID) -> list[str]:
        codes = [rules.new_recovery_code() for _ in range(rules.RECOVERY_CODES)]
        hashes = [self.codes.recovery_hash(user_id, code) for code in codes]
        sql.replace_recovery_codes(session, user_id, hashes)
        return codes

    @staticmethod
    def _end_where_required(session: BoundSession, user_id: UUID, now: datetime) -> None:
        for org in sql.requiring_organisations(session, user_id):
            sessions_sql.revoke(session, user_id, now, org=org)


def _fresh(principal: Principal, now: datetime) -> tuple[LiveSession, datetime]:
    """The caller's session, which is fresh, and the time. Raises NotAllowed, LoginNotFresh."""
    access.require_fresh(principal, now)
    if principal.session is None:
        raise NotAllowed(needs="a person's session")
    return principal.session, now
