"""The first start: the one-time set-up link, and the organisation made without a person.

    UBS_BOOTSTRAP_API_KEY            → organisation `Home` and that key; the link makes its owner
    UBS_BOOTSTRAP_EMAIL + PASSWORD   → organisation, owner; the link is spent
    neither                          → the link makes organisation and owner
Every step holds the lock of the one `setup` row, so replicas that start together do it once.
"""

import hmac
import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db import people as t
from user_billing.db import rows
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import BadInput, Conflict, NotAuthenticated
from user_billing.keyring import Keyring
from user_billing.keys import format as key_format
from user_billing.keys.service import Keys, new_key
from user_billing.members import sql as members_sql
from user_billing.model import Actor, Client, Person, Role, Scope
from user_billing.organisations import rules as organisations_rules
from user_billing.organisations import sql as organisations_sql
from user_billing.organisations.service import create_organisation
from user_billing.people import rules as people_rules
from user_billing.people import sql as people_sql
from user_billing.people.proof import Proofs
from user_billing.sessions.service import OpenSession, Sessions
from user_billing.setup import sql

BOOTSTRAP = Actor("bootstrap")
BOOTSTRAP_KEY_SCOPES = (Scope.METRICS_WRITE, Scope.METRICS_READ, Scope.ANALYSIS_RUN)


@dataclass(frozen=True)
class Bootstrap:
    """What the environment asks for at first start."""

    organisation: str = "Home"
    api_key: str | None = None
    email: str | None = None
    password: str | None = None

    def check(self) -> None:
        """Passes when it could be done. Raises BadInput naming the variable; asks no database."""
        if self.api_key is not None and not key_format.is_well_formed(self.api_key):
            raise BadInput(
                field="UBS_BOOTSTRAP_API_KEY",
                rule="coh_live_, 32 base62 characters, 6 of CRC32 (docs/contracts.md §2)",
            )
        if self.email is not None and self.password is not None:
            email = people_rules.normalise_email(self.email)
            people_rules.check_password(self.password, context=[email])
        organisations_rules.normalise_name(self.organisation, field="UBS_BOOTSTRAP_ORGANISATION")


