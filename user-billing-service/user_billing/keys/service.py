"""API keys: made, shown once, listed by their start, revoked, introspected."""

import hmac
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from prometheus_client import Counter

from user_billing import access
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import BadInput, Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.keyring import PEPPER_VERSION, Keyring
from user_billing.keys import format as key_format
from user_billing.keys import rules, sql
from user_billing.keys.format import new_api_key
from user_billing.members import sql as members_sql
from user_billing.members import standing
from user_billing.model import Actor, ApiKey, KnownKey, Member, Principal, RevocationKind
from user_billing.organisations import rules as organisations_rules
from user_billing.organisations import sql as organisations_sql
from user_billing.revocations import sql as revocations_sql
from user_billing.service_accounts import sql as accounts_sql

EXPIRY_DAYS_MAX = 3_650

USE_RESOLUTION = timedelta(minutes=1)

_UNFLUSHED_MAX = 10_000

INTROSPECTIONS = Counter(
    "cloudopshub_billing_introspections_total", "Keys introspected, by answer.", ["outcome"]
)

Refusal = Literal["unknown", "revoked", "expired", "malformed", "suspended"]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at its only moment in the open."""

    key: ApiKey
    text: str


@dataclass(frozen=True, slots=True)
class KeyList:
    """Keys, and the members who may have made them."""

    keys: list[ApiKey]
    members: list[Member]


class Keys:
    """The life of API keys."""

    def __init__(self, database: Database, clock: Clock, keyring: Keyring) -> None:
        self._database = database
        self._clock = clock
        self._keyring = keyring
        self._used: dict[UUID, datetime] = {}
        self._used_lock = threading.Lock()

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
        now = self._clock.now()
        access.require_fresh(principal, now)
        granted = access.parse_scopes(scopes)
        access.require_grantable(principal, granted)
        if expires_in_days is not None and not 1 <= expires_in_days <= EXPIRY_DAYS_MAX:
            raise BadInput(field="expires_in_days", value=expires_in_days, max=EXPIRY_DAYS_MAX)
        expires_at = None if expires_in_days is None else now + timedelta(days=expires_in_days)
        access.require_no_longer_life(principal, expires_at)
        text = new_api_key()
        key = ApiKey(
            id=new_id(),
            name=organisations_rules.normalise_name(name, field="name"),
            start=key_format.start_of(text),
            scopes=granted,
            created_at=now,
            created_by=_maker(principal, service_account_id),
            last_used_at=None,
            expires_at=expires_at,
            revoked_at=None,
            networks=rules.within_caller(rules.parse_networks(networks), principal.networks),
            requests_per_s=rules.check_requests_per_s(requests_per_s),
        )
        org = principal.tenant
        with self._database.organisation(org) as session:
            standing.require(session, principal)
            if service_account_id is not None:
                accounts_sql.require_covers(session, org, service_account_id, granted)
            self._add(session, org, key, text)
            audit.record(
                session,
                org,
                principal.actor,
                "key.created",
                f"key:{key.id}",
                now=now,
                name=key.name,
                start=key.start,
                scopes=[scope.value for scope in granted],
                expires_at=None if key.expires_at is None else key.expires_at.isoformat(),
            )
        return NewKey(key, text)

    def _add(self, session: BoundSession, org: UUID, key: ApiKey, text: str) -> None:
        key_hash = self._keyring.api_key_hash(text)
        added = sql.add_key(session, org, key, key_hash=key_hash, pepper_version=PEPPER_VERSION)
        assert added, "190 random bits never repeat"

    def rotate(self, principal: Principal, key_id: UUID, *, overlap_s: int) -> NewKey:
        """A new key in the place of another, which lives on for `overlap_s`, then is dead: here at
        once, everywhere within the published bound.

        The new one may do the same and lives as long as the old was meant to. Raises NotFound,
        Conflict for a key that is dead or replaced, NotAllowed for one stronger than the caller.
        """
        now = self._clock.now()
        access.require_fresh(principal, now)
        overlap = rules.check_overlap(overlap_s)
        text = new_api_key()
        org = principal.tenant
        with self._database.directory() as session:
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
                new = replace(
                    old,
                    networks=rules.within_caller(old.networks, principal.networks),
                    id=new_id(),
                    start=key_format.start_of(text),
                    created_at=now,
                    created_by=_maker(principal, account),
                    last_used_at=None,
                    expires_at=expires_at,
                )
                self._add(session, org, new, text)
                ends_at = rules.end_of_replaced(old.expires_at, now, overlap)
                sql.change_key(session, org, old.id, replaced_by=new.id, expires_at=ends_at)
                audit.record(
                    session, org, principal.actor, "key.rotated", f"key:{old.id}", now=now,
                    name=old.name, replaced_by=str(new.id), old_expires_at=ends_at.isoformat(),
                )  # fmt: skip
            # Services forget the old key, ask again and learn when it ends.
            revocations_sql.log_revocations(session, RevocationKind.KEY, [old.id], now)
        return NewKey(new, text)

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
        now = self._clock.now()
        access.require_fresh(principal, now)
        values: dict[str, Any] = {}
        if name is not None:
            values["name"] = organisations_rules.normalise_name(name, field="name")
        if networks is not None:
            values["networks"] = list(
                rules.within_caller(rules.parse_networks(networks), principal.networks)
            )
        if is_rate_given:
            values["requests_per_s"] = rules.check_requests_per_s(requests_per_s)
        if not values:
            raise BadInput(detail="give name, networks or requests_per_s")
        org = principal.tenant
        with self._database.directory() as session:
            with within(session, org):
                standing.require(session, principal)
                access.require_grantable(principal, _living(session, org, key_id, now).scopes)
                sql.change_key(session, org, key_id, **values)
                key = _living(session, org, key_id, now)
                audit.record(
                    session, org, principal.actor, "key.changed", f"key:{key_id}", now=now, **values
                )
            revocations_sql.log_revocations(session, RevocationKind.KEY, [key_id], now)
        return key

    def all(self, organisation_id: UUID) -> KeyList:
        """Every key of the organisation, newest first."""
        with self._database.organisation(organisation_id) as session:
            return KeyList(
                sql.keys(session, organisation_id),
                members_sql.members(session, organisation_id),
            )

    def revoke(self, organisation_id: UUID, key_id: UUID, actor: Actor) -> None:
        """The key is dead here at once, and everywhere within the published bound.

        Its open invitations end with it. Revoking twice changes nothing. Raises NotFound for a key
        the organisation does not have.
        """
        now = self._clock.now()
        revoked = []
        with self._database.directory() as session:
            with within(session, organisation_id):
                organisations_sql.lock(session, organisation_id)
                name = sql.revoke_key(session, organisation_id, key_id, now)
                if name is None and not sql.has_key(session, organisation_id, key_id):
                    raise NotFound(key=key_id)
                if name is not None:
                    target = f"key:{key_id}"
                    audit.record(
                        session, organisation_id, actor, "key.revoked", target, now=now, name=name
                    )
                    revoked = standing.end_outgrown(session, organisation_id, actor, now)
                    revoked.append(key_id)
            revocations_sql.log_revocations(session, RevocationKind.KEY, revoked, now)

    def introspect(self, text: str) -> KnownKey | Refusal:
        """What a key may do now, or why nothing. Read afresh each time: nothing is cached."""
        answer = self._introspect(text)
        INTROSPECTIONS.labels("active" if isinstance(answer, KnownKey) else answer).inc()
        return answer

    def _introspect(self, text: str) -> KnownKey | Refusal:
        if not key_format.is_well_formed(text):
            return "malformed"
        key_hash = self._keyring.api_key_hash(text)
        key = sql.key_by_hash(self._database, key_hash)
        if key is None or not hmac.compare_digest(key.hash, key_hash):
            return "unknown"
        now = self._clock.now()
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
            with self._database.directory() as session:
                sql.note_use(session, used, USE_RESOLUTION)
        except Exception:
            with self._used_lock:
                self._used = {**used, **self._used}
            raise
        return len(used)


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
