"""The bodies of the audit log."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel

from user_billing.members.rules import display_name
from user_billing.model import AuditEvent, Member


class AuditEventView(BaseModel):
    """An audit event."""

    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
    request_id: str | None

    @classmethod
    def of(cls, event: AuditEvent, members: Iterable[Member]) -> Self:
        """The view of an event; people who are members appear by their address."""
        return cls(
            seq=event.seq,
            at=event.at,
            actor=display_name(event.actor, members),
            action=event.action,
            target=event.target,
            detail=event.detail,
            request_id=event.request_id,
        )


class AuditView(BaseModel):
    """A page of events, newest first."""

    events: list[AuditEventView]
