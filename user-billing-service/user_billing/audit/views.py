"""The bodies of the audit log."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class AuditEventView(BaseModel):
    """An audit event."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
    request_id: str | None


class AuditView(BaseModel):
    """A page of events, newest first."""

    events: list[AuditEventView]
