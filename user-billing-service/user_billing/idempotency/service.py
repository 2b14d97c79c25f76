"""What was answered to each key of an organisation.

claimed ──success──▶ answered, for 24 h      ──refused (3xx, 4xx)──▶ free again
   └── no answer (a crash, 5xx): free again after a minute, so a deed that must never be
       done twice has a key of its own in its transaction (the ledger's, a period's)
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from user_billing.chassis.clock import Clock
from user_billing.db import rows
from user_billing.db.session import Database, Room
from user_billing.errors import Conflict, TooManyAttempts
from user_billing.idempotency.tables import idempotency
from user_billing.keyring import Keyring

LIFE: Final = timedelta(hours=24)
IN_FLIGHT: Final = timedelta(minutes=1)
"""Longer than any request of this service runs."""
KEYS_MAX: Final = 10_000
"""Of one organisation at once."""
ANSWER_BYTES_MAX: Final = 256 * 1024
_I = idempotency.c


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer as it was sent."""

    status: int
    body: bytes


class Answers(Room):
    """Keeps answers, sealed: some have secrets in them."""

    def __init__(self, database: Database, clock: Clock, keyring: Keyring) -> None:
        super().__init__(database, clock)
        self._keyring = keyring

    def claim(self, org: UUID, key: str, digest: bytes) -> Answer | None:
        """The answer that the key has; None: the request is the caller's to do.

        Raises Conflict while it is being done, and for a key of another request.
        """
        now = self._clock.now()
        claimed = {"digest": digest, "claimed_at": now, "status": None, "body_sealed": None}
        with self._database.organisation(org) as session:
            statement = upsert(idempotency).values(org_id=org, key=key, **claimed)
            is_free = (_I.claimed_at <= now - LIFE) | (
                _I.status.is_(None) & (_I.digest == digest) & (_I.claimed_at <= now - IN_FLIGHT)
            )
            mine = session.execute(
                statement.on_conflict_do_update(
                    constraint=idempotency.primary_key, set_=claimed, where=is_free
                ).returning(_I.key)
            ).one_or_none()
            if mine is not None:
                some = select(_I.key).where(_I.org_id == org).limit(KEYS_MAX + 1).subquery()
                if session.scalars(select(func.count()).select_from(some)).one() > KEYS_MAX:
                    raise TooManyAttempts(keys_max=KEYS_MAX, hours=24, retry_after_s=600)
                return None
            row = rows.one(session, idempotency, org, key=key)
        if row is None or (row.digest == digest and row.status is None):
            raise Conflict(detail="a request with this Idempotency-Key is in work", retry_after_s=1)
        if row.digest != digest:
            raise Conflict(detail="this Idempotency-Key was used for another request")
        if row.body_sealed is None:
            raise Conflict(detail="this was done before; its answer was too large to keep")
        return Answer(row.status, self._keyring.open(row.body_sealed, label=_label(org, key)))

    def keep(self, org: UUID, key: str, answer: Answer) -> None:
        """The key has this answer."""
        sealed = None
        if len(answer.body) <= ANSWER_BYTES_MAX:
            sealed = self._keyring.seal(answer.body, label=_label(org, key))
        values = {"status": answer.status, "body_sealed": sealed}
        with self._database.organisation(org) as session:
            rows.change(session, idempotency, {"org_id": org, "key": key}, **values)

    def release(self, org: UUID, key: str) -> None:
        """The key is free: nothing was done under it."""
        with self._database.organisation(org) as session:
            session.execute(delete(idempotency).where(_I.org_id == org, _I.key == key))

    def sweep(self) -> None:
        """Keys older than their life are gone."""
        with self._database.directory() as session:
            session.execute(delete(idempotency).where(_I.claimed_at <= self._clock.now() - LIFE))


def _label(org: UUID, key: str) -> str:
    return f"idempotency:{org}:{key}"
