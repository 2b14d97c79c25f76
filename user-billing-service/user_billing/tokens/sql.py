"""SQL of the keys that tokens are signed with, in the role of the directory."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from user_billing.model import KeyState
from user_billing.tokens import tables as t


@dataclass(frozen=True, slots=True)
class StoredSigningKey:
    """A signing key at rest."""

    kid: str
    state: KeyState
    public_key: bytes
    private_key_sealed: bytes
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None


def lock_signing_keys(session: Session) -> None:
    """Until the transaction ends nobody else changes signing keys."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('billing.signing_key'))"))


def signing_keys(session: Session) -> list[StoredSigningKey]:
    """Every signing key, oldest first."""
    rows = session.execute(select(t.signing_key).order_by(t.signing_key.c.created_at))
    return [
        StoredSigningKey(
            kid=r.kid,
            state=KeyState(r.state),
            public_key=bytes(r.public_key),
            private_key_sealed=bytes(r.private_key_sealed),
            created_at=r.created_at,
            activated_at=r.activated_at,
            retired_at=r.retired_at,
        )
        for r in rows
    ]


def add_signing_key(session: Session, key: StoredSigningKey) -> None:
    """One more signing key."""
    session.execute(
        insert(t.signing_key).values(
            kid=key.kid,
            state=key.state.value,
            public_key=key.public_key,
            private_key_sealed=key.private_key_sealed,
            created_at=key.created_at,
            activated_at=key.activated_at,
            retired_at=key.retired_at,
        )
    )


def signing_key_ids(session: Session) -> list[str]:
    """The `kid` of every signing key."""
    return list(session.execute(select(t.signing_key.c.kid)).scalars())


def drop_signing_keys(session: Session) -> None:
    """There is no signing key: nothing that was signed verifies any more."""
    session.execute(delete(t.signing_key))


def move_signing_key(session: Session, kid: str, state: KeyState, now: datetime) -> None:
    """The key is in `state` since `now`."""
    moment = {KeyState.ACTIVE: "activated_at", KeyState.RETIRED: "retired_at"}[state]
    session.execute(
        update(t.signing_key)
        .where(t.signing_key.c.kid == kid)
        .values({"state": state.value, moment: now})
    )
