"""Log-in with a provider: begun, completed, linked, unlinked."""

import base64
import hmac
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from user_billing import access
from user_billing.audit import service as audit
from user_billing.challenges import sql as challenges_sql
from user_billing.chassis.clock import Clock
from user_billing.db import people as t
from user_billing.db import rows
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import (
    BadCredentials,
    Conflict,
    NotAllowed,
    NotFound,
    ProviderRefused,
    TooManyAttempts,
)
from user_billing.factors import sql as factors_sql
from user_billing.identifiers import new_token
from user_billing.keyring import Keyring, SealBroken
from user_billing.model import Actor, Client, LiveSession, Principal
from user_billing.oidc import mapping, rules, sql
from user_billing.oidc.client import ProviderClient
from user_billing.oidc.providers import Provider
from user_billing.oidc.rules import Claims
from user_billing.oidc.sql import Identity
from user_billing.people import sql as people_sql
from user_billing.people.proof import Proofs
from user_billing.sessions.service import OpenSession, Pending, Sessions

BEGUN_FOR = timedelta(minutes=10)
LINK = "oidc link"


@dataclass(frozen=True, slots=True)
class Begun:
    """A log-in at a provider. cookie: binds it to the browser that began it."""

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class LinkWanted:
    """The provider's e-mail address is an account's: its password, once, links the two.

    cookie: binds the challenge to the browser that came from the provider, so that nobody can have
    another type the password.
    """

    challenge: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Linked:
    """The identity is the person's who was logged in."""


