"""Who is asking: API keys and short-lived tokens turned into a `Principal`.

    headers ── API key ── cache ── POST ubs /internal/introspect ──┐
        │                   ▲                                      ├─▶ Principal
        └──── JWT ── JWKS ──┼── revoked sessions ──────────────────┘
                            └── GET ubs /internal/revocations, every 2 s

The tenant comes from the verified credential and from nowhere else. While ubs does not answer,
known keys live to their TTL and unknown ones are refused as `unavailable`, never as wrong.
Contract: docs/contracts.md §2.
"""

from .client import IdentityClient, credential_of
from .principal import (
    Forbidden,
    IdentityUnavailable,
    Limits,
    Principal,
    TooManyRequests,
    Unauthenticated,
)

__all__ = [
    "Forbidden",
    "IdentityClient",
    "IdentityUnavailable",
    "Limits",
    "Principal",
    "TooManyRequests",
    "Unauthenticated",
    "credential_of",
]
