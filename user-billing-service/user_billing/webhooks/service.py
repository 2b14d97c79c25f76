"""Endpoints: made, changed, rotated, replayed; and the log of their deliveries."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db import rows
from user_billing.db.session import Database
from user_billing.errors import BadInput, Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.keyring import Keyring
from user_billing.model import Actor
from user_billing.organisations import sql as organisations_sql
from user_billing.webhooks import rules, sql
from user_billing.webhooks.rules import EventType, State
from user_billing.webhooks.tables import webhook_endpoint

PAGE_MAX = 500
SECRET_BYTES = 32


def label(org: UUID, endpoint_id: UUID) -> str:
    """What the sealed secret of an endpoint is bound to."""
    return f"webhook:{org}:{endpoint_id}"


class Webhooks:
    """The endpoints of all organisations."""

    def __init__(
        self, database: Database, clock: Clock, keyring: Keyring, *, plain_http: bool
    ) -> None:
        self._database = database
        self._clock = clock
        self._keyring = keyring
        self._plain_http = plain_http

    def all(self, org: UUID) -> Sequence[Row[Any]]:
        """The endpoints, newest first."""
        with self._database.organisation(org) as session:
            return rows.latest(session, webhook_endpoint, org, rules.ENDPOINTS_MAX)

    def create(
        self, org: UUID, url: str, types: Sequence[EventType], actor: Actor
    ) -> tuple[Row[Any], str]:
        """A new endpoint and its secret, which is told this once. No types: all events."""
        rules.check_url(url, plain_http=self._plain_http)
        now, endpoint_id = self._clock.now(), new_id()
        secret, sealed = self._new_secret(org, endpoint_id)
        with self._database.organisation(org) as session:
            organisations_sql.lock(session, org)
            before = rows.latest(session, webhook_endpoint, org, rules.ENDPOINTS_MAX)
            if len(before) >= rules.ENDPOINTS_MAX:
                raise Conflict(endpoints_max=rules.ENDPOINTS_MAX)
            rows.add_one(
                session, webhook_endpoint, org, id=endpoint_id, url=url,
                event_types=sorted(set(types)), secret_sealed=sealed, created_at=now,
            )  # fmt: skip
            row = rows.require(session, webhook_endpoint, org, id=endpoint_id)
            audit.record(
                session, org, actor, "webhook.created", str(endpoint_id), now=now,
                host=rules.host(url),
            )  # fmt: skip
        return row, secret

    def change(
        self, org: UUID, endpoint_id: UUID, actor: Actor,
        *, url: str | None = None, event_types: Sequence[EventType] | None = None,
        enabled: bool | None = None,
    ) -> Row[Any]:  # fmt: skip
        """The endpoint as it is after; None leaves a value. Off: what waited for it has failed."""
        now, values = self._clock.now(), dict[str, Any]()
        if url is not None:
            values["url"] = rules.check_url(url, plain_http=self._plain_http)
        if event_types is not None:
            values["event_types"] = sorted(set(event_types))
        with self._database.organisation(org) as session:
            row = rows.require(session, webhook_endpoint, org, lock=True, id=endpoint_id)
            if enabled is True:
                values |= {"disabled_at": None, "failing_since": None}
            if enabled is False and row.disabled_at is None:
                values["disabled_at"] = now
                sql.fail_pending(session, org, endpoint_id, "the endpoint was turned off")
            if values:
                (row,) = rows.changed(session, webhook_endpoint, org, {"id": endpoint_id}, **values)
                names = sorted(values)
                audit.record(
                    session, org, actor, "webhook.changed", str(endpoint_id), now=now, changed=names
                )
            return row

    def remove(self, org: UUID, endpoint_id: UUID, actor: Actor) -> None:
        """The endpoint, its secret and its log are gone."""
        now = self._clock.now()
        with self._database.organisation(org) as session:
            row = rows.require(session, webhook_endpoint, org, lock=True, id=endpoint_id)
            rows.remove(session, webhook_endpoint, org, id=endpoint_id)
            audit.record(
                session, org, actor, "webhook.removed", str(endpoint_id), now=now,
                host=rules.host(row.url),
            )  # fmt: skip

    def rotate(
        self, org: UUID, endpoint_id: UUID, overlap: timedelta, actor: Actor
    ) -> tuple[Row[Any], str]:
        """The endpoint and its new secret; the old one signs as well until `overlap` is over."""
        now, key = self._clock.now(), {"id": endpoint_id}
        secret, sealed = self._new_secret(org, endpoint_id)
        with self._database.organisation(org) as session:
            old = rows.require(session, webhook_endpoint, org, lock=True, id=endpoint_id)
            (row,) = rows.changed(
                session, webhook_endpoint, org, key, secret_sealed=sealed,
                old_secret_sealed=old.secret_sealed, old_secret_until=now + overlap,
            )  # fmt: skip
            audit.record(session, org, actor, "webhook.rotated", str(endpoint_id), now=now)
        return row, secret

    def deliveries(
        self, org: UUID, endpoint_id: UUID,
        *, state: State | None, before: UUID | None, limit: int,
    ) -> Sequence[Row[Any]]:  # fmt: skip
        """At most `limit` deliveries of events with an id below `before`, newest first."""
        with self._database.organisation(org) as session:
            rows.require(session, webhook_endpoint, org, id=endpoint_id)
            return sql.deliveries(
                session, org, endpoint_id, state=state, before=before, limit=limit
            )

    def replay(
        self, org: UUID, endpoint_id: UUID, actor: Actor,
        *, event_id: UUID | None, failed_since: datetime | None,
    ) -> int:  # fmt: skip
        """How many deliveries are made again: of one event, or all that failed since."""
        if (event_id is None) == (failed_since is None):
            raise BadInput(field="event_id, failed_since", needs="one of them")
        now = self._clock.now()
        with self._database.organisation(org) as session:
            row = rows.require(session, webhook_endpoint, org, lock=True, id=endpoint_id)
            if row.disabled_at is not None:
                raise Conflict(detail="the endpoint is off: turn it on first")
            count = sql.requeue(
                session, org, endpoint_id, now, event_id=event_id, failed_since=failed_since
            )
            if event_id is not None and not count:
                raise NotFound(event=str(event_id), detail="no delivery of it that is done")
            audit.record(
                session, org, actor, "webhook.replayed", str(endpoint_id), now=now, count=count
            )
        return count

    def sweep(self) -> None:
        """Events are kept for KEEP_FOR."""
        with self._database.directory() as session:
            sql.sweep(session, self._clock.now() - rules.KEEP_FOR)

    def _new_secret(self, org: UUID, endpoint_id: UUID) -> tuple[str, bytes]:
        raw = secrets.token_bytes(SECRET_BYTES)
        sealed = self._keyring.seal(raw, label=label(org, endpoint_id))
        return f"whsec_{base64.b64encode(raw).decode()}", sealed
