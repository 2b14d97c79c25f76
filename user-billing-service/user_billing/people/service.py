"""What people do with their accounts: address, password, what is stored of them, leaving.

    asked for ──▶ token (hashed, once, 30 min) ──letter──▶ link ──▶ done, others told
Routes that take an address answer the same, with the same work, whether it has an account.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from user_billing import access
from user_billing.audit import service as audit
from user_billing.challenges import sql as challenges_sql
from user_billing.chassis.clock import Clock
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import BadCode, BadCredentials, Conflict, NotFound
from user_billing.factors import sql as factors_sql
from user_billing.factors.service import Codes
from user_billing.identifiers import new_token
from user_billing.keyring import Keyring
from user_billing.mail.service import Mail
from user_billing.model import Actor, Client, LiveSession, Principal
from user_billing.oidc import sql as oidc_sql
from user_billing.people import rules, sql
from user_billing.people.passwords import Passwords
from user_billing.sessions import sql as sessions_sql
from user_billing.sessions.service import OpenSession, Sessions
from user_billing.throttle.service import Attempt, Throttle

LINK_LIFE = timedelta(minutes=30)
UNDO_LIFE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Link:
    """A token that came by letter, and whose it is."""

    hash: bytes
    row: Row[Any]
    email: str


class People:
    """Accounts of people, as they act on them themselves."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        keyring: Keyring,
        passwords: Passwords,
        throttle: Throttle,
        *,
        sessions: Sessions,
        mail: Mail,
    ) -> None:
        self._database = database
        self._clock = clock
        self._keyring = keyring
        self._passwords = passwords
        self._throttle = throttle
        self._sessions = sessions
        self._mail = mail
        self._codes = Codes(keyring)

    # A new password

    def ask_reset(self, email: str, client: Client) -> None:
        """A letter is on its way if the address has an account; nobody is told whether."""
        self._require_mail()
        email = rules.normalise_email(email)
        # Its own count for the account: asking for letters closes nobody's way to log in.
        self._throttle.admit(email=f"reset {email}", client=client)
        with self._database.directory() as session:
            login = sql.login_of(session, email)
            mute = login is None or login.is_disabled
            user_id = None if login is None or mute else login.person.id
            token = self._new_token(session, "reset", user_id)
            self._mail.put(session, self._mail.letters.reset(email, token), mute=mute)

    def reset(self, token: str, password: str, client: Client, request_id: str | None) -> None:
        """The person has this password; all their sessions have ended, and they log in anew.

        Raises NotFound for a link that is unknown, used or expired; WeakPassword, and then the
        link still works.
        """
        with self._passwords.turn(known=False), self._opened(token, client, "reset") as link:
            rules.check_password(password, context=[link.email])
            password_hash = self._passwords.hash(password)
            now, user_id = self._clock.now(), link.row.user_id
            with self._database.directory() as session:
                sql.lock_person(session, user_id)
                self._spend(session, link)
                sql.set_password(session, user_id, password_hash=password_hash, now=now)
                sql.set_address(session, user_id, link.email, now)
                sql.drop_tokens(session, user_id, "reset")
                challenges_sql.end_of_person(session, user_id)
                self._mail.put(session, self._mail.letters.password_changed(link.email))
                actor = Actor(f"user:{user_id}", request_id)
                self._record(session, user_id, actor, "person.password_reset", now)
                sessions_sql.revoke_of_person(session, user_id, now)

    def change_password(
        self, live: LiveSession, old: str, new: str, client: Client, actor: Actor, *, code: str
    ) -> OpenSession:
        """The person has the new password; this session goes on under a new cookie, others end.

        Raises BadCredentials for another old password.
        """
        email, user_id = live.user.email, live.user.id
        with self._proved(live, old, code, client) as attempt:
            rules.check_password(new, context=[email])
            password_hash = self._passwords.hash(new)
        now = self._clock.now()
        with self._database.directory() as session:
            sql.lock_person(session, user_id)
            attempt.succeeded(session)
            sql.set_password(session, user_id, password_hash=password_hash, now=now)
            sql.drop_tokens(session, user_id, "reset")
            challenges_sql.end_of_person(session, user_id)
            self._mail.put(session, self._mail.letters.password_changed(email))
            opened = self._sessions.open(
                session, live.user, live.organisation_id, live.role, now, continues=live
            )
            sessions_sql.make_fresh(session, opened.live.id, now)
            self._record(session, user_id, actor, "person.password_changed", now)
            sessions_sql.revoke_of_person(session, user_id, now, but=opened.live.id)
        return opened

    def prove_again(self, live: LiveSession, password: str, code: str, client: Client) -> None:
        """The session is fresh: its person has just given their password, and code if any."""
        with self._proved(live, password, code, client) as attempt:
            pass
        with self._database.directory() as session:
            attempt.succeeded(session)
            sessions_sql.make_fresh(session, live.id, self._clock.now())

    # The address

    def ask_verification(self, live: LiveSession) -> None:
        """A letter with a link is on its way to the person's own address."""
        self._require_mail()
        with self._database.directory() as session:
            token = self._new_token(session, "verify", live.user.id, email=live.user.email)
            self._mail.put(session, self._mail.letters.verify(live.user.email, token))

    def verify(self, token: str, client: Client) -> None:
        """The address is the person's. Raises NotFound, also when they have another by now."""
        with self._opened(token, client, "verify") as link:
            if link.row.email != link.email:
                raise NotFound(detail="the account has another address by now")
            with self._database.directory() as session:
                sql.lock_person(session, link.row.user_id)
                self._spend(session, link)
                sql.set_address(session, link.row.user_id, link.email, self._clock.now())

    def ask_address(
        self, principal: Principal, email: str, password: str, code: str, client: Client
    ) -> None:
        """A letter is on its way to the new address, unless it has an account already."""
        self._require_mail()
        access.require_fresh(principal, self._clock.now())
        live = principal.session
        assert live is not None, "the route takes sessions only"
        email = rules.normalise_email(email)
        with self._proved(live, password, code, client) as attempt:
            pass
        with self._database.directory() as session:
            attempt.succeeded(session)
            free = sql.is_address_free(session, email)
            owner = live.user.id if free else None
            token = self._new_token(session, "address", owner, email=email if free else None)
            self._mail.put(session, self._mail.letters.new_address(email, token), mute=not free)

    def confirm_address(self, token: str, client: Client, request_id: str | None) -> None:
        """The account has the address that the link was sent to, or the one that it had before.

        A link of a notice to the old address takes it back: sessions end, the password, second
        factor, identities and later links are void, and a letter leads to a new password. Raises
        NotFound, Conflict.
        """
        with self._opened(token, client, "address", "undo") as link:
            now, user_id, email = self._clock.now(), link.row.user_id, link.row.email
            actor = Actor(f"user:{user_id}", request_id)
            letters = self._mail.letters
            with self._database.directory() as session:
                sql.lock_person(session, user_id)
                self._spend(session, link)
                if not sql.is_address_free(session, email):
                    raise Conflict(detail="another account has this address by now")
                sql.set_address(session, user_id, email, now)
                sql.drop_tokens(session, user_id, "reset", "verify", "address")
                if link.row.purpose == "address":
                    undo = self._new_token(
                        session, "undo", user_id, email=link.email, life=UNDO_LIFE
                    )
                    self._mail.put(session, letters.address_changed(link.email, undo))
                    self._record(session, user_id, actor, "person.address_changed", now)
                    return
                sql.drop_tokens(session, user_id, "undo", since=link.row.created_at)
                sql.remove_credentials(session, user_id, kind="password")
                challenges_sql.end_of_person(session, user_id)
                factors_sql.remove(session, user_id)  # whoever moved the address may have made them
                oidc_sql.unlink_all(session, user_id)
                self._mail.put(
                    session, letters.reset(email, self._new_token(session, "reset", user_id))
                )
                self._record(session, user_id, actor, "person.address_taken_back", now)
                sessions_sql.revoke_of_person(session, user_id, now)

    # Shared steps

    def _require_mail(self) -> None:
        if not self._mail.is_on:
            raise Conflict(detail="this hub sends no mail: ask whoever runs it")

    def _new_token(
        self,
        session: BoundSession,
        purpose: str,
        user_id: UUID | None,
        *,
        email: str | None = None,
        life: timedelta = LINK_LIFE,
    ) -> str:
        token, now = new_token(), self._clock.now()
        token_hash = self._keyring.token_hash("mailed", token)
        sql.add_token(session, token_hash, purpose, user_id, email=email, now=now, life=life)
        return token

    @contextmanager
    def _opened(self, token: str, client: Client, *purposes: str) -> Iterator[Link]:
        """The link behind a token; the attempt counts unless the block succeeds."""
        attempt = self._throttle.admit(email=None, client=client)
        token_hash = self._keyring.token_hash("mailed", token)
        with self._database.directory() as session:
            row = sql.token(session, token_hash, self._clock.now())
            person = None if row is None else sql.account(session, row.user_id)
        if row is None or person is None or person.disabled_at or row.purpose not in purposes:
            raise NotFound(detail="the link is unknown, used or expired: ask for another one")
        yield Link(token_hash, row, person.email)
        with self._database.directory() as session:
            attempt.succeeded(session)

    @staticmethod
    def _spend(session: BoundSession, link: Link) -> None:
        if not sql.spend_token(session, link.hash):
            raise NotFound(detail="the link is unknown, used or expired: ask for another one")

    @contextmanager
    def _proved(
        self, live: LiveSession, password: str, code: str, client: Client
    ) -> Iterator[Attempt]:
        """The attempt of a person who gave their password, and a code if they have a second factor;
        a turn to hash is held in the block.
        """
        email = live.user.email
        with self._passwords.turn(known=self._throttle.device_of(email, client) is not None):
            attempt = self._throttle.admit(email=email, client=client)
            with self._database.directory() as session:
                login = sql.login_of(session, email)
            stored = None if login is None else login.password_hash
            if not self._passwords.verify(stored, password):
                raise BadCredentials
            self._require_code(live, code, client)
            yield attempt

    def _require_code(self, live: LiveSession, code: str, client: Client) -> None:
        """Passes for a code, used from here on, and for who has no second factor."""
        with self._database.directory() as session:
            if not factors_sql.has_confirmed(session, live.user.id):
                return
        attempt = self._throttle.admit(email=live.user.email, client=client, step="code")
        with self._database.directory() as session:
            if not self._codes.accept(session, live.user.id, code, self._clock.now()):
                raise BadCode
            attempt.succeeded(session)

    @staticmethod
    def _record(
        session: BoundSession, user_id: UUID, actor: Actor, action: str, now: datetime
    ) -> None:
        """Every organisation of the person has the event, in one order so that none deadlock."""
        memberships = sql.memberships(session, user_id)
        for org in sorted(m.organisation.id for m in memberships):
            with within(session, org):
                audit.record(session, org, actor, action, f"user:{user_id}", now=now)
