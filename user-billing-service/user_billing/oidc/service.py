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
from user_billing.identifiers import new_id, new_token
from user_billing.keyring import Keyring, SealBroken
from user_billing.model import Actor, Client, LiveSession, Person, Principal
from user_billing.oidc import mapping, rules, sql
from user_billing.oidc.client import ProviderClient
from user_billing.oidc.providers import Provider
from user_billing.oidc.rules import Claims
from user_billing.oidc.sql import Identity
from user_billing.people import sql as people_sql
from user_billing.people.passwords import Passwords
from user_billing.sessions.service import OpenSession, Pending, Sessions
from user_billing.throttle.service import Throttle

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


class Oidc:
    """The providers of `UBS_OIDC`."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        keyring: Keyring,
        passwords: Passwords,
        throttle: Throttle,
        *,
        sessions: Sessions,
        providers: tuple[Provider, ...],
        public_url: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._keyring = keyring
        self._passwords = passwords
        self._throttle = throttle
        self._sessions = sessions
        self.providers = {provider.name: provider for provider in providers}
        self._public_url = public_url
        self._client = ProviderClient(clock)

    def begin(self, name: str, live: LiveSession | None = None) -> Begun:
        """Where the browser goes to log in. live: who wants to link, and not to log in."""
        provider = self._provider(name)
        state, nonce, verifier = new_token(), new_token(), new_token()
        begun = {
            "provider": name,
            "state": state,
            "nonce": nonce,
            "verifier": verifier,
            "user": None if live is None else str(live.user.id),
            "ends_s": (self._clock.now() + BEGUN_FOR).timestamp(),
        }
        url = self._client.authorization_url(
            provider,
            redirect_uri=self._redirect_uri(name),
            state=state,
            nonce=nonce,
            verifier=verifier,
        )
        sealed = self._keyring.seal(json.dumps(begun).encode(), label="oidc")
        return Begun(url, base64.urlsafe_b64encode(sealed).decode())

    def begin_link(self, name: str, principal: Principal) -> Begun:
        """As `begin`, for the caller, whose log-in is fresh."""
        access.require_fresh(principal, self._clock.now())
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
        request_id: str | None,
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
            attempt = self._throttle.admit(email=None, client=client)
        except TooManyAttempts as exc:
            raise ProviderRefused(reason="busy") from exc
        raw = self._client.claims(
            provider,
            code=code,
            redirect_uri=self._redirect_uri(name),
            verifier=begun["verifier"],
        )
        now = self._clock.now()
        claims = rules.check(raw, provider, nonce=begun["nonce"], now=now)
        with self._database.directory() as session:
            attempt.succeeded(session)
        if begun["user"] is None:
            return self._log_in(provider, claims, now, client=client, request_id=request_id)
        if live is None or str(live.user.id) != begun["user"]:
            raise ProviderRefused(reason="session")
        with self._database.directory() as session:
            self._link(session, provider, claims.subject, live, request_id)
        return Linked()

    def _log_in(
        self,
        provider: Provider,
        claims: Claims,
        now: datetime,
        *,
        client: Client,
        request_id: str | None,
    ) -> OpenSession | Pending | LinkWanted:
        issuer, subject = provider.issuer, claims.subject
        with self._database.directory() as session:
            user_id = sql.owner_of(session, issuer, subject)
            if user_id is None:
                if claims.email is None:
                    raise ProviderRefused(reason="unverified")
                if people_sql.login_of(session, claims.email) is not None:
                    return self._want_link(session, provider, claims, now)
                user_id = self._new_person(session, provider, claims, now)
            person = people_sql.person(session, user_id)
            if person is None:
                raise ProviderRefused(reason="disabled")
            people_sql.lock_person(session, person.id)
            mapping.follow(session, provider, person, claims, now)
            sql.note_login(session, issuer, subject, now)
        # Of its own: who is a member no longer stays out, though there is nothing to log in to.
        with self._database.directory() as session:
            try:
                return self._sessions.begin(
                    session, person, now, client=client, request_id=request_id, by=provider.name
                )
            except NotAllowed as exc:
                raise ProviderRefused(reason="unknown") from exc

    def _want_link(
        self, session: BoundSession, provider: Provider, claims: Claims, now: datetime
    ) -> LinkWanted:
        """A challenge: addresses change hands, so the password proves whose account it is."""
        challenge, cookie = new_token(), new_token()
        token_hash = self._keyring.token_hash(LINK, challenge + cookie)
        challenges_sql.add(
            session, token_hash, now, user_id=None,
            provider=provider.name, subject=claims.subject, email=claims.email,
        )  # fmt: skip
        return LinkWanted(challenge, cookie)

    def _new_person(
        self, session: BoundSession, provider: Provider, claims: Claims, now: datetime
    ) -> UUID:
        joins = provider.organisation is not None and rules.may_join(provider, claims)
        if not joins or rules.wanted_role(provider, claims) is None or claims.email is None:
            raise ProviderRefused(reason="unknown")
        person = Person(new_id(), claims.email)
        identity = self._identity(provider, claims.subject, now)
        if not sql.add_person(session, person, now) or not sql.link(session, identity, person.id):
            raise ProviderRefused(reason="busy")
        return person.id

    def link_with_password(
        self, *, challenge: str, cookie: str, password: str, client: Client, request_id: str | None
    ) -> OpenSession:
        """The identity is linked to the account of its e-mail address, which is logged in.

        Raises BadCredentials, with one text and the same work, for a wrong password and a challenge
        that is unknown, spent or too old; Conflict for who has a second factor: they log in with it
        and link from within.
        """
        token_hash = self._keyring.token_hash(LINK, challenge + cookie)
        with self._database.directory() as session:
            wanted = challenges_sql.look_up(session, token_hash, self._clock.now())
            email = "nobody" if wanted is None else str(wanted.detail["email"])
            login = people_sql.login_of(session, email)
        with self._passwords.turn(known=self._throttle.device_of(email, client) is not None):
            attempt = self._throttle.admit(email=email, client=client)
            usable = login is not None and not login.is_disabled
            stored = login.password_hash if login is not None and usable else None
            if not self._passwords.verify(stored, password) or login is None:
                raise BadCredentials
        now = self._clock.now()
        with self._database.directory() as session:
            if not people_sql.is_still(session, login):
                raise BadCredentials
            attempt.succeeded(session)
            if factors_sql.has_confirmed(session, login.person.id):
                raise Conflict(detail="log in with your password and code, then link in settings")
            wanted = challenges_sql.spend(session, token_hash, now)
            provider = self.providers.get("" if wanted is None else wanted.detail["provider"])
            if wanted is None or provider is None:
                raise BadCredentials
            opened = self._sessions.begin(
                session, login.person, now, client=client, request_id=request_id, by="password"
            )
            assert isinstance(opened, OpenSession), "there is no second factor"
            subject = wanted.detail["subject"]
            self._link(session, provider, subject, opened.live, request_id)
        return opened

    def identities(self, user_id: UUID) -> list[Identity]:
        """What the person has linked, oldest first."""
        with self._database.directory() as session:
            return sql.identities(session, user_id)

    def unlink(self, principal: Principal, identity_id: UUID) -> None:
        """The identity logs nobody in any more. Raises Conflict when nothing else would."""
        live, now = principal.session, self._clock.now()
        access.require_fresh(principal, now)
        assert live is not None, "the route is for sessions"
        with self._database.directory() as session:
            people_sql.lock_person(session, live.user.id)
            linked = sql.identities(session, live.user.id)
            identity = next((one for one in linked if one.id == identity_id), None)
            if identity is None:
                raise NotFound(identity=identity_id)
            if len(linked) == 1 and not sql.has_password(session, live.user.id):
                raise Conflict(detail="you have no password: this is your only way in")
            sql.unlink(session, identity_id)
            org = live.organisation_id
            with within(session, org):
                audit.record(
                    session, org, principal.actor, "identity.unlinked", f"user:{live.user.id}",
                    now=now, provider=identity.provider,
                )  # fmt: skip

    def _link(
        self,
        session: BoundSession,
        provider: Provider,
        subject: str,
        live: LiveSession,
        request_id: str | None,
    ) -> None:
        person, org, now = live.user, live.organisation_id, self._clock.now()
        if not sql.link(session, self._identity(provider, subject, now), person.id):
            if sql.owner_of(session, provider.issuer, subject) != person.id:
                raise ProviderRefused(reason="other_account")
            return
        actor, target = Actor(f"user:{person.id}", request_id), f"user:{person.id}"
        with within(session, org):
            audit.record(
                session, org, actor, "identity.linked", target, now=now, provider=provider.name
            )

    @staticmethod
    def _identity(provider: Provider, subject: str, now: datetime) -> Identity:
        return Identity(new_id(), provider.name, provider.issuer, subject, now, None)

    def _begun(self, cookie: str) -> dict[str, Any]:
        try:
            sealed = base64.urlsafe_b64decode(cookie.encode())
            begun = json.loads(self._keyring.open(sealed, label="oidc"))
        except (ValueError, SealBroken) as exc:
            raise ProviderRefused(reason="expired") from exc
        if begun["ends_s"] <= self._clock.now().timestamp():
            raise ProviderRefused(reason="expired")
        return dict(begun)

    def _provider(self, name: str) -> Provider:
        if name not in self.providers:
            raise NotFound(provider=name[:64])
        return self.providers[name]

    def _redirect_uri(self, name: str) -> str:
        return f"{self._public_url}/api/ubs/api/v1/oidc/{name}/callback"
