"""How long what is dead is kept; in the role of the directory."""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.model import KeyState

RETIRED_FOR = timedelta(hours=2)
"""A signing key is published after its last token: that dies in minutes, and so do cached JWKS."""


def sweep(session: Session, now: datetime) -> None:
    """What nobody can use any more is gone: at once, or when nobody asks after it."""
    day, key, r = timedelta(days=1), t.signing_key.c, t.revocation.c
    is_retired = key.state == KeyState.RETIRED
    newest = select(func.max(r.seq)).scalar_subquery()  # so that `last_revocation` never goes back
    for statement in (
        delete(t.signing_key).where(is_retired, key.retired_at < now - RETIRED_FOR),
        delete(t.session).where(t.session.c.expires_at < now - 7 * day),
        delete(t.challenge).where(t.challenge.c.expires_at <= now),
        delete(t.throttle).where(t.throttle.c.last_at < now - 2 * day),
        delete(t.revocation).where(r.at < now - day, r.seq < newest),
        delete(t.mail).where(t.mail.c.ended_at < now - day),
        delete(t.mailed_token).where(t.mailed_token.c.expires_at < now),
    ):
        session.execute(statement)
