"""SQL of browser sessions, which belong to people: in the role of the directory."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, and_, delete, insert, select, update
from sqlalchemy.orm import Session

from user_billing.factors import sql as factors_sql
from user_billing.members import tables as members_t
from user_billing.model import LiveSession, Person, RevocationKind, Role
from user_billing.organisations import tables as organisations_t
from user_billing.people import tables as people_t
from user_billing.revocations import sql as revocations_sql
from user_billing.sessions import tables as t
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


def session_by_token(session: Session, token_hash: bytes) -> LiveSession | None:
    """The session of a cookie, unless revoked, disabled or no longer backed by a membership."""
    return _one_session(session, t.session.c.token_hash == token_hash)


def session_by_id(session: Session, session_id: UUID) -> LiveSession | None:
    """The session a token was made from, under the same conditions."""
    return _one_session(session, t.session.c.id == session_id)


def _one_session(session: Session, condition: Any) -> LiveSession | None:
    s, u, m = t.session, people_t.user_account, members_t.membership
    o = organisations_t.organisation
    row = session.execute(
        select(
            s.c.id, s.c.org_id, s.c.fresh_at, s.c.last_seen_at, s.c.expires_at,
            u.c.id.label("user_id"), u.c.email, m.c.role,
            factors_sql.lacks_required(s.c.org_id, s.c.user_id).label("must_enrol"),
            s.c.network, s.c.browser, o.c.suspended_reason,
        )
        .join_from(s, u, u.c.id == s.c.user_id)
        .join(m, and_(m.c.user_id == s.c.user_id, m.c.org_id == s.c.org_id))
        .join(o, o.c.id == s.c.org_id)
        .where(condition, s.c.revoked_at.is_(None), u.c.disabled_at.is_(None))
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    return LiveSession(
        id=row.id,
        user=Person(row.user_id, row.email),
        organisation_id=row.org_id,
        role=Role(row.role),
        fresh_at=row.fresh_at,
        last_seen_at=row.last_seen_at,
        expires_at=row.expires_at,
        must_enrol=row.must_enrol,
        network=row.network,
        browser=row.browser,
        suspended=row.suspended_reason,
    )


def touch_session(session: Session, session_id: UUID, now: datetime) -> None:
    """The session was used at `now`."""
    session.execute(update(t.session).where(t.session.c.id == session_id).values(last_seen_at=now))


def live_sessions(session: Session, user_id: UUID, now: datetime) -> Sequence[RowMapping]:
    """The person's live sessions, newest first; at most SESSIONS_LISTED_MAX."""
    s = t.session.c
    rows = session.execute(
        select(s.id, s.org_id, s.created_at, s.last_seen_at, s.expires_at, s.network, s.browser)
        .where(
            s.user_id == user_id,
            s.revoked_at.is_(None),
            s.expires_at > now,
            s.last_seen_at > now - SESSION_IDLE,
        )
        .order_by(s.created_at.desc(), s.id.desc())
        .limit(SESSIONS_LISTED_MAX)
    )
    return rows.mappings().all()


def make_fresh(session: Session, session_id: UUID, now: datetime) -> None:
    """The person has proved who they are at `now`."""
    session.execute(update(t.session).where(t.session.c.id == session_id).values(fresh_at=now))


def revoke_session(session: Session, session_id: UUID, now: datetime) -> None:
    """The session ends, and the revocation log tells every service so."""
    done = session.execute(
        update(t.session)
        .where(t.session.c.id == session_id, t.session.c.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(t.session.c.id)
    ).all()
    revocations_sql.log_revocations(session, RevocationKind.SESSION, [row.id for row in done], now)


def revoke_of_person(
    session: Session,
    user_id: UUID,
    now: datetime,
    *,
    only: UUID | None = None,
    but: UUID | None = None,
) -> int:
    """How many sessions of the person ended: all, `only` one, or all `but` one."""
    s = t.session.c
    query = update(t.session).where(s.user_id == user_id, s.revoked_at.is_(None))
    if only is not None:
        query = query.where(s.id == only)
    if but is not None:
        query = query.where(s.id != but)
    done = session.execute(query.values(revoked_at=now).returning(s.id)).all()
    revocations_sql.log_revocations(session, RevocationKind.SESSION, [row.id for row in done], now)
    return len(done)


def forget_person(session: Session, user_id: UUID) -> None:
    """Nothing is stored of the person's sessions; they were revoked before."""
    session.execute(delete(t.session).where(t.session.c.user_id == user_id))


def revoke_member_sessions(
    session: Session, user_id: UUID, organisation_id: UUID, now: datetime
) -> None:
    """A person's sessions in one organisation end: their role there is another, or none."""
    done = session.execute(
        update(t.session)
        .where(
            t.session.c.user_id == user_id,
            t.session.c.org_id == organisation_id,
            t.session.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
        .returning(t.session.c.id)
    ).all()
    revocations_sql.log_revocations(session, RevocationKind.SESSION, [row.id for row in done], now)


def sweep(session: Session, now: datetime) -> None:
    """Sessions that ended a week ago are gone."""
    session.execute(delete(t.session).where(t.session.c.expires_at < now - timedelta(days=7)))
