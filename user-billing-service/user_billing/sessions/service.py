"""Browser sessions: log in, look up, change organisation, log out.

    cookie (256 bits) ──HMAC──▶ session row ──membership──▶ role now
Who has a second factor gets no session for a password or a provider's word, but a challenge
(`begin`): a token of five minutes that only `answer` takes, together with a code.
A change of organisation or role gives a new session and revokes the old one, so that a stolen
cookie never grows in power and tokens made from the old session die within the published bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import RowMapping

from user_billing.audit import service as audit
from user_billing.challenges import sql as challenges_sql
from user_billing.chassis.clock import Clock
from user_billing.db import people as t
from user_billing.db import rows
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import BadCode, BadCredentials, NotAllowed, NotFound
from user_billing.factors import sql as factors_sql
from user_billing.factors.service import Codes
from user_billing.identifiers import new_id, new_token
from user_billing.keyring import Keyring
from user_billing.model import Actor, Client, LiveSession, Organisation, Person, Role
from user_billing.organisations import sql as organisations_sql
from user_billing.people import rules as people_rules
from user_billing.people import sql as people_sql
from user_billing.people.proof import Proofs
from user_billing.sessions import rules, sql

LOGINS = Counter("cloudopshub_billing_logins_total", "Log-in attempts answered.", ["outcome"])


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as its owner sees it. cookie, device: set when the browser must store new ones."""

    live: LiveSession
    organisations: list[Organisation]
    csrf_token: str
    cookie: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A log-in that a code of the second factor completes. challenge: 256 bits."""

    challenge: str


SECOND_STEP = "second step"
"""What the challenge of a log-in is for."""


@dataclass(frozen=True)
class Sessions:
    """The life of browser sessions."""

    database: Database
    clock: Clock
    keyring: Keyring
    proofs: Proofs
    codes: Codes

    def log_in(self, email: str, password: str, client: Client) -> OpenSession | Pending:
        """A new session in the organisation the person joined first, or the step before it.

        Raises BadCredentials, with one text and the same work, for a wrong address, a wrong
        password and a disabled account; TooManyAttempts when throttled.
        """
        email = people_rules.normalise_email(email)
        passwords, renewed = self.proofs.passwords, None
        try:
            with self.proofs.password(email, password, client) as proved:
                if passwords.needs_rehash(proved.login.password_hash or ""):
                    renewed = passwords.hash(password)
        except BadCredentials:
            LOGINS.labels("refused").inc()
            raise
        person, now = proved.login.person, self.clock.now()
        with self.database.directory() as session:
            proved.accept(session)
            if renewed is not None:
                people_sql.set_password(session, person.id, password_hash=renewed, now=now)
            return self.begin(session, person, now, client, by="password")

    def begin(
        self,
        session: BoundSession,
        person: Person,
        now: datetime,
        client: Client,
        *,
        by: str,
        organisation_id: UUID | None = None,
    ) -> OpenSession | Pending:
        """The one way from a first proof to a session, inside a directory transaction.

        by: what was proved (`password`, a provider's name). organisation_id: where to, else where
        the person was first. Who has a second factor gets a challenge. Raises NotAllowed.
        """
        if factors_sql.has_confirmed(session, person.id):
            challenge = new_token()
            token_hash = self.keyring.token_hash(SECOND_STEP, challenge)
            to = None if organisation_id is None else str(organisation_id)
            challenges_sql.add(session, token_hash, now, user_id=person.id, by=by, to=to)
            return Pending(challenge)
        return self._enter(session, person, organisation_id, now, client=client, by=by)

    def answer(self, challenge: str, code: str, client: Client) -> OpenSession:
        """The session that a challenge and a code give; both are spent.

        Raises BadCode, with one text, for a challenge that is unknown, spent or too old and for a
        code that is wrong or used; TooManyAttempts when throttled.
        """
        token_hash = self.keyring.token_hash(SECOND_STEP, challenge)
        now = self.clock.now()
        with self.database.directory() as session:
            begun = challenges_sql.look_up(session, token_hash, now)
            user_id = None if begun is None else begun.user_id
            person = None if user_id is None else people_sql.person(session, user_id)
        name = "nobody" if person is None else person.email
        attempt = self.proofs.throttle.admit(email=name, client=client, step="code")
        with self.database.directory() as session:
            accepted = person and self.codes.accept(session, person.id, code, now)
            begun = challenges_sql.spend(session, token_hash, now) if accepted else None
            if begun is None or person is None:
                LOGINS.labels("refused").inc()
                raise BadCode
            attempt.succeeded(session)
            by, to = f"{begun.detail['by']} and {accepted}", begun.detail["to"]
            return self._enter(session, person, UUID(to) if to else None, now, client=client, by=by)

    def _enter(
        self,
        session: BoundSession,
        person: Person,
        organisation_id: UUID | None,
        now: datetime,
        *,
        client: Client,
        by: str,
    ) -> OpenSession:
        roles = {m.organisation.id: m.role for m in people_sql.memberships(session, person.id)}
        org = organisation_id if organisation_id in roles else next(iter(roles), None)
        if org is None:
            LOGINS.labels("no_organisation").inc()
            raise NotAllowed(detail="you belong to no organisation; ask for an invitation")
        opened = self.open(session, person, org, roles[org], now, client=client)
        actor, target = Actor(f"user:{person.id}", client.request_id), f"session:{opened.live.id}"
        with within(session, org):
            audit.record(session, org, actor, "session.login", target, now=now, by=by)
        LOGINS.labels("accepted").inc()
        return opened

    def open(
        self,
        session: BoundSession,
        person: Person,
        organisation_id: UUID,
        role: Role,
        now: datetime,
        *,
        client: Client | None = None,
        continues: LiveSession | None = None,
    ) -> OpenSession:
        """A new session inside a directory transaction.

        client: where it is opened. continues: the session it replaces, whose place, freshness and
        absolute end it keeps.
        """
        place: tuple[str | None, str | None] = (None, None)
        if continues is not None:
            place = continues.network, continues.browser
        elif client is not None:
            place = rules.network(client.address), client.browser
        live = LiveSession(
            id=new_id(),
            user=person,
            organisation_id=organisation_id,
            role=role,
            fresh_at=now if continues is None else continues.fresh_at,
            last_seen_at=now,
            expires_at=continues.expires_at if continues else now + rules.SESSION_ABSOLUTE,
            must_enrol=factors_sql.must_enrol(session, organisation_id, person.id),
            network=place[0],
            browser=place[1],
            suspended=organisations_sql.suspension(session, organisation_id),
        )
        cookie = new_token()
        sql.add_session(session, live, token_hash=self.keyring.token_hash("session", cookie))
        device = None if continues else self.keyring.device_token(person.email, now)
        return self._seen_by_owner(session, live, cookie, device)

    def _seen_by_owner(
        self,
        session: BoundSession,
        live: LiveSession,
        cookie: str | None = None,
        device: str | None = None,
    ) -> OpenSession:
        organisations = [m.organisation for m in people_sql.memberships(session, live.user.id)]
        return OpenSession(live, organisations, self.csrf_token(live), cookie, device)

    def find(self, cookie: str) -> LiveSession | None:
        """The live session of a cookie; its use is noted at most once a minute."""
        now, token_hash = self.clock.now(), self.keyring.token_hash("session", cookie)
        with self.database.directory() as session:
            live = sql.live_session(session, now, token_hash=token_hash)
            if live is not None and now - live.last_seen_at >= rules.SEEN_RESOLUTION:
                rows.change(session, t.session, {"id": live.id}, last_seen_at=now)
            return live

    def find_by_id(self, session_id: UUID) -> LiveSession | None:
        """The live session a token names."""
        with self.database.directory() as session:
            return sql.live_session(session, self.clock.now(), session_id=session_id)

    def describe(self, live: LiveSession) -> OpenSession:
        """The session with its organisations and its CSRF token."""
        with self.database.directory() as session:
            return self._seen_by_owner(session, live)

    def csrf_token(self, live: LiveSession) -> str:
        """The token that unsafe requests of the session must carry."""
        return self.keyring.csrf_token(live.id)

    def switch(self, live: LiveSession, organisation_id: UUID, actor: Actor) -> OpenSession:
        """A new session in another organisation of the same person; the old one is revoked."""
        now, org = self.clock.now(), organisation_id
        with self.database.directory() as session:
            belongs_to = people_sql.memberships(session, live.user.id)
            role = next((m.role for m in belongs_to if m.organisation.id == org), None)
            if role is None:
                raise NotFound(organisation=org)
            opened = self.open(session, live.user, org, role, now, continues=live)
            with within(session, org):
                target = f"session:{opened.live.id}"
                audit.record(session, org, actor, "session.entered", target, now=now)
            sql.revoke(session, live.user.id, now, only=live.id)
        return opened

    def renew(self, live: LiveSession, role: Role) -> OpenSession:
        """A new session for the person who has just changed their own role.

        The old one was revoked with that change.
        """
        now, org = self.clock.now(), live.organisation_id
        with self.database.directory() as session:
            return self.open(session, live.user, org, role, now, continues=live)

    def all(self, user_id: UUID) -> Sequence[RowMapping]:
        """The person's live sessions, newest first."""
        with self.database.directory() as session:
            return sql.live_sessions(session, user_id, self.clock.now())

    def revoke(
        self, live: LiveSession, actor: Actor, *, only: UUID | None = None, but: UUID | None = None
    ) -> None:
        """The person's session `only` ends, or all `but` one do, with every token made from them.

        Raises NotFound for a session that is not theirs or has ended.
        """
        now, org = self.clock.now(), live.organisation_id
        action = "session.logout" if only == live.id else "session.revoked"
        target = f"user:{live.user.id}" if only is None else f"session:{only}"
        with self.database.directory() as session:
            with within(session, org):
                audit.record(session, org, actor, action, target, now=now)
            if not sql.revoke(session, live.user.id, now, only=only, but=but) and only is not None:
                raise NotFound(session=only)
