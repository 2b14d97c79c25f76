"""The events that wait for endpoints.

`emit` is a step of the transaction of what happened: what is rolled back is told to nobody, and
what is committed is told at least once, each time under the same id.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import Session

from user_billing.db import rows
from user_billing.identifiers import new_id
from user_billing.webhooks import rules, sql
from user_billing.webhooks.rules import EventType
from user_billing.webhooks.tables import webhook_event

OF_AUDIT: Final[Mapping[str, EventType]] = {
    "invoice.finalised": EventType.INVOICE_FINALIZED,
    "invoice.credited": EventType.INVOICE_CREDITED,
    "invoice.voided": EventType.INVOICE_CREDITED,
    "key.revoked": EventType.KEY_REVOKED,
    "organisation.suspended": EventType.ORGANISATION_SUSPENDED,
}
"""Events of the audit log that webhooks are told of, too."""


def emit(
    session: Session, org: UUID, type_: EventType, payload: Mapping[str, Any], now: datetime
) -> UUID | None:
    """The id under which the event waits for all endpoints that want it; None: there are none.

    session: a transaction inside the organisation. payload: JSON, as `data` of the message.
    """
    listeners = sql.listeners(session, org, type_)
    if not listeners:
        return None
    message = {"type": type_.value, "timestamp": now.isoformat(), "data": dict(payload)}
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    assert len(body.encode()) <= rules.BODY_BYTES_MAX, (
        "an event names things, it does not hold them"
    )
    event_id = new_id()
    rows.add_one(session, webhook_event, org, id=event_id, type=type_.value, body=body, at=now)
    for endpoint_id in listeners:
        sql.add_delivery(session, org, endpoint_id, event_id, now)
    return event_id
