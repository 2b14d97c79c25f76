"""The verified caller, and why there may be none."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar
from uuid import UUID

from ..kinds import Kind, ServiceError


class TooManyRequests(ServiceError):
    """The API key asks more often than it may"""

    kind: ClassVar[Kind] = Kind.RATE_LIMITED


class Unauthenticated(ServiceError):
    """No valid credential"""

    kind: ClassVar[Kind] = Kind.UNAUTHENTICATED


class Forbidden(ServiceError):
    """The credential does not allow this"""

    kind: ClassVar[Kind] = Kind.FORBIDDEN


class IdentityUnavailable(ServiceError):
    """The credential cannot be checked now, because user-billing-service does not answer"""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Limits:
    """What the tenant's plan allows, and its reached quotas leave; None = unlimited.

    min_interval_ms: of a series one sample in each such interval is stored. blocked: why no samples
    are taken.
    """

    plan: str = "showback"
    samples_per_s: int | None = None
    burst_samples: int | None = None
    active_series: int | None = None
    retention_days: int | None = None
    query_samples: int | None = None
    query_concurrency: int | None = None
    min_interval_ms: int | None = None
    blocked: str | None = None

    @classmethod
    def from_json(cls, answer: Mapping[str, Any] | None) -> "Limits":
        """The limits ubs sent; names this service does not know yet are left out."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in (answer or {}).items() if name in names})


@dataclass(frozen=True, slots=True)
class Principal:
    """The verified caller of one request."""

    tenant: UUID
    subject: str
    role: str | None
    scopes: frozenset[str]
    limits: Limits
    credential: str
    credential_id: str | None

    def require(self, scope: str) -> None:
        """Passes when the caller holds `scope`; raises Forbidden naming it otherwise."""
        if scope not in self.scopes:
            raise Forbidden(detail=f"it lacks the scope {scope}")
