"""The nouns of identity. Frozen, free of behaviour, importing none of our modules."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID


class Role(StrEnum):
    """What a person is in an organisation; `service` is a sister service acting for a tenant."""

    OWNER = "owner"
    ADMIN = "admin"
    VIEWER = "viewer"
    SERVICE = "service"


PersonRole = Literal[Role.OWNER, Role.ADMIN, Role.VIEWER]
"""What a person can be in an organisation."""


class Scope(StrEnum):
    """What a credential may do. Contract: docs/contracts.md §2."""

    METRICS_WRITE = "metrics:write"
    METRICS_READ = "metrics:read"
    ANALYSIS_RUN = "analysis:run"
    BILLING_READ = "billing:read"
    ADMIN = "admin"


class Audience(StrEnum):
    """The services a token can be addressed to."""

    DAS = "das"
    DIS = "dis"
    APS = "aps"
    UBS = "ubs"


SERVICES = frozenset({Audience.DAS, Audience.DIS, Audience.APS})
"""The sister services, which call this one."""


class KeyState(StrEnum):
    """Life of a signing key: published → signing → published until its last token is dead."""

    NEXT = "next"
    ACTIVE = "active"
    RETIRED = "retired"


class RevocationKind(StrEnum):
    """What a row of the revocation log makes invalid."""

    KEY = "key"
    SESSION = "session"
    ORGANISATION = "organisation"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the plan of an organisation allows, and its reached quotas leave; None is unlimited.

    min_interval_ms: of a series one sample in each such interval is stored. blocked: why no samples
    are taken.
    """

    plan: str
    samples_per_s: int | None
    burst_samples: int | None
    active_series: int | None
    retention_days: int | None
    query_samples: int | None
    query_concurrency: int | None
    min_interval_ms: int | None = None
    blocked: str | None = None


@dataclass(frozen=True, slots=True)
class Organisation:
    """A tenant."""

    id: UUID
    name: str
    slug: str


@dataclass(frozen=True, slots=True)
class Person:
    """A human account; belongs to any number of organisations."""

    id: UUID
    email: str


@dataclass(frozen=True, slots=True)
class Login:
    """A person together with what proves them; None when no password is set."""

    person: Person
    password_hash: str | None
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A person inside one organisation."""

    user_id: UUID
    email: str
    role: Role
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class Membership:
    """One of the organisations a person belongs to."""

    organisation: Organisation
    role: Role


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A browser session that is neither revoked nor expired, with the role its owner has now.

    network, browser: where it was opened, in coarse words. suspended: why its organisation is.
    """

    id: UUID
    user: Person
    organisation_id: UUID
    role: Role
    fresh_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    must_enrol: bool = False
    """The organisation requires a second factor that the person lacks: they may only set it up."""
    network: str | None = None
    browser: str | None = None
    suspended: str | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it may be shown: never the secret, only its start."""

    id: UUID
    name: str
    start: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    created_by: str
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    networks: tuple[str, ...] = ()
    requests_per_s: int | None = None
    replaced_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What introspection reads about a key, across organisations."""

    id: UUID
    organisation_id: UUID
    hash: bytes
    scopes: tuple[Scope, ...]
    expires_at: datetime | None
    revoked_at: datetime | None
    networks: tuple[str, ...]
    requests_per_s: int | None
    limits: Limits
    is_suspended: bool


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A member that is no person and owns keys with at most its scopes."""

    id: UUID
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    created_by: str
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Invitation:
    """An open offer to join an organisation."""

    id: UUID
    organisation_id: UUID
    email: str
    role: Role
    expires_at: datetime
    invited_by: str


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: the subject written to the audit log, and the request it came with."""

    subject: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One link of an organisation's audit chain."""

    organisation_id: UUID
    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, str | int | list[str] | None]
    request_id: str | None
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller of this service.

    role: the person's role now; None for API keys. user_id, session: only for people.
    expires_at: when the API key ends; None: never, or no key. networks: where the key may be used;
    none: everywhere.
    """

    tenant: UUID
    actor: Actor
    scopes: frozenset[Scope]
    credential: Literal["session", "token", "key"]
    role: Role | None = None
    user_id: UUID | None = None
    session: LiveSession | None = None
    expires_at: datetime | None = None
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """Where an attempt to log in comes from, and the request it came with.

    device: what an earlier log-in left in the browser. browser: what it is, in words.
    """

    address: str
    device: str | None = None
    browser: str = ""
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Throttled:
    """How long a bucket of login attempts stays closed."""

    failures: int
    last_at: datetime
    blocked_until: datetime | None
