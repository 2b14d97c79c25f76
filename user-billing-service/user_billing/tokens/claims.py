"""The claims of an access token. Pure. Contract: docs/contracts.md §2."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from user_billing.model import Audience, Limits, Role, Scope

ISSUER = "cloudopshub"

LIFE_S = 300

LEEWAY_S = 10


def claims(
    audience: Audience,
    subject: str,
    organisation_id: UUID,
    now: datetime,
    *,
    role: Role,
    scopes: Iterable[Scope],
    limits: Limits,
) -> dict[str, Any]:
    """The payload of a token that lives for five minutes from `now`; it gets its own
    `jti`, and a person's `sid`, when it is signed.
    """
    issued_at, granted = int(now.timestamp()), set(scopes)
    return {
        "iss": ISSUER,
        "aud": audience,
        "sub": subject,
        "org": str(organisation_id),
        "role": role,
        "scopes": [scope for scope in Scope if scope in granted],
        "limits": asdict(limits),
        "iat": issued_at,
        "exp": issued_at + LIFE_S,
    }
