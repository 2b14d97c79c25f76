"""Alerts to other Alertmanagers, as Prometheus posts them: `POST <url>/api/v2/alerts`."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import orjson

from data_api.notify.messages import JSON, Message
from data_api.notify.sending import Outcome, Sender
from data_api.notify.state import Received
from data_api.notify.store import Attempt, NotifyStore
from data_api.notify.times import rfc3339

BATCH: Final = 1000
"""Alerts in one POST."""
FORWARD_S: Final = 40.0
"""For all of them; within the lease."""


async def forward(
    store: NotifyStore,
    sender: Sender,
    tenant: UUID,
    *,
    urls: Sequence[str],
    alerts: Sequence[Received],
    now_ms: int,
) -> bool:
    """Whether at least one of them took all the alerts; the log has a row for each URL."""
    bodies = [
        orjson.dumps([alert_json(one) for one in alerts[at : at + BATCH]])
        for at in range(0, len(alerts), BATCH)
    ]

    async def post(number: int, url: str) -> bool:
        target = f"{url.rstrip('/')}/api/v2/alerts"
        outcome = Outcome("delivered")
        try:
            async with asyncio.timeout(FORWARD_S):
                for body in bodies:
                    outcome = await sender.post(Message(target, body, JSON))
                    if outcome.result != "delivered":
                        break
        except TimeoutError:
            outcome = Outcome("retry", detail=f"not done within {FORWARD_S:g} s")
        name = f"alertmanager/{number}"
        attempt = Attempt(now_ms, uuid4(), "", name, "", 1, len(alerts))
        await store.record(tenant, attempt, outcome)
        return outcome.result == "delivered"

    return any(await asyncio.gather(*(post(number, url) for number, url in enumerate(urls))))


def alert_json(one: Received) -> dict[str, Any]:
    """The alert as Alertmanager's API takes it."""
    return {
        "labels": dict(one.alert.labels),
        "annotations": dict(one.alert.annotations),
        "startsAt": rfc3339(one.alert.starts_at_ms),
        "endsAt": rfc3339(one.alert.ends_at_ms),
        "generatorURL": one.alert.generator_url,
    }
