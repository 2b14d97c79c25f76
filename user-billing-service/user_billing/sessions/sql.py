"""SQL of browser sessions, which belong to people: in the role of the directory."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, and_, insert, select, update
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.factors import sql as factors_sql
from user_billing.model import LiveSession, Person, RevocationKind, Role
from user_billing.revocations import sql as revocations_sql
from user_billing.sessions.rules import SESSION_IDLE

SESSIONS_LISTED_MAX = 200


def add_session(session: Session, live: LiveSession, *, token_hash: bytes) -> None:
    """A new browser session."""
    session.execute(
        insert(t.session).values(
            id=live.id,
            token_hash=token_hash,
            user_id=live.user.id,
            org_id=live.organisation_id,
            created_at=live.last_seen_at,
            fresh_at=live.fresh_at,
            last_seen_at=live.last_seen_at,
            expires_at=live.expires_at,
            network=live.network,
            browser=live.browser,
        )
    )


def _is_live(now: datetime) -> ColumnElement[bool]:
    """Neither revoked, nor idle for too long, nor at its absolute end; both ends exclusive."""
    s = t.session.c
    return and_(s.revoked_at.is_(None), s.expires_at > now, s.last_seen_at > now - SESSION_IDLE)


def live_session(
    session: Session,
    now: datetime,
    *,
    token_hash: bytes | None = None,
    session_id: UUID | None = None,
) -> LiveSession | None:
    """The live session of a cookie, or that of an id, which a token names.

    None when its person is disabled or no member any more.
    """
    s, u, m = t.session.c, t.user_account.c, t.membership.c
    o = t.organisation.c
    which = s.id == session_id if token_hash is None else s.token_hash == token_hash
    row = session.execute(
        select(
            s.id, s.org_id.label("organisation_id"), s.fresh_at, s.last_seen_at, s.expires_at,
            factors_sql.lacks_required(s.org_id, s.user_id).label("must_enrol"),
            s.network, s.browser, o.suspended_reason.label("suspended"),
            u.id.label("user_id"), u.email, m.role,
        )
        .join_from(t.session, t.user_account, u.id == s.user_id)
        .join(t.membership, and_(m.user_id == s.user_id, m.org_id == s.org_id))
        .join(t.organisation, o.id == s.org_id)
        .where(which, _is_live(now), u.disabled_at.is_(None))
    ).mappings().one_or_none()  # fmt: skip
    if row is None:
        return None
    facts = dict(row)
    user = Person(facts.pop("user_id"), facts.pop("email"))
    return LiveSession(user=user, role=Role(facts.pop("role")), **facts)


def live_sessions(session: Session, user_id: UUID, now: datetime) -> Sequence[RowMapping]:
    """The person's live sessions, newest first; at most SESSIONS_LISTED_MAX."""
    s = t.session.c
    rows = session.execute(
        select(s.id, s.org_id, s.created_at, s.last_seen_at, s.expires_at, s.network, s.browser)
        .where(s.user_id == user_id, _is_live(now))
        .order_by(s.created_at.desc(), s.id.desc())
        .limit(SESSIONS_LISTED_MAX)
    )
    return rows.mappings().all()


def revoke(
    session: Session,
    user_id: UUID,
    now: datetime,
    *,
    org: UUID | None = None,
    only: UUID | None = None,
    but: UUID | None = None,
) -> int:
    """How many sessions of the person ended; the revocation log tells every service so.

    org: those in that organisation. only: that one. but: all but that one.
    """
    s = t.session.c
    query = update(t.session).where(s.user_id == user_id, s.revoked_at.is_(None))
    if org is not None:
        query = query.where(s.org_id == org)
    if only is not None:
        query = query.where(s.id == only)
    if but is not None:
        query = query.where(s.id != but)
    ended = session.execute(query.values(revoked_at=now).returning(s.id)).scalars().all()
    revocations_sql.log_revocations(session, RevocationKind.SESSION, ended, now)
    return len(ended)
