"""The first start: the one-time set-up link, and the organisation made without a person.

    UBS_BOOTSTRAP_API_KEY            → organisation `Home` and that key; the link makes its owner
    UBS_BOOTSTRAP_EMAIL + PASSWORD   → organisation, owner; the link is spent
    neither                          → the link makes organisation and owner
Every step holds the lock of the one `setup` row, so replicas that start together do it once.
"""

import hmac
import secrets
from dataclasses import dataclass
from uuid import UUID

from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import BadInput, Conflict, NotAuthenticated
from user_billing.identifiers import new_id
from user_billing.keyring import PEPPER_VERSION, Keyring
from user_billing.keys import format as key_format
from user_billing.keys import sql as keys_sql
from user_billing.members import sql as members_sql
from user_billing.model import Actor, ApiKey, Client, Organisation, Person, Role
from user_billing.organisations import rules as organisations_rules
from user_billing.organisations import sql as organisations_sql
from user_billing.organisations.service import create_organisation
from user_billing.people import rules as people_rules
from user_billing.people import sql as people_sql
from user_billing.people.passwords import Passwords
from user_billing.sessions.service import OpenSession, Sessions
from user_billing.setup import rules, sql
from user_billing.setup.sql import SetUp
from user_billing.throttle.service import Throttle

BOOTSTRAP = Actor("bootstrap")


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


