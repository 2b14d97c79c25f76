"""API keys: made, shown once, listed by their start, revoked, introspected."""

import hmac
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar
from uuid import UUID

from prometheus_client import Counter

from user_billing import access
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db import people as t
from user_billing.db import rows
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import BadInput, Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.keyring import Keyring
from user_billing.keys import format as key_format
from user_billing.keys import rules, sql
from user_billing.keys.format import new_api_key
from user_billing.members import sql as members_sql
from user_billing.members import standing
from user_billing.members.rules import by_address
from user_billing.model import Actor, ApiKey, KnownKey, Principal, RevocationKind, Scope
from user_billing.organisations import rules as organisations_rules
from user_billing.organisations import sql as organisations_sql
from user_billing.revocations import sql as revocations_sql
from user_billing.service_accounts import sql as accounts_sql

USE_RESOLUTION = timedelta(minutes=1)

_UNFLUSHED_MAX = 10_000

INTROSPECTIONS = Counter(
    "cloudopshub_billing_introspections_total", "Keys introspected, by answer.", ["outcome"]
)

Refusal = Literal["unknown", "revoked", "expired", "malformed", "suspended"]


@dataclass(frozen=True, slots=True)
class NewKey(ApiKey):
    """A key at its only moment in the open. key: its text."""

    key: str = field(default="", repr=False)