@dataclass(frozen=True)
class Oidc:
    """The providers of `UBS_OIDC`, by name."""

    database: Database
    clock: Clock
    keyring: Keyring
    proofs: Proofs
    sessions: Sessions
    providers: dict[str, Provider]
    public_url: str
    client: ProviderClient

    def begin(self, name: str, live: LiveSession | None = None) -> Begun:
        """Where the browser goes to log in. live: who wants to link, and not to log in."""
        state, nonce, verifier = new_token(), new_token(), new_token()
        begun = {
            "provider": name,
            "state": state,
            "nonce": nonce,
            "verifier": verifier,
            "user": None if live is None else str(live.user.id),
            "ends_s": (self.clock.now() + BEGUN_FOR).timestamp(),
        }
        url = self.client.authorization_url(
            self._provider(name), self._redirect_uri(name), state, nonce, verifier
        )
        sealed = self.keyring.seal(json.dumps(begun).encode(), label="oidc")
        return Begun(url, base64.urlsafe_b64encode(sealed).decode())

    def begin_link(self, name: str, principal: Principal) -> Begun:
        """As `begin`, for the caller, whose log-in is fresh."""
        access.require_fresh(principal, self.clock.now())
        return self.begin(name, principal.session)

    def complete(
        self,
        name: str,
        *,
        cookie: str,
        state: str,
        code: str,
        live: LiveSession | None,
        client: Client,
    ) -> OpenSession | Pending | LinkWanted | Linked:
        """What the provider's answer leads to. live: the browser's session, if it has one.

        Raises ProviderRefused, with one of `rules.REASONS`.
        """
        provider = self._provider(name)
        if not code:
            raise ProviderRefused(reason="cancelled")
        begun = self._begun(cookie)
        is_same = hmac.compare_digest(begun["state"].encode(), state.encode())
        if not is_same or begun["provider"] != name:
            raise ProviderRefused(reason="expired")
        try:  # Each callback asks the provider: strangers with made-up codes take nobody's turn.
            attempt = self.proofs.throttle.admit(email=None, client=client)
        except TooManyAttempts as exc:
            raise ProviderRefused(reason="busy") from exc
        raw = self.client.claims(provider, code, self._redirect_uri(name), begun["verifier"])
        now = self.clock.now()
        claims = rules.check(raw, provider, nonce=begun["nonce"], now=now)
        with self.database.directory() as session:
            attempt.succeeded(session)
        if begun["user"] is None:
            return self._log_in(provider, claims, now, client)
        if live is None or str(live.user.id) != begun["user"]:
            raise ProviderRefused(reason="session")
        with self.database.directory() as session:
            self._link(session, provider, claims.subject, live, client)
        return Linked()

    def _log_in(
        self, provider: Provider, claims: Claims, now: datetime, client: Client
    ) -> OpenSession | Pending | LinkWanted:
        issuer, subject = provider.issuer, claims.subject
        with self.database.directory() as session:
            user_id = sql.owner_of(session, issuer, subject)
            if user_id is None:
                if claims.email is None:
                    raise ProviderRefused(reason="unverified")
                if people_sql.login_of(session, claims.email) is not None:
                    return self._want_link(session, provider, claims, now)
                user_id = self._new_person(session, provider, claims, claims.email, now)
            person = people_sql.person(session, user_id)
            if person is None:
                raise ProviderRefused(reason="disabled")
            people_sql.lock_person(session, person.id)
            mapping.follow(session, provider, person, claims, now)
            where = {"issuer": issuer, "subject": subject}
            rows.change(session, t.identity, where, last_login_at=now)
        # Of its own: who is a member no longer stays out, though there is nothing to log in to.
        with self.database.directory() as session:
            try:
                return self.sessions.begin(session, person, now, client, by=provider.name)
            except NotAllowed as exc:
                raise ProviderRefused(reason="unknown") from exc

    def _want_link(
        self, session: BoundSession, provider: Provider, claims: Claims, now: datetime
    ) -> LinkWanted:
        """A challenge: addresses change hands, so the password proves whose account it is."""
        challenge, cookie = new_token(), new_token()
        token_hash = self.keyring.token_hash(LINK, challenge + cookie)
        challenges_sql.add(
            session, token_hash, now, user_id=None,
            provider=provider.name, subject=claims.subject, email=claims.email,
        )  # fmt: skip
        return LinkWanted(challenge, cookie)

    @staticmethod
    def _new_person(
        session: BoundSession, provider: Provider, claims: Claims, email: str, now: datetime
    ) -> UUID:
        joins = provider.organisation is not None and rules.may_join(provider, claims)
        if not joins or rules.wanted_role(provider, claims) is None:
            raise ProviderRefused(reason="unknown")
        person = people_sql.add_person(session, email, now, password_hash=None)
        if person is None or not sql.link(session, person.id, provider, claims.subject, now):
            raise ProviderRefused(reason="busy")
        return person.id

    def link_with_password(
        self, challenge: str, cookie: str, password: str, client: Client
    ) -> OpenSession:
        """The identity is linked to the account of its e-mail address, which is logged in.

        Raises BadCredentials, with one text and the same work, for a wrong password and a challenge
        that is unknown, spent or too old; Conflict for who has a second factor: they log in with it
        and link from within.
        """
        token_hash = self.keyring.token_hash(LINK, challenge + cookie)
        with self.database.directory() as session:
            wanted = challenges_sql.look_up(session, token_hash, self.clock.now())
        email = "nobody" if wanted is None else str(wanted.detail["email"])
        with self.proofs.password(email, password, client) as proved:
            person, now = proved.login.person, self.clock.now()
        with self.database.directory() as session:
            proved.accept(session)
            if factors_sql.has_confirmed(session, person.id):
                raise Conflict(detail="log in with your password and code, then link in settings")
            wanted = challenges_sql.spend(session, token_hash, now)
            provider = self.providers.get("" if wanted is None else wanted.detail["provider"])
            if wanted is None or provider is None:
                raise BadCredentials
            opened = self.sessions.begin(session, person, now, client, by="password")
            assert isinstance(opened, OpenSession), "there is no second factor"
            self._link(session, provider, wanted.detail["subject"], opened.live, client)
        return opened

    def identities(self, user_id: UUID) -> list[Identity]:
        """What the person has linked, oldest first."""
        with self.database.directory() as session:
            return sql.identities(session, user_id)

    def unlink(self, principal: Principal, identity_id: UUID) -> None:
        """The identity logs nobody in any more. Raises Conflict when nothing else would."""
        live, now = principal.session, self.clock.now()
        access.require_fresh(principal, now)
        assert live is not None, "the route is for sessions"
        person, org = live.user, live.organisation_id
        with self.database.directory() as session:
            people_sql.lock_person(session, person.id)
            linked = sql.identities(session, person.id)
            identity = next((one for one in linked if one.id == identity_id), None)
            if identity is None:
                raise NotFound(identity=identity_id)
            login = people_sql.login_of(session, person.email)
            if len(linked) == 1 and (login is None or login.password_hash is None):
                raise Conflict(detail="you have no password: this is your only way in")
            rows.drop(session, t.identity, user_id=person.id, id=identity_id)
            with within(session, org):
                audit.record(
                    session, org, principal.actor, "identity.unlinked", f"user:{person.id}",
                    now=now, provider=identity.provider,
                )  # fmt: skip

    def _link(
        self,
        session: BoundSession,
        provider: Provider,
        subject: str,
        live: LiveSession,
        client: Client,
    ) -> None:
        user_id, org, now = live.user.id, live.organisation_id, self.clock.now()
        if not sql.link(session, user_id, provider, subject, now):
            if sql.owner_of(session, provider.issuer, subject) != user_id:
                raise ProviderRefused(reason="other_account")
            return
        target = f"user:{user_id}"
        actor = Actor(target, client.request_id)
        with within(session, org):
            audit.record(
                session, org, actor, "identity.linked", target, now=now, provider=provider.name
            )

    def _begun(self, cookie: str) -> dict[str, Any]:
        try:
            sealed = base64.urlsafe_b64decode(cookie.encode())
            begun = json.loads(self.keyring.open(sealed, label="oidc"))
        except (ValueError, SealBroken) as exc:
            raise ProviderRefused(reason="expired") from exc
        if begun["ends_s"] <= self.clock.now().timestamp():
            raise ProviderRefused(reason="expired")
        return dict(begun)

    def _provider(self, name: str) -> Provider:
        if name not in self.providers:
            raise NotFound(provider=name[:64])
        return self.providers[name]

    def _redirect_uri(self, name: str) -> str:
        return f"{self.public_url}/api/ubs/api/v1/oidc/{name}/callback"
