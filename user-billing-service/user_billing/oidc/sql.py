"""SQL of identities, in the role of the directory; of mapped memberships inside an organisation."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.members import tables as members_t
from user_billing.model import Person
from user_billing.oidc import tables as t
from user_billing.organisations import tables as organisations_t
from user_billing.people import tables as people_t


@dataclass(frozen=True, slots=True)
class Identity:
    """A person's account at a provider."""

    id: UUID
    provider: str
    issuer: str
    subject: str
    linked_at: datetime
    last_login_at: datetime | None


def owner_of(session: Session, issuer: str, subject: str) -> UUID | None:
    """Whose identity it is."""
    i = t.identity
    query = select(i.c.user_id).where(i.c.issuer == issuer, i.c.subject == subject)
    return session.execute(query).scalar_one_or_none()


def link(session: Session, identity: Identity, user_id: UUID) -> bool:
    """Whether the identity is the person's from here on; False: it is linked already."""
    i = t.identity
    values = {
        "id": identity.id,
        "provider": identity.provider,
        "issuer": identity.issuer,
        "subject": identity.subject,
        "linked_at": identity.linked_at,
        "user_id": user_id,
    }
    done = session.execute(upsert(i).values(values).on_conflict_do_nothing().returning(i.c.id))
    return done.one_or_none() is not None


def note_login(session: Session, issuer: str, subject: str, now: datetime) -> None:
    """The identity was used."""
    i = t.identity
    session.execute(
        update(i).where(i.c.issuer == issuer, i.c.subject == subject).values(last_login_at=now)
    )


def identities(session: Session, user_id: UUID) -> list[Identity]:
    """The person's identities, oldest first."""
    i = t.identity
    columns = (i.c.id, i.c.provider, i.c.issuer, i.c.subject, i.c.linked_at, i.c.last_login_at)
    rows = session.execute(select(*columns).where(i.c.user_id == user_id).order_by(i.c.linked_at))
    return [Identity(*row) for row in rows]


def unlink(session: Session, identity_id: UUID) -> None:
    """The identity is nobody's."""
    session.execute(delete(t.identity).where(t.identity.c.id == identity_id))


def unlink_all(session: Session, user_id: UUID) -> None:
    """Nobody logs in as the person by a provider."""
    session.execute(delete(t.identity).where(t.identity.c.user_id == user_id))


def has_password(session: Session, user_id: UUID) -> bool:
    """Whether the person can log in without a provider."""
    c = people_t.credential
    query = select(c.c.user_id).where(c.c.user_id == user_id, c.c.kind == "password")
    return session.execute(query).one_or_none() is not None


def add_person(session: Session, person: Person, now: datetime) -> bool:
    """Whether an account without a password was made; False: the address has one."""
    u = people_t.user_account
    made = upsert(u).values(id=person.id, email=person.email, created_at=now)
    done = session.execute(made.on_conflict_do_nothing().returning(u.c.id))
    return done.one_or_none() is not None


def organisation_by_slug(session: Session, slug: str) -> UUID | None:
    """The organisation of that slug."""
    o = organisations_t.organisation
    return session.execute(select(o.c.id).where(o.c.slug == slug)).scalar_one_or_none()


def mapped_by(session: Session, org: UUID, user_id: UUID) -> str | None:
    """The provider that made the person a member; None: somebody here did."""
    m = members_t.membership
    query = select(m.c.mapped_by).where(m.c.org_id == org, m.c.user_id == user_id)
    return session.execute(query).scalar_one_or_none()


def set_mapped_by(session: Session, org: UUID, user_id: UUID, provider: str) -> None:
    """The membership follows the provider."""
    m = members_t.membership
    session.execute(
        update(m).where(m.c.org_id == org, m.c.user_id == user_id).values(mapped_by=provider)
    )
