"""SQL of people, who belong to no one organisation: in the role of the directory."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.members import tables as members_t
from user_billing.model import Login, Membership, Organisation, Person, Role
from user_billing.organisations import tables as organisations_t
from user_billing.people import tables as t


def login_of(session: Session, email: str) -> Login | None:
    """The account of an e-mail address with its password hash."""
    row = session.execute(
        select(
            t.user_account.c.id,
            t.user_account.c.email,
            t.user_account.c.disabled_at,
            t.credential.c.secret,
        )
        .outerjoin_from(
            t.user_account,
            t.credential,
            and_(t.credential.c.user_id == t.user_account.c.id, t.credential.c.kind == "password"),
        )
        .where(func.lower(t.user_account.c.email) == email.lower())
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
    session: Session, person: Person, *, password_hash: str, now: datetime
) -> Person | None:
    """A new account with a password; None when the address has one already."""
    done = session.execute(
        upsert(t.user_account)
        .values(id=person.id, email=person.email, created_at=now)
        .on_conflict_do_nothing()
        .returning(t.user_account.c.id)
    ).one_or_none()
    if done is None:
        return None
    session.execute(
        insert(t.credential).values(
            user_id=person.id, kind="password", secret=password_hash, updated_at=now
        )
    )
    return person


def set_password(session: Session, user_id: UUID, *, password_hash: str, now: datetime) -> None:
    """The password hash of an account is `password_hash` from here on."""
    session.execute(
        update(t.credential)
        .where(t.credential.c.user_id == user_id, t.credential.c.kind == "password")
        .values(secret=password_hash, updated_at=now)
    )


def lock_person(session: Session, user_id: UUID) -> None:
    """Until the transaction ends nobody else who calls this changes what the person has."""
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
        {"name": f"billing.user_account:{user_id}"},
    )


def memberships(session: Session, user_id: UUID) -> list[Membership]:
    """The organisations of a person, oldest membership first."""
    rows = session.execute(
        select(
            organisations_t.organisation.c.id,
            organisations_t.organisation.c.name,
            organisations_t.organisation.c.slug,
            members_t.membership.c.role,
        )
        .join_from(
            members_t.membership,
            organisations_t.organisation,
            organisations_t.organisation.c.id == members_t.membership.c.org_id,
        )
        .where(members_t.membership.c.user_id == user_id)
        .order_by(members_t.membership.c.joined_at, organisations_t.organisation.c.id)
    )
    return [Membership(Organisation(r.id, r.name, r.slug), Role(r.role)) for r in rows]
