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
from user_billing.chassis.clock import Clock
from user_billing.db import people as t
from user_billing.db import rows
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import Conflict, NotFound
from user_billing.factors import sql as factors_sql
from user_billing.factors.service import Codes
from user_billing.identifiers import new_token
from user_billing.keyring import Keyring
from user_billing.keys import sql as keys_sql
from user_billing.mail.rules import other_ways
from user_billing.mail.service import Mail
from user_billing.model import Actor, Client, LiveSession, Principal
from user_billing.oidc import sql as oidc_sql
from user_billing.people import rules, sql
from user_billing.people.proof import Proofs, Proved
from user_billing.sessions import sql as sessions_sql
from user_billing.sessions.service import OpenSession, Sessions

LINK_LIFE = timedelta(minutes=30)
UNDO_LIFE = timedelta(days=7)
BAD_LINK = "the link is unknown, used or expired: ask for another one"


@dataclass(frozen=True)
class People:
    """Accounts of people, as they act on them themselves."""

    database: Database
    clock: Clock
    keyring: Keyring
    proofs: Proofs
    codes: Codes
    sessions: Sessions
    mail: Mail

    # A new password

    def ask_reset(self, email: str, client: Client) -> None:
        """A letter is on its way if the address has an account; nobody is told whether."""
        self._require_mail()
        email = rules.normalise_email(email)
        # Its own count for the account: asking for letters closes nobody's way to log in.
        self.proofs.throttle.admit(email=f"reset {email}", client=client)
        with self.database.directory() as session:
            login = sql.login_of(session, email)
            user_id = None if login is None or login.is_disabled else login.person.id
            token = self._new_token(session, "reset", user_id)
            self.mail.write(session, "reset", email, token=token, mute=user_id is None)

    def reset(self, token: str, password: str, client: Client) -> None:
        """The person has this password; all their sessions have ended, and they log in anew.

        A letter names what else opens the account: that stays as it is. Raises NotFound for a link
        that is unknown, used or expired; WeakPassword, and then the link still works.
        """
        passwords = self.proofs.passwords
        with passwords.turn(known=False), self._opened(token, client, "reset") as link:
            rules.check_password(password, context=[link.address])
            password_hash, user_id = passwords.hash(password), link.user_id
            now, actor = self.clock.now(), Actor(f"user:{user_id}", client.request_id)
            with self.database.directory() as session:
                self._spend(session, token, user_id)
                rows.change(session, t.user_account, {"id": user_id}, email_verified_at=now)
                self._replace_password(session, user_id, link.address, password_hash)
                audit.record_of_person(session, user_id, actor, "person.password_reset", now)
                sessions_sql.revoke(session, user_id, now)

    def change_password(
        self, live: LiveSession, old: str, new: str, *, code: str, client: Client, actor: Actor
    ) -> OpenSession:
        """The person has the new password; this session goes on under a new cookie, others end.

        Raises BadCredentials for another old password.
        """
        user, org = live.user, live.organisation_id
        with self._proved(live, old, code, client) as proved:
            rules.check_password(new, context=[user.email])
            password_hash = self.proofs.passwords.hash(new)
        now = self.clock.now()
        with self.database.directory() as session:
            proved.accept(session)
            self._replace_password(session, user.id, user.email, password_hash)
            opened = self.sessions.open(session, user, org, live.role, now, continues=live)
            rows.change(session, t.session, {"id": opened.live.id}, fresh_at=now)
            audit.record_of_person(session, user.id, actor, "person.password_changed", now)
            sessions_sql.revoke(session, user.id, now, but=opened.live.id)
        return opened

    def _replace_password(
        self, session: BoundSession, user_id: UUID, email: str, password_hash: str
    ) -> None:
        """The password is another, what was begun with the old one has ended; a letter says so."""
        sql.set_password(session, user_id, password_hash=password_hash, now=self.clock.now())
        sql.drop_tokens(session, user_id, "reset")
        rows.drop(session, t.challenge, user_id=user_id)
        ways = [
            f"log-in with {one.provider}, linked on {one.linked_at:%Y-%m-%d}"
            for one in oidc_sql.identities(session, user_id)
        ]
        for membership in sql.memberships(session, user_id):
            organisation = membership.organisation
            with within(session, organisation.id):
                maker, now = f"user:{user_id}", self.clock.now()
                keys = keys_sql.keys(session, organisation.id, made_by=maker, living_at=now)
            ways += [f"API key {key.name} ({key.start}…) of {organisation.name}" for key in keys]
        self.mail.write(session, "password_changed", email, others=other_ways(ways))

    def prove_again(self, live: LiveSession, password: str, code: str, client: Client) -> None:
        """The session is fresh: its person has just given their password, and code if any."""
        with self._proved(live, password, code, client) as proved:
            pass
        with self.database.directory() as session:
            proved.accept(session)
            rows.change(session, t.session, {"id": live.id}, fresh_at=self.clock.now())

    # The address

    def ask_verification(self, live: LiveSession) -> None:
        """A letter with a link is on its way to the person's own address."""
        self._require_mail()
        with self.database.directory() as session:
            token = self._new_token(session, "verify", live.user.id, email=live.user.email)
            self.mail.write(session, "verify", live.user.email, token=token)

    def verify(self, token: str, client: Client) -> None:
        """The address is the person's. Raises NotFound, also when they have another by now."""
        with self._opened(token, client, "verify") as link:
            if link.email != link.address:
                raise NotFound(detail="the account has another address by now")
            with self.database.directory() as session:
                self._spend(session, token, link.user_id)
                _prove_address(session, link.user_id, link.email, self.clock.now())

    def ask_address(
        self, principal: Principal, email: str, password: str, code: str, client: Client
    ) -> None:
        """A letter is on its way to the new address, unless it has an account already."""
        self._require_mail()
        access.require_fresh(principal, self.clock.now())
        live = principal.session
        assert live is not None, "the route takes sessions only"
        email = rules.normalise_email(email)
        with self._proved(live, password, code, client) as proved:
            pass
        with self.database.directory() as session:
            proved.accept(session)
            is_free = sql.login_of(session, email) is None
            owner = live.user.id if is_free else None
            token = self._new_token(session, "address", owner, email=email if is_free else None)
            self.mail.write(session, "new_address", email, token=token, mute=not is_free)

    def confirm_address(self, token: str, client: Client) -> None:
        """The account has the address that the link was sent to, or the one that it had before.

        A link of a notice to the old address takes it back. Raises NotFound, Conflict.
        """
        with self._opened(token, client, "address", "undo") as link:
            now, user_id = self.clock.now(), link.user_id
            actor = Actor(f"user:{user_id}", client.request_id)
            with self.database.directory() as session:
                self._spend(session, token, user_id)
                if sql.login_of(session, link.email) is not None:
                    raise Conflict(detail="another account has this address by now")
                _prove_address(session, user_id, link.email, now)
                sql.drop_tokens(session, user_id, "reset", "verify", "address")
                if link.purpose == "undo":
                    self._take_back(session, link, actor)
                    return
                undo = self._new_token(session, "undo", user_id, email=link.address, life=UNDO_LIFE)
                self.mail.write(session, "address_changed", link.address, token=undo)
                audit.record_of_person(session, user_id, actor, "person.address_changed", now)

    def _take_back(self, session: BoundSession, link: Row[Any], actor: Actor) -> None:
        """Nothing that who moved the address may have made opens the account.

        Sessions end; the password, identities and later links are void, and so is a second factor
        confirmed since the address was moved: an older one stays, for whoever reads the old mailbox
        need not be its owner. A letter leads to a new password.
        """
        user_id, now = link.user_id, self.clock.now()
        sql.drop_tokens(session, user_id, "undo", since=link.created_at)
        rows.drop(session, t.credential, user_id=user_id, kind="password")
        rows.drop(session, t.challenge, user_id=user_id)
        factors_sql.remove(session, user_id, since=link.created_at)
        rows.drop(session, t.identity, user_id=user_id)
        token = self._new_token(session, "reset", user_id)
        self.mail.write(session, "reset", link.email, token=token)
        audit.record_of_person(session, user_id, actor, "person.address_taken_back", now)
        sessions_sql.revoke(session, user_id, now)

    # Shared steps

    def _require_mail(self) -> None:
        if not self.mail.is_on:
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
        token, now = new_token(), self.clock.now()
        token_hash = self.keyring.token_hash("mailed", token)
        sql.add_token(session, token_hash, purpose, user_id, email=email, now=now, life=life)
        return token

    @contextmanager
    def _opened(self, token: str, client: Client, *purposes: str) -> Iterator[Row[Any]]:
        """The link behind a token (sql.token); the attempt counts unless the block succeeds."""
        attempt = self.proofs.throttle.admit(email=None, client=client)
        token_hash = self.keyring.token_hash("mailed", token)
        with self.database.directory() as session:
            link = sql.token(session, token_hash, self.clock.now())
        if link is None or link.purpose not in purposes:
            raise NotFound(detail=BAD_LINK)
        yield link
        with self.database.directory() as session:
            attempt.succeeded(session)

    def _spend(self, session: BoundSession, token: str, user_id: UUID) -> None:
        """The link is used; nobody else changes the person until the transaction ends."""
        sql.lock_person(session, user_id)
        if not sql.spend_token(session, self.keyring.token_hash("mailed", token)):
            raise NotFound(detail=BAD_LINK)

    @contextmanager
    def _proved(
        self, live: LiveSession, password: str, code: str, client: Client
    ) -> Iterator[Proved]:
        """Who gave their password, and a code, used from here on, if they have a second factor;
        a turn to hash is held in the block.
        """
        email, user_id = live.user.email, live.user.id
        with self.proofs.password(email, password, client) as proved:
            with self.database.directory() as session:
                needs_code = factors_sql.has_confirmed(session, user_id)
            if needs_code:
                attempt = self.proofs.throttle.admit(email=email, client=client, step="code")
                with self.database.directory() as session:
                    self.codes.require(session, user_id, code, self.clock.now())
                    attempt.succeeded(session)
            yield proved


def _prove_address(session: BoundSession, user_id: UUID, email: str, now: datetime) -> None:
    """The person's address is `email`, which was proved `now`."""
    values = {"email": email, "email_verified_at": now}
    rows.change(session, t.user_account, {"id": user_id}, **values)
