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
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import BadCode, BadCredentials, NotAllowed, NotFound
from user_billing.factors import sql as factors_sql
from user_billing.factors.service import Codes
from user_billing.identifiers import new_id, new_token
from user_billing.keyring import Keyring
from user_billing.model import Actor, Client, LiveSession, Membership, Person, Role
from user_billing.organisations import sql as organisations_sql
from user_billing.people import rules as people_rules
from user_billing.people import sql as people_sql
from user_billing.people.passwords import Passwords
from user_billing.sessions import rules, sql
from user_billing.throttle.service import Throttle

LOGINS = Counter("cloudopshub_billing_logins_total", "Log-in attempts answered.", ["outcome"])


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as its owner sees it. cookie, device: set when the browser must store new ones."""

    live: LiveSession
    memberships: tuple[Membership, ...]
    csrf_token: str
    cookie: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A log-in that a code of the second factor completes. challenge: 256 bits."""

    challenge: str


SECOND_STEP = "second step"
"""What the challenge of a log-in is for."""


class Sessions:
    """The life of browser sessions."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        keyring: Keyring,
        passwords: Passwords,
        throttle: Throttle,
    ) -> None:
        self._database = database
        self._clock = clock
        self._keyring = keyring
        self._passwords = passwords
        self._throttle = throttle
        self._codes = Codes(keyring)

    def log_in(
        self, *, email: str, password: str, client: Client, request_id: str | None
    ) -> OpenSession | Pending:
        """A new session in the organisation the person joined first, or the step before it.

        Raises BadCredentials, with one text and the same work, for a wrong address, a wrong
        password and a disabled account; TooManyAttempts when throttled.
        """
        email = people_rules.normalise_email(email)
        with self._passwords.turn(known=self._throttle.device_of(email, client) is not None):
            attempt = self._throttle.admit(email=email, client=client)
            with self._database.directory() as session:
                login = people_sql.login_of(session, email)
            usable = login is not None and not login.is_disabled
            stored = login.password_hash if login is not None and usable else None
            if not self._passwords.verify(stored, password) or login is None:
                LOGINS.labels("refused").inc()
                raise BadCredentials
            renewed = None
            if stored is not None and self._passwords.needs_rehash(stored):
                renewed = self._passwords.hash(password)
        now = self._clock.now()
        with self._database.directory() as session:
            if not people_sql.is_still(session, login):
                raise BadCredentials
            attempt.succeeded(session)
            if renewed is not None:
                people_sql.set_password(session, login.person.id, password_hash=renewed, now=now)
            return self.begin(
                session, login.person, now, client=client, request_id=request_id, by="password"
            )

    def begin(
        self,
        session: BoundSession,
        person: Person,
        now: datetime,
        *,
        client: Client,
        request_id: str | None,
        by: str,
        organisation_id: UUID | None = None,
    ) -> OpenSession | Pending:
        """The one way from a first proof to a session, inside a directory transaction.

        by: what was proved (`password`, a provider's name). organisation_id: where to, else where
        the person was first. Who has a second factor gets a challenge. Raises NotAllowed.
        """
        if factors_sql.has_confirmed(session, person.id):
            challenge = new_token()
            token_hash = self._keyring.token_hash(SECOND_STEP, challenge)
            to = None if organisation_id is None else str(organisation_id)
            challenges_sql.add(session, token_hash, now, user_id=person.id, by=by, to=to)
            return Pending(challenge)
        return self._enter(
            session, person, organisation_id, now, client=client, request_id=request_id, by=by
        )

    def answer(
        self, *, challenge: str, code: str, client: Client, request_id: str | None
    ) -> OpenSession:
        """The session that a challenge and a code give; both are spent.

        Raises BadCode, with one text, for a challenge that is unknown, spent or too old and for a
        code that is wrong or used; TooManyAttempts when throttled.
        """
        token_hash = self._keyring.token_hash(SECOND_STEP, challenge)
        now = self._clock.now()
        with self._database.directory() as session:
            begun = challenges_sql.look_up(session, token_hash, now)
            user_id = None if begun is None else begun.user_id
            person = None if user_id is None else people_sql.person(session, user_id)
        name = "nobody" if person is None else person.email
        attempt = self._throttle.admit(email=name, client=client, step="code")
        with self._database.directory() as session:
            accepted = person and self._codes.accept(session, person.id, code, now)
            begun = challenges_sql.spend(session, token_hash, now) if accepted else None
            if begun is None or person is None:
                LOGINS.labels("refused").inc()
                raise BadCode
            attempt.succeeded(session)
            by, to = f"{begun.detail['by']} and {accepted}", begun.detail["to"]
            org = None if to is None else UUID(to)
            return self._enter(
                session, person, org, now, client=client, request_id=request_id, by=by
            )

    def _enter(
        self,
        session: BoundSession,
        person: Person,
        organisation_id: UUID | None,
        now: datetime,
        *,
        client: Client,
        request_id: str | None,
        by: str,
    ) -> OpenSession:
        belongs_to = people_sql.memberships(session, person.id)
        there = [m for m in belongs_to if m.organisation.id == organisation_id]
        home = next(iter(there or belongs_to), None)
        if home is None:
            LOGINS.labels("no_organisation").inc()
            raise NotAllowed(detail="you belong to no organisation; ask for an invitation")
        org = home.organisation.id
        opened = self.open(session, person, org, home.role, now, client=client)
        actor = Actor(f"user:{person.id}", request_id)
        with within(session, org):
            target = f"session:{opened.live.id}"
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
            expires_at=rules.session_ends(now) if continues is None else continues.expires_at,
            must_enrol=factors_sql.must_enrol(session, organisation_id, person.id),
            network=place[0],
            browser=place[1],
            suspended=organisations_sql.suspension(session, organisation_id),
        )
        cookie = new_token()
        sql.add_session(session, live, token_hash=self._keyring.token_hash("session", cookie))
        memberships = tuple(people_sql.memberships(session, person.id))
        device = None if continues else self._keyring.device_token(person.email, now)
        return OpenSession(live, memberships, self._keyring.csrf_token(live.id), cookie, device)

    def find(self, cookie: str) -> LiveSession | None:
        """The live session of a cookie; its use is noted at most once a minute."""
        now = self._clock.now()
        with self._database.directory() as session:
            live = sql.session_by_token(session, self._keyring.token_hash("session", cookie))
            if live is None or not _is_live(live, now):
                return None
            if now - live.last_seen_at >= rules.SEEN_RESOLUTION:
                sql.touch_session(session, live.id, now)
            return live

    def find_by_id(self, session_id: UUID) -> LiveSession | None:
        """The live session a token names."""
        with self._database.directory() as session:
            live = sql.session_by_id(session, session_id)
        return live if live is not None and _is_live(live, self._clock.now()) else None

    def describe(self, live: LiveSession) -> OpenSession:
        """The session with its organisations and its CSRF token."""
        with self._database.directory() as session:
            memberships = tuple(people_sql.memberships(session, live.user.id))
        return OpenSession(live, memberships, self._keyring.csrf_token(live.id))

    def csrf_token(self, live: LiveSession) -> str:
        """The token that unsafe requests of the session must carry."""
        return self._keyring.csrf_token(live.id)

    def switch(self, live: LiveSession, organisation_id: UUID, actor: Actor) -> OpenSession:
        """A new session in another organisation of the same person; the old one is revoked."""
        now = self._clock.now()
        with self._database.directory() as session:
            memberships = [
                m
                for m in people_sql.memberships(session, live.user.id)
                if m.organisation.id == organisation_id
            ]
            if not memberships:
                raise NotFound(organisation=organisation_id)
            opened = self.open(
                session, live.user, organisation_id, memberships[0].role, now, continues=live
            )
            with within(session, organisation_id):
                target = f"session:{opened.live.id}"
                audit.record(session, organisation_id, actor, "session.entered", target, now=now)
            sql.revoke_session(session, live.id, now)
        return opened

    def renew(self, live: LiveSession, role: Role) -> OpenSession:
        """A new session for the person who has just changed their own role.

        The old one was revoked with that change.
        """
        with self._database.directory() as session:
            return self.open(
                session, live.user, live.organisation_id, role, self._clock.now(), continues=live
            )

    def all(self, user_id: UUID) -> Sequence[RowMapping]:
        """The person's live sessions, newest first."""
        with self._database.directory() as session:
            return sql.live_sessions(session, user_id, self._clock.now())

    def revoke(self, live: LiveSession, session_id: UUID | None, actor: Actor) -> None:
        """The person's session of that id ends; without one, all but `live` do.

        Raises NotFound for a session that is not theirs or has ended.
        """
        now = self._clock.now()
        with self._database.directory() as session:
            with within(session, live.organisation_id):
                target = f"user:{live.user.id}" if session_id is None else f"session:{session_id}"
                audit.record(
                    session, live.organisation_id, actor, "session.revoked", target, now=now
                )
            ended = sql.revoke_of_person(
                session,
                live.user.id,
                now,
                only=session_id,
                but=live.id if session_id is None else None,
            )
            if session_id is not None and not ended:
                raise NotFound(session=session_id)

    def log_out(self, live: LiveSession, actor: Actor) -> None:
        """The session and every token made from it end."""
        now = self._clock.now()
        with self._database.directory() as session:
            with within(session, live.organisation_id):
                target = f"session:{live.id}"
                audit.record(
                    session, live.organisation_id, actor, "session.logout", target, now=now
                )
            sql.revoke_session(session, live.id, now)


def _is_live(live: LiveSession, now: datetime) -> bool:
    return rules.is_session_live(
        last_seen_at=live.last_seen_at, expires_at=live.expires_at, now=now
    )
