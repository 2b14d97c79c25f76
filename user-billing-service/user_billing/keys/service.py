"""API keys: made, shown once, listed by their start, revoked, introspected."""

import hmac
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from prometheus_client import Counter

from user_billing import access
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db.session import Database, within
from user_billing.errors import BadInput, NotFound
from user_billing.identifiers import new_id
from user_billing.keyring import PEPPER_VERSION, Keyring
from user_billing.keys import format as key_format
from user_billing.keys import sql
from user_billing.keys.format import new_api_key
from user_billing.members import sql as members_sql
from user_billing.members import standing
from user_billing.model import Actor, ApiKey, KnownKey, Member, Principal, RevocationKind
from user_billing.organisations import rules as organisations_rules
from user_billing.organisations import sql as organisations_sql
from user_billing.revocations import sql as revocations_sql

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
        self, principal: Principal, *, name: str, scopes: list[str], expires_in_days: int | None
    ) -> NewKey:
        """A new key of the caller's organisation, with no more scopes and no longer life than the
        caller's.

        expires_in_days: None for a key that lives until it is revoked, else 1 to 3,650.
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
            created_by=principal.actor.subject,
            last_used_at=None,
            expires_at=expires_at,
            revoked_at=None,
        )
        org = principal.tenant
        with self._database.organisation(org) as session:
            standing.require(session, principal)
            added = sql.add_key(
                session,
                org,
                key,
                key_hash=self._keyring.api_key_hash(text),
                pepper_version=PEPPER_VERSION,
            )
            assert added, "190 random bits never repeat"
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
