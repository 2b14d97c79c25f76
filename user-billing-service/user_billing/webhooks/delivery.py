"""Sends what waits: many endpoints at once, each endpoint one message after the other.

    due (all organisations) ─▶ claim, with a lease ─▶ POST, signed ─▶ record
                                   └── killed here: made again after the lease, same id, same body
An endpoint that is slow takes one of SLOTS for ATTEMPT_S at most, and holds up nobody but itself.
Every replica may run one.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from uuid import UUID

import anyio
import anyio.to_thread
import httpx
import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from standardwebhooks.webhooks import Webhook

from user_billing import __version__
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.chassis.guard import Guard, GuardedTransport, Network
from user_billing.chassis.kinds import ServiceError
from user_billing.db import rows
from user_billing.db.session import Database
from user_billing.keyring import Keyring, SealBroken
from user_billing.model import Actor
from user_billing.webhooks import rules, sql
from user_billing.webhooks.rules import State
from user_billing.webhooks.service import label
from user_billing.webhooks.tables import webhook_delivery, webhook_endpoint

log = structlog.get_logger()
ATTEMPTS = Counter(
    "cloudopshub_billing_webhook_attempts_total", "Attempts to deliver a webhook.", ["outcome"]
)

SLOTS: Final = 64
DATABASE_STEPS: Final = 4
"""At once, so that deliveries leave connections to requests."""
IDLE_S: Final = 1
ERROR_MAX: Final = 300
DELIVERY = Actor("webhooks")

Delivery = tuple[UUID, UUID, UUID]
"""Organisation, endpoint, event."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one attempt. status: None without an answer; error: why it is no success."""

    status: int | None
    error: str
    duration_ms: int


class Courier:
    """Delivers while `run` runs."""

    def __init__(
        self, database: Database, clock: Clock, keyring: Keyring, allowed: tuple[Network, ...]
    ) -> None:
        """allowed: networks that may be reached although they are not public."""
        self._database = database
        self._clock = clock
        self._keyring = keyring
        self._allowed = allowed
        self._busy: set[UUID] = set()

    async def run(self) -> None:
        """What is due is on its way, until this is cancelled."""
        wake, steps = asyncio.Event(), anyio.CapacityLimiter(DATABASE_STEPS)
        guard = Guard(self._allowed, "UBS_WEBHOOK_ALLOW")
        http = httpx.AsyncClient(
            transport=GuardedTransport(guard),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            trust_env=False,
        )
        async with http, asyncio.TaskGroup() as group:
            while True:
                wake.clear()
                for delivery in await self._due(steps):
                    self._busy.add(delivery[1])
                    group.create_task(self._deliver(http, steps, delivery, wake))
                with anyio.move_on_after(IDLE_S):
                    await wake.wait()

    async def _due(self, steps: anyio.CapacityLimiter) -> Sequence[Delivery]:
        try:
            return await anyio.to_thread.run_sync(self._read_due, limiter=steps)
        except ServiceError as exc:
            log.warning("webhooks_wait", reason=str(exc))
        except Exception:
            log.exception("webhooks_wait")
        return []

    def _read_due(self) -> Sequence[Delivery]:
        with self._database.directory() as session:
            return sql.due(session, self._clock.now(), self._busy, SLOTS - len(self._busy))

    async def _deliver(
        self,
        http: httpx.AsyncClient,
        steps: anyio.CapacityLimiter,
        delivery: Delivery,
        wake: asyncio.Event,
    ) -> None:
        try:
            row = await anyio.to_thread.run_sync(self._claim, delivery, limiter=steps)
            if row is not None:
                outcome = await self._send(http, row)
                await anyio.to_thread.run_sync(self._record, row, outcome, limiter=steps)
        except Exception:
            log.exception(
                "webhook_attempt_failed", endpoint=str(delivery[1])
            )  # again after a lease
        finally:
            self._busy.discard(delivery[1])
            wake.set()

    def _claim(self, delivery: Delivery) -> Row[Any] | None:
        now = self._clock.now()
        with self._database.organisation(delivery[0]) as session:
            return sql.claim(session, *delivery, now=now, end=now + rules.LEASE)

    async def _send(self, http: httpx.AsyncClient, row: Row[Any]) -> Outcome:
        began_ns, status, error = time.monotonic_ns(), None, ""
        try:
            headers = self._headers(row, self._clock.now())
            with anyio.fail_after(rules.ATTEMPT_S):
                async with http.stream(
                    "POST", row.url, content=row.body.encode(), headers=headers,
                    timeout=rules.ATTEMPT_S, follow_redirects=False,
                ) as answer:  # fmt: skip
                    status = answer.status_code
                    error = "" if answer.is_success else f"it answered {status}"
        except TimeoutError:
            error = f"no answer within {rules.ATTEMPT_S} s"
        except SealBroken:
            error = "the secret cannot be read, since UBS_SECRET_KEY is another: rotate it"
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
            error = (str(exc) or type(exc).__name__)[:ERROR_MAX]
        return Outcome(status, error, (time.monotonic_ns() - began_ns) // 1_000_000)

    def _headers(self, row: Row[Any], now: datetime) -> dict[str, str]:
        sealed = [row.secret_sealed]
        if row.old_secret_until is not None and now < row.old_secret_until:
            sealed.append(row.old_secret_sealed)
        bound_to, event_id = label(row.org_id, row.id), str(row.event_id)
        signers = [Webhook(self._keyring.open(one, label=bound_to)) for one in sealed]
        return {
            "Content-Type": "application/json",
            "User-Agent": f"CloudOpsHub/{__version__}",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(one.sign(event_id, now, row.body) for one in signers),
        }

    def _record(self, row: Row[Any], outcome: Outcome) -> None:
        """The log has the outcome, and the endpoint is off when it is given up."""
        now, org = self._clock.now(), row.org_id
        state, next_at = rules.after_attempt(
            outcome.status, row.attempts, row.queued_at, now, secrets.randbelow(401)
        )
        attempt = {
            "endpoint_id": row.id, "event_id": row.event_id,
            "state": State.PENDING.value, "attempts": row.attempts,
        }  # fmt: skip
        with self._database.organisation(org) as session:
            endpoint = rows.one(session, webhook_endpoint, org, lock=True, id=row.id)
            stands = rows.changed(
                session, webhook_delivery, org, attempt, state=state.value, next_at=next_at,
                **asdict(outcome),
            )  # fmt: skip
            if endpoint is None or not stands:  # removed, or sent again by another meanwhile
                return
            is_delivered = state is State.DELIVERED
            failing_since = None if is_delivered else endpoint.failing_since or now
            disabled_at = endpoint.disabled_at
            given_up = rules.is_given_up(state, outcome.status, failing_since, now)
            if given_up and disabled_at is None:
                disabled_at = now
                sql.fail_pending(session, org, row.id, "the endpoint was given up")
                audit.record(
                    session, org, DELIVERY, "webhook.disabled", str(row.id), now=now,
                    url=row.url, error=outcome.error,
                )  # fmt: skip
            if (failing_since, disabled_at) != (endpoint.failing_since, endpoint.disabled_at):
                rows.changed(
                    session, webhook_endpoint, org, {"id": row.id},
                    failing_since=failing_since, disabled_at=disabled_at,
                )  # fmt: skip
        ATTEMPTS.labels(state.value).inc()