@dataclass(frozen=True)
class FirstStart:
    """Brings a fresh installation to its first organisation and owner."""

    database: Database
    clock: Clock
    keyring: Keyring
    proofs: Proofs
    sessions: Sessions
    keys: Keys
    chosen_token: str | None

    def is_needed(self) -> bool:
        """Whether the installation still waits for its owner."""
        with self.database.directory() as session:
            state = sql.set_up(session)
        return state is None or state.completed_at is None

    def home_organisation(self) -> UUID | None:
        """The first organisation, which the hub's own metrics belong to."""
        with self.database.directory() as session:
            state = sql.set_up(session)
        return None if state is None else state.home_org

    def bootstrap(self, wanted: Bootstrap) -> str | None:
        """Does what the environment asks, once; the token of the link when it is to be shown now.

        Only the first of all replicas and starts gets the token; a token the operator chose is
        known to them and never returned.
        """
        password_hash = self._hash_if_new(wanted)
        now = self.clock.now()
        with self.database.directory() as session:
            sql.ensure_set_up(session, secrets.token_bytes(32))
            state = sql.set_up(session, lock=True)
            assert state is not None, "the row was ensured a line above"
            home = state.home_org
            if wanted.api_key is not None:
                home = home or self._create_home(session, wanted.organisation, BOOTSTRAP)
                self._ensure_key(session, home, wanted.api_key)
            if wanted.email is not None and password_hash is not None and not state.completed_at:
                home = home or self._create_home(session, wanted.organisation, BOOTSTRAP)
                email = people_rules.normalise_email(wanted.email)
                person = self._add_person(session, email, password_hash)
                self._hand_over(session, home, person, BOOTSTRAP)
                return None
            if state.completed_at or state.announced_at or self.chosen_token is not None:
                return None
            rows.change(session, t.setup, {}, announced_at=now)
            return self.keyring.set_up_token(state.nonce)

    def complete(
        self, token: str, email: str, password: str, organisation: str, client: Client
    ) -> OpenSession:
        """The owner, with a session; the link is spent. Names the first organisation.

        Raises NotAuthenticated for a wrong token, Conflict once the link was used.
        """
        email = people_rules.normalise_email(email)
        name = organisations_rules.normalise_name(organisation, field="organisation")
        with self.proofs.attempt(None, client) as attempt:
            with self.database.directory() as session:
                self._check_token(sql.set_up(session), token)
            people_rules.check_password(password, context=[email, name])
            password_hash = self.proofs.passwords.hash(password)
        now = self.clock.now()
        with self.database.directory() as session:
            state = self._check_token(sql.set_up(session, lock=True), token)
            attempt.succeeded(session)
            person = self._add_person(session, email, password_hash)
            actor, home = Actor(f"user:{person.id}", client.request_id), state.home_org
            if home is None:
                home = self._create_home(session, name, actor)
            else:
                with within(session, home):
                    before = organisations_sql.organisation(session, home)
                    rows.change(session, t.organisation, {"id": home}, name=name)
                    audit.record(
                        session, home, actor, "organisation.renamed", f"organisation:{home}",
                        now=now, before=None if before is None else before.name, after=name,
                    )  # fmt: skip
            self._hand_over(session, home, person, actor)
            return self.sessions.open(session, person, home, Role.OWNER, now, client=client)

    def link_token(self) -> str | None:
        """The token of the link, as long as the installation waits for its owner."""
        with self.database.directory() as session:
            sql.ensure_set_up(session, secrets.token_bytes(32))
            state = sql.set_up(session)
        assert state is not None, "the row was ensured a line above"
        if state.completed_at is not None:
            return None
        return self.chosen_token or self.keyring.set_up_token(state.nonce)

    def _check_token(self, state: Row[Any] | None, token: str) -> Row[Any]:
        """The state of a first start whose link this token is of, and not used."""
        if state is None:
            raise Conflict(detail="the service has not finished its first start", retry_after_s=1)
        expected = self.chosen_token or self.keyring.set_up_token(state.nonce)
        if not hmac.compare_digest(expected.encode(), token.encode()):
            raise NotAuthenticated(detail="the set-up link is not valid")
        if state.completed_at is not None:
            raise Conflict(detail="the set-up link was used: log in instead")
        return state

    def _hash_if_new(self, wanted: Bootstrap) -> str | None:
        """The hash of the owner's password, made before any lock is held, if it may be needed."""
        if wanted.email is None or wanted.password is None or not self.is_needed():
            return None
        return self.proofs.passwords.hash(wanted.password)

    def _create_home(self, session: BoundSession, name: str, actor: Actor) -> UUID:
        name = organisations_rules.normalise_name(name, field="organisation")
        home = create_organisation(session, name, None, actor, self.clock.now()).id
        rows.change(session, t.setup, {}, home_org=home)
        return home

    def _ensure_key(self, session: BoundSession, home: UUID, text: str) -> None:
        now = self.clock.now()
        key = new_key("bootstrap", BOOTSTRAP_KEY_SCOPES, BOOTSTRAP.subject, now, text)
        with within(session, home):
            self.keys.add(session, home, key, BOOTSTRAP)

    def _hand_over(self, session: BoundSession, home: UUID, person: Person, actor: Actor) -> None:
        """The person owns the first organisation; the link is spent."""
        now, target = self.clock.now(), f"user:{person.id}"
        with within(session, home):
            members_sql.add_member(session, home, person.id, Role.OWNER, now)
            audit.record(session, home, actor, "setup.completed", target, now=now)
        rows.change(session, t.setup, {}, completed_at=now)

    def _add_person(self, session: BoundSession, email: str, password_hash: str) -> Person:
        now = self.clock.now()
        person = people_sql.add_person(session, email, now, password_hash=password_hash)
        if person is None:
            raise Conflict(detail="there is an account with this address")
        return person
