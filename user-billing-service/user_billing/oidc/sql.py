"""SQL of identities, in the role of the directory; of mapped memberships inside an organisation."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.identifiers import new_id
from user_billing.oidc.providers import Provider

_I = t.identity.c


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
    query = select(_I.user_id).where(_I.issuer == issuer, _I.subject == subject)
    return session.execute(query).scalar_one_or_none()


def link(session: Session, user_id: UUID, provider: Provider, subject: str, now: datetime) -> bool:
    """Whether the identity is the person's from here on; False: it is linked already."""
    made = upsert(t.identity).values(
        id=new_id(), user_id=user_id, provider=provider.name, issuer=provider.issuer,
        subject=subject,
        linked_at=now,
    )  # fmt: skip
    done = session.execute(made.on_conflict_do_nothing().returning(_I.id))
    return done.one_or_none() is not None


def identities(session: Session, user_id: UUID) -> list[Identity]:
    """The person's identities, oldest first."""
    columns = (_I.id, _I.provider, _I.issuer, _I.subject, _I.linked_at, _I.last_login_at)
    rows = session.execute(select(*columns).where(_I.user_id == user_id).order_by(_I.linked_at))
    return [Identity(*row) for row in rows]


def organisation_by_slug(session: Session, slug: str) -> UUID | None:
    """The organisation of that slug."""
    o = t.organisation.c
    return session.execute(select(o.id).where(o.slug == slug)).scalar_one_or_none()


def mapped_by(session: Session, org: UUID, user_id: UUID) -> str | None:
    """The provider that made the person a member; None: somebody here did."""
    m = t.membership.c
    query = select(m.mapped_by).where(m.org_id == org, m.user_id == user_id)
    return session.execute(query).scalar_one_or_none()
