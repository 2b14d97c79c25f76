"""The hash chain of an organisation's audit log. Pure.

    hash(n) = SHA-256( canonical JSON of event n, with hash(n-1) inside )
    hash(0) = 32 zero bytes

Changing, removing or reordering a row breaks every hash after it.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from user_billing.model import AuditEvent

GENESIS = bytes(32)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands: the last number and its hash."""

    seq: int = 0
    hash: bytes = GENESIS


def facts(event: AuditEvent) -> dict[str, Any]:
    """What a hash is over, as JSON holds it, but for the hash before."""
    return {
        "organisation": str(event.organisation_id),
        "seq": event.seq,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": event.actor,
        "action": event.action,
        "target": event.target,
        "detail": event.detail,
        "request_id": event.request_id,
    }


def digest(event: AuditEvent) -> bytes:
    """The 32 bytes that seal `event` to its predecessor; `event.hash` itself is not read."""
    sealed = {**facts(event), "previous": event.previous_hash.hex()}
    canonical = json.dumps(sealed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).digest()


def seal(event: AuditEvent) -> AuditEvent:
    """`event` with its hash."""
    return replace(event, hash=digest(event))


def first_break(events: Iterable[AuditEvent], start: Link = Link()) -> int | None:
    """Sequence number at which a chain, given from after `start`, is no longer what was written.

    None when it is whole.
    """
    previous, expected_seq = start.hash, start.seq + 1
    for event in events:
        intact = event.seq == expected_seq and event.previous_hash == previous
        if not intact or digest(event) != event.hash:
            return expected_seq
        previous, expected_seq = event.hash, expected_seq + 1
    return None
