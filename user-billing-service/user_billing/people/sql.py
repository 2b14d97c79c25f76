"""SQL of people, who belong to no one organisation: in the role of the directory."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.identifiers import new_id
from user_billing.model import Login, Membership, Organisation, Person, Role


def login_of(session: Session, email: str) -> Login | None:
    """The account of an e-mail address with its password hash."""
    u, c = t.user_account.c, t.credential.c
    row = session.execute(
        select(u.id, u.email, u.disabled_at, c.secret)
        .outerjoin_from(t.user_account, t.credential, and_(c.user_id == u.id, c.kind == "password"))
        .where(func.lower(u.email) == email.lower())
    ).one_or_none()
    if row is None:
        return None
    return Login(Person(row.id, row.email), row.secret, row.disabled_at is not None)


def person(session: Session, user_id: UUID) -> Person | None:
    """The person; None when there is none or the account is disabled."""
    u = t.user_account
    row = session.execute(
        select(u.c.id, u.c.email).where(u.c.id == user_id, u.c.disabled_at.is_(None))
    ).one_or_none()
    return None if row is None else Person(row.id, row.email)


def add_person(
    session: Session, email: str, now: datetime, *, password_hash: str | None
) -> Person | None:
    """A new account; None when the address has one already. password_hash None: no password."""
    u, person = t.user_account, Person(new_id(), email)
    made = upsert(u).values(id=person.id, email=email, created_at=now).on_conflict_do_nothing()
    if session.execute(made.returning(u.c.id)).one_or_none() is None:
        return None
    if password_hash is not None:
        set_password(session, person.id, password_hash=password_hash, now=now)
    return person


def set_password(session: Session, user_id: UUID, *, password_hash: str, now: datetime) -> None:
    """The password hash of an account is `password_hash` from here on."""
    values = {"secret": password_hash, "updated_at": now}
    statement = upsert(t.credential).values(user_id=user_id, kind="password", **values)
    session.execute(
        statement.on_conflict_do_update(constraint=t.credential.primary_key, set_=values)
    )


def account(session: Session, user_id: UUID) -> Row[Any] | None:
    """(id, email, created_at, email_verified_at, disabled_at) of a person."""
    return session.execute(
        select(t.user_account).where(t.user_account.c.id == user_id)
    ).one_or_none()


def add_token(
    session: Session, token_hash: bytes, purpose: str, user_id: UUID | None,
    *, email: str | None, now: datetime, life: timedelta,
) -> None:  # fmt: skip
    """A link is on its way. user_id None: one that opens nothing."""
    session.execute(
        insert(t.mailed_token).values(
            token_hash=token_hash, purpose=purpose, user_id=user_id, email=email,
            created_at=now, expires_at=now + life,
        )
    )  # fmt: skip


def token(session: Session, token_hash: bytes, now: datetime) -> Row[Any] | None:
    """The link of a token that was neither used nor has expired, and its person.

    (purpose, user_id, email, created_at, address): email is of the link, address the person's now.
    None for a link that opens nothing and for a disabled person.
    """
    k, u = t.mailed_token.c, t.user_account.c
    columns: list[Any] = [k.purpose, k.user_id, k.email, k.created_at, u.email.label("address")]
    return session.execute(
        select(*columns)
        .join_from(t.mailed_token, t.user_account, u.id == k.user_id)
        .where(k.token_hash == token_hash, k.expires_at > now, u.disabled_at.is_(None))
    ).one_or_none()


def spend_token(session: Session, token_hash: bytes) -> bool:
    """Whether the token was there to be spent: of two that try at once one has it."""
    k = t.mailed_token.c
    done = session.execute(
        delete(t.mailed_token).where(k.token_hash == token_hash).returning(k.token_hash)
    )
    return done.one_or_none() is not None


def drop_tokens(
    session: Session, user_id: UUID, *purposes: str, since: datetime | None = None
) -> None:
    """Links of the person's to these ends (none: to all), made at `since` or later, are void."""
    k = t.mailed_token.c
    query = delete(t.mailed_token).where(k.user_id == user_id)
    if purposes:
        query = query.where(k.purpose.in_(purposes))
    session.execute(query if since is None else query.where(k.created_at >= since))


def forget_address(session: Session, email: str, *, instead: str) -> None:
    """No invitation and no link names the address."""
    i = t.invitation
    session.execute(update(i).where(func.lower(i.c.email) == email).values(email=instead))
    session.execute(delete(t.mailed_token).where(t.mailed_token.c.email == email))


def events_of(session: Session, org: UUID, subject: str, limit: int) -> list[dict[str, Any]]:
    """What the organisation's audit log has of that actor, newest first; inside it."""
    e = t.audit_event.c
    rows = session.execute(
        select(e.at, e.action, e.target, e.detail)
        .where(e.org_id == org, e.actor == subject)
        .order_by(e.seq.desc())
        .limit(limit)
    )
    return [dict(row) for row in rows.mappings()]


def lock_person(session: Session, user_id: UUID) -> None:
    """Until the transaction ends nobody else who calls this changes what the person has."""
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
        {"name": f"billing.user_account:{user_id}"},
    )


def memberships(session: Session, user_id: UUID) -> list[Membership]:
    """The organisations of a person, oldest membership first."""
    o, m = t.organisation.c, t.membership.c
    rows = session.execute(
        select(o.id, o.name, o.slug, m.role)
        .join_from(t.membership, t.organisation, o.id == m.org_id)
        .where(m.user_id == user_id)
        .order_by(m.joined_at, o.id)
    )
    return [Membership(Organisation(r.id, r.name, r.slug), Role(r.role)) for r in rows]