class FirstStart:
    """Brings a fresh installation to its first organisation and owner."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        keyring: Keyring,
        passwords: Passwords,
        throttle: Throttle,
        *,
        sessions: Sessions,
        chosen_token: str | None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._keyring = keyring
        self._passwords = passwords
        self._throttle = throttle
        self._sessions = sessions
        self._chosen_token = chosen_token

    def is_needed(self) -> bool:
        """Whether the installation still waits for its owner."""
        with self._database.directory() as session:
            state = sql.set_up(session)
        return state is None or state.completed_at is None

    def home_organisation(self) -> UUID | None:
        """The first organisation, which the hub's own metrics belong to."""
        with self._database.directory() as session:
            state = sql.set_up(session)
        return None if state is None else state.home_organisation_id

    def bootstrap(self, wanted: Bootstrap) -> str | None:
        """Does what the environment asks, once; the token of the link when it is to be shown now.

        Only the first of all replicas and starts gets the token; a token the operator chose is
        known to them and never returned.
        """
        password_hash = self._hash_if_new(wanted)
        now = self._clock.now()
        with self._database.directory() as session:
            sql.ensure_set_up(session, secrets.token_bytes(32))
            state = sql.set_up(session, lock=True)
            assert state is not None, "the row was ensured a line above"
            home = state.home_organisation_id
            if wanted.api_key is not None:
                home = home or self._create_home(session, wanted.organisation)
                self._ensure_key(session, home, wanted.api_key)
            if wanted.email is not None and password_hash is not None and not state.completed_at:
                home = home or self._create_home(session, wanted.organisation)
                self._ensure_owner(session, home, wanted.email, password_hash)
                sql.mark_set_up(session, now)
                return None
            if state.completed_at or state.announced_at or self._chosen_token is not None:
                return None
            sql.mark_announced(session, now)
            return self._keyring.set_up_token(state.nonce)

    def complete(
        self, *, token: str, email: str, password: str, organisation: str, client: Client,
        request_id: str | None,
    ) -> OpenSession:  # fmt: skip
        """The owner, with a session; the link is spent. Names the first organisation.

        Raises NotAuthenticated for a wrong token, Conflict once the link was used.
        """
        email = people_rules.normalise_email(email)
        name = organisations_rules.normalise_name(organisation, field="organisation")
        with self._passwords.turn(known=False):
            attempt = self._throttle.admit(email=None, client=client)
            with self._database.directory() as session:
                self._check_token(sql.set_up(session), token)
            people_rules.check_password(password, context=[email, name])
            password_hash = self._passwords.hash(password)
        now = self._clock.now()
        with self._database.directory() as session:
            state = sql.set_up(session, lock=True)
            self._check_token(state, token)
            assert state is not None, "a token was checked against it"
            attempt.succeeded(session)
            person = self._add_person(session, email, password_hash)
            actor = Actor(f"user:{person.id}", request_id)
            home = state.home_organisation_id
            if home is None:
                home = create_organisation(
                    session, name=name, owner_id=person.id, actor=actor, clock=self._clock
                ).id
                sql.mark_home(session, home)
            else:
                with within(session, home):
                    before = organisations_sql.organisation(session, home)
                    organisations_sql.rename(session, home, name=name)
                    members_sql.add_member(session, home, person.id, Role.OWNER, now)
                    audit.record(
                        session,
                        home,
                        actor,
                        "organisation.renamed",
                        f"organisation:{home}",
                        now=now,
                        before=None if before is None else before.name,
                        after=name,
                    )
            with within(session, home):
                target = f"user:{person.id}"
                audit.record(session, home, actor, "setup.completed", target, now=now)
            sql.mark_set_up(session, now)
            return self._sessions.open(session, person, home, Role.OWNER, now, client=client)

    def link_token(self) -> str | None:
        """The token of the link, as long as the installation waits for its owner."""
        with self._database.directory() as session:
            sql.ensure_set_up(session, secrets.token_bytes(32))
            state = sql.set_up(session)
        assert state is not None, "the row was ensured a line above"
        if state.completed_at is not None:
            return None
        return self._chosen_token or self._keyring.set_up_token(state.nonce)

    def _check_token(self, state: SetUp | None, token: str) -> None:
        if state is None:
            raise Conflict(detail="the service has not finished its first start", retry_after_s=1)
        expected = self._chosen_token or self._keyring.set_up_token(state.nonce)
        if not hmac.compare_digest(expected.encode(), token.encode()):
            raise NotAuthenticated(detail="the set-up link is not valid")
        if state.completed_at is not None:
            raise Conflict(detail="the set-up link was used: log in instead")

    def _hash_if_new(self, wanted: Bootstrap) -> str | None:
        """The hash of the owner's password, made before any lock is held, if it may be needed."""
        if wanted.email is None or wanted.password is None or not self.is_needed():
            return None
        return self._passwords.hash(wanted.password)

    def _create_home(self, session: BoundSession, name: str) -> UUID:
        home: Organisation = create_organisation(
            session,
            name=organisations_rules.normalise_name(name, field="organisation"),
            owner_id=None,
            actor=BOOTSTRAP,
            clock=self._clock,
        )
        sql.mark_home(session, home.id)
        return home.id

    def _ensure_key(self, session: BoundSession, home: UUID, text: str) -> None:
        now = self._clock.now()
        key = ApiKey(
            id=new_id(),
            name="bootstrap",
            start=key_format.start_of(text),
            scopes=rules.BOOTSTRAP_KEY_SCOPES,
            created_at=now,
            created_by=BOOTSTRAP.subject,
            last_used_at=None,
            expires_at=None,
            revoked_at=None,
        )
        with within(session, home):
            added = keys_sql.add_key(
                session,
                home,
                key,
                key_hash=self._keyring.api_key_hash(text),
                pepper_version=PEPPER_VERSION,
            )
            if added:
                audit.record(
                    session,
                    home,
                    BOOTSTRAP,
                    "key.created",
                    f"key:{key.id}",
                    now=now,
                    name=key.name,
                    start=key.start,
                    scopes=[scope.value for scope in key.scopes],
                )

    def _ensure_owner(
        self, session: BoundSession, home: UUID, email: str, password_hash: str
    ) -> None:
        now = self._clock.now()
        person = self._add_person(session, people_rules.normalise_email(email), password_hash)
        with within(session, home):
            members_sql.add_member(session, home, person.id, Role.OWNER, now)
            target = f"user:{person.id}"
            audit.record(session, home, BOOTSTRAP, "setup.completed", target, now=now)

    def _add_person(self, session: BoundSession, email: str, password_hash: str) -> Person:
        person = Person(new_id(), email)
        added = people_sql.add_person(
            session, person, password_hash=password_hash, now=self._clock.now()
        )
        if added is None:
            raise Conflict(detail="there is an account with this address")
        return added
