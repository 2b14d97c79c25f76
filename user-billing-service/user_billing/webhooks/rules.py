"""When a delivery is tried again, and when it and its endpoint are given up. Pure.

    pending ──2xx──▶ delivered
       ├── else ──▶ pending, after 5 s, 20 s, 80 s … 12 h, each ±20 %
       └── no more time within 3 days, 410, endpoint off ──▶ failed ──replay──▶ pending

Source: https://www.standardwebhooks.com; docs/adr/0042-ledger-wallets-and-webhooks.md.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import httpx

from user_billing.errors import BadInput

ATTEMPT_S: Final = 15
"""An answer's head must be here by then; its body is not read."""
LEASE: Final = timedelta(seconds=60)
"""After so long an attempt without an outcome (a crash) is made again, with the same id."""
GIVE_UP_AFTER: Final = timedelta(days=3)
DISABLE_AFTER: Final = timedelta(days=2)
"""An endpoint that failed for so long without one success is off when a delivery is given up."""
KEEP_FOR: Final = timedelta(days=30)
ENDPOINTS_MAX: Final = 10
"""Of an organisation."""
QUEUE_MAX: Final = 10_000
"""Pending deliveries of an endpoint; further ones fail at once and may be replayed."""
BODY_BYTES_MAX: Final = 64 * 1024
URL_MAX: Final = 2_000
_FIRST_PAUSE_MS: Final = 5_000
_PAUSE_MAX_MS: Final = 12 * 3_600_000


class EventType(StrEnum):
    """What is told of; another room adds its own here."""

    INVOICE_FINALIZED = "invoice.finalized"
    INVOICE_CREDITED = "invoice.credited"
    QUOTA_REACHED = "quota.reached"
    GUARD_OPENED = "guard.opened"
    GUARD_ENDED = "guard.ended"
    KEY_REVOKED = "key.revoked"
    ORGANISATION_SUSPENDED = "organisation.suspended"


class State(StrEnum):
    """Of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


def check_url(url: str, *, plain_http: bool) -> str:
    """`url`, where deliveries may be sent. Raises BadInput.

    plain_http: whether http is good enough, as it is inside networks that the operator allows.
    """
    schemes = ("https", "http") if plain_http else ("https",)
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise BadInput(field="url", detail=str(exc)) from exc
    if len(url) > URL_MAX or parsed.scheme not in schemes or not parsed.host or parsed.userinfo:
        needs = f"{' or '.join(schemes)}://host/path without a password in it"
        raise BadInput(field="url", needs=needs, characters_max=URL_MAX)
    return url


def host(url: str) -> str:
    """What the audit log names: the path and query of a receiver are often its password."""
    return httpx.URL(url).host


def pause(attempt: int, chance: int) -> timedelta:
    """How long after the `attempt`-th one (from 1) the next is made. chance: 0 to 400."""
    whole_ms = min(_PAUSE_MAX_MS, _FIRST_PAUSE_MS * 4 ** min(attempt - 1, 10))
    return timedelta(milliseconds=whole_ms * (800 + chance) // 1000)


def after_attempt(
    status: int | None, attempt: int, queued_at: datetime, now: datetime, chance: int
) -> tuple[State, datetime]:
    """The state after an attempt (status None: no answer), and when the next one is due."""
    if status is not None and 200 <= status < 300:
        return State.DELIVERED, now
    next_at = now + pause(attempt, chance)
    if status == 410 or next_at > queued_at + GIVE_UP_AFTER:
        return State.FAILED, now
    return State.PENDING, next_at


def is_given_up(
    state: State, status: int | None, failing_since: datetime | None, now: datetime
) -> bool:
    """Whether the endpoint is off after this: it said 410 (gone), or failed for long."""
    has_failed_long = failing_since is not None and now - failing_since >= DISABLE_AFTER
    return status == 410 or (state is State.FAILED and has_failed_long)
