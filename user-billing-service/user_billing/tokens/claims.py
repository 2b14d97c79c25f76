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
    *,
    audience: Audience,
    subject: str,
    organisation_id: UUID,
    role: Role,
    scopes: Iterable[Scope],
    limits: Limits,
    now: datetime,
    token_id: UUID,
    session_id: UUID | None = None,
) -> dict[str, Any]:
    """The payload of a token that lives for five minutes from `now`; `sid` only for people."""
    issued_at = int(now.timestamp())
    payload: dict[str, Any] = {
        "iss": ISSUER,
        "aud": audience.value,
        "sub": subject,
        "org": str(organisation_id),
        "role": role.value,
        "scopes": [scope.value for scope in Scope if scope in set(scopes)],
        "limits": asdict(limits),
        "iat": issued_at,
        "exp": issued_at + LIFE_S,
        "jti": str(token_id),
    }
    if session_id is not None:
        payload["sid"] = str(session_id)
    return payload
