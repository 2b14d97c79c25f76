"""?"""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from user_billing.model import KeyState
from user_billing.revocations import tables as revocations_t
from user_billing.sessions import tables as sessions_t
from user_billing.throttle import tables as throttle_t
from user_billing.tokens import tables as tokens_t


def sweep(session: Session, now: datetime, *, retired_for: timedelta) -> None:
    """What nobody can need any more is gone: dead keys, sessions, throttle rows, old revocations.

    The newest revocation stays, so that `last_revocation` never goes back.
    """
    session.execute(
        delete(tokens_t.signing_key).where(
            tokens_t.signing_key.c.state == KeyState.RETIRED.value,
            tokens_t.signing_key.c.retired_at < now - retired_for,
        )
    )
    session.execute(
        delete(sessions_t.session).where(sessions_t.session.c.expires_at < now - timedelta(days=7))
    )
    session.execute(
        delete(throttle_t.throttle).where(throttle_t.throttle.c.last_at < now - timedelta(days=2))
    )
    newest = select(func.max(revocations_t.revocation.c.seq)).scalar_subquery()
    session.execute(
        delete(revocations_t.revocation).where(
            revocations_t.revocation.c.at < now - timedelta(days=1),
            revocations_t.revocation.c.seq < newest,
        )
    )