@dataclass
class Keys:
    """The life of API keys."""

    database: Database
    clock: Clock
    keyring: Keyring
    _used: dict[UUID, datetime] = field(default_factory=dict)
    _used_lock: threading.Lock = field(default_factory=threading.Lock)

    def create(
        self,
        principal: Principal,
        *,
        name: str,
        scopes: list[str],
        expires_in_days: int | None,
        networks: Sequence[str] = (),
        requests_per_s: int | None = None,
        service_account_id: UUID | None = None,
    ) -> NewKey:
        """A new key of the caller's organisation, with no more scopes and no longer life than the
        caller's.

        expires_in_days: None for a key that lives until it is revoked, else 1 to 3,650.
        service_account_id: whose key it is instead of the caller's; no wider than the account.
        """
        now, org, actor = self.clock.now(), principal.tenant, principal.actor
        access.require_fresh(principal, now)
        granted = access.parse_scopes(scopes)
        access.require_grantable(principal, granted)
        expires_at = None if expires_in_days is None else now + timedelta(days=expires_in_days)
        access.require_no_longer_life(principal, expires_at)
        key = new_key(
            organisations_rules.normalise_name(name, field="name"),
            granted,
            _maker(principal, service_account_id),
            now,
            expires_at=expires_at,
            networks=rules.within_caller(rules.parse_networks(networks), principal.networks),
            requests_per_s=requests_per_s,
        )
        with self.database.organisation(org) as session:
            standing.require(session, principal)
            if service_account_id is not None:
                accounts_sql.require_covers(session, org, service_account_id, granted)
            added = self.add(session, org, key, actor)
            assert added, "190 random bits never repeat"
            return _shown(session, org, key)

    def add(self, session: BoundSession, org: UUID, key: NewKey, actor: Actor) -> bool:
        """Whether the key was added, and the log of the organisation, inside which we are, says so.

        False when there is that key already.
        """
        if not sql.add_key(session, org, key, key_hash=self.keyring.api_key_hash(key.key)):
            return False
        audit.record(
            session, org, actor, "key.created", f"key:{key.id}", now=key.created_at, name=key.name,
            start=key.start, scopes=list(key.scopes),
            expires_at=None if key.expires_at is None else key.expires_at.isoformat(),
        )  # fmt: skip
        return True

    def rotate(self, principal: Principal, key_id: UUID, overlap: timedelta) -> NewKey:
        """A new key in the place of another, which lives on for `overlap`, then is dead: here at
        once, everywhere within the published bound.

        The new one may do the same and lives as long as the old was meant to. Raises NotFound,
        Conflict for a key that is dead or replaced, NotAllowed for one stronger than the caller.
        """
        now, org = self.clock.now(), principal.tenant
        access.require_fresh(principal, now)
        with self.database.directory() as session:
            with within(session, org):
                standing.require(session, principal)
                old = _living(session, org, key_id, now)
                if old.replaced_by is not None:
                    raise Conflict(detail="the key was replaced already", by=old.replaced_by)
                access.require_grantable(principal, old.scopes)
                expires_at = rules.end_of_new(old.created_at, old.expires_at, now)
                access.require_no_longer_life(principal, expires_at)
                account = standing.account_of(old.created_by)
                if account is not None:
                    accounts_sql.require_covers(session, org, account, old.scopes)
                new = new_key(
                    old.name,
                    old.scopes,
                    _maker(principal, account),
                    now,
                    expires_at=expires_at,
                    networks=rules.within_caller(old.networks, principal.networks),
                    requests_per_s=old.requests_per_s,
                )
                key_hash = self.keyring.api_key_hash(new.key)
                added = sql.add_key(session, org, new, key_hash=key_hash)
                assert added, "190 random bits never repeat"
                ends_at = rules.end_of_replaced(old.expires_at, now, overlap)
                rows.change(
                    session,
                    t.api_key,
                    {"org_id": org, "id": old.id},
                    replaced_by=new.id,
                    expires_at=ends_at,
                )
                audit.record(
                    session, org, principal.actor, "key.rotated", f"key:{old.id}", now=now,
                    name=old.name, replaced_by=str(new.id), old_expires_at=ends_at.isoformat(),
                )  # fmt: skip
                new = _shown(session, org, new)
            # Services forget the old key, ask again and learn when it ends.
            revocations_sql.log_revocations(session, RevocationKind.KEY, [old.id], now)
        return new

    def change(
        self,
        principal: Principal,
        key_id: UUID,
        *,
        name: str | None,
        networks: list[str] | None,
        requests_per_s: int | None,
        is_rate_given: bool,
    ) -> ApiKey:
        """The key with what was given: here at once, everywhere within the published bound."""
        now = self.clock.now()
        access.require_fresh(principal, now)
        values: dict[str, Any] = {}
        if name is not None:
            values["name"] = organisations_rules.normalise_name(name, field="name")
        if networks is not None:
            values["networks"] = list(
                rules.within_caller(rules.parse_networks(networks), principal.networks)
            )
        if is_rate_given:
            values["requests_per_s"] = requests_per_s
        if not values:
            raise BadInput(detail="give name, networks or requests_per_s")
        org = principal.tenant
        with self.database.directory() as session:
            with within(session, org):
                standing.require(session, principal)
                access.require_grantable(principal, _living(session, org, key_id, now).scopes)
                rows.change(session, t.api_key, {"org_id": org, "id": key_id}, **values)
                key = _shown(session, org, _living(session, org, key_id, now))
                audit.record(
                    session, org, principal.actor, "key.changed", f"key:{key_id}", now=now, **values
                )
            revocations_sql.log_revocations(session, RevocationKind.KEY, [key_id], now)
        return key

    def all(self, organisation_id: UUID) -> list[ApiKey]:
        """Every key of the organisation, newest first; makers who are members by their address."""
        with self.database.organisation(organisation_id) as session:
            keys = sql.keys(session, organisation_id)
            return by_address(keys, members_sql.members(session, organisation_id))

    def revoke(self, org: UUID, key_id: UUID, actor: Actor) -> None:
        """The key is dead here at once, and everywhere within the published bound.

        Its open invitations end with it. Revoking twice changes nothing. Raises NotFound for a key
        the organisation does not have.
        """
        now, target = self.clock.now(), f"key:{key_id}"
        with self.database.directory() as session:
            with within(session, org):
                organisations_sql.lock(session, org)
                name = sql.revoke_key(session, org, key_id, now)
                if name is None:
                    if sql.key(session, org, key_id) is None:
                        raise NotFound(key=key_id)
                    return
                audit.record(session, org, actor, "key.revoked", target, now=now, name=name)
                revoked = [key_id, *standing.end_outgrown(session, org, actor, now)]
            revocations_sql.log_revocations(session, RevocationKind.KEY, revoked, now)

    def introspect(self, text: str) -> KnownKey | Refusal:
        """What a key may do now, or why nothing. Read afresh each time: nothing is cached."""
        answer = self._introspect(text)
        INTROSPECTIONS.labels("active" if isinstance(answer, KnownKey) else answer).inc()
        return answer

    def _introspect(self, text: str) -> KnownKey | Refusal:
        if not key_format.is_well_formed(text):
            return "malformed"
        key_hash = self.keyring.api_key_hash(text)
        key = sql.key_by_hash(self.database, key_hash)
        if key is None or not hmac.compare_digest(key.hash, key_hash):
            return "unknown"
        now = self.clock.now()
        if key.revoked_at is not None:
            return "revoked"
        if key.expires_at is not None and key.expires_at <= now:
            return "expired"
        if key.is_suspended:
            return "suspended"
        self._note_use(key.id, now)
        return key

    def _note_use(self, key_id: UUID, now: datetime) -> None:
        with self._used_lock:
            if len(self._used) < _UNFLUSHED_MAX or key_id in self._used:
                self._used[key_id] = now

    def flush_uses(self) -> int:
        """Writes the uses noted since the last call; returns of how many keys.

        Uses are gathered in memory so that introspection only reads. They are kept when the
        database refuses them.
        """
        with self._used_lock:
            used, self._used = self._used, {}
        if not used:
            return 0
        try:
            with self.database.directory() as session:
                sql.note_use(session, used, USE_RESOLUTION)
        except Exception:
            with self._used_lock:
                self._used = {**used, **self._used}
            raise
        return len(used)


Shown = TypeVar("Shown", bound=ApiKey)


def new_key(
    name: str, scopes: tuple[Scope, ...], maker: str, now: datetime, text: str = "", **more: Any
) -> NewKey:
    """A key that nobody has yet. text: chosen by whoever runs the hub. more: fields of ApiKey."""
    text = text or new_api_key()
    return NewKey(
        new_id(), name, key_format.start_of(text), scopes, created_at=now, created_by=maker,
        key=text, **more,
    )  # fmt: skip


def _shown(session: BoundSession, org: UUID, key: Shown) -> Shown:
    """The key, made by an address if its maker is a member."""
    [shown] = by_address([key], members_sql.members(session, org))
    return shown


def _maker(principal: Principal, service_account_id: UUID | None) -> str:
    if service_account_id is None:
        return principal.actor.subject
    return f"{standing.SERVICE_ACCOUNT}{service_account_id}"


def _living(session: BoundSession, org: UUID, key_id: UUID, now: datetime) -> ApiKey:
    """The key, which is neither revoked nor expired. Raises NotFound, Conflict."""
    key = sql.key(session, org, key_id)
    if key is None:
        raise NotFound(key=key_id)
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise Conflict(detail="the key is revoked or expired")
    return key
