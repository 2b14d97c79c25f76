"""When groups are evaluated; pure.

    … ─┬──── interval ────┬──── interval ────┬─ …      slots of a group: offset + n × interval
       └ evaluated        └ missed           └ the latest slot that has come is evaluated

The offset comes from the group's name, so that groups are spread over the interval and each is
evaluated at the same times by whichever process does it.
"""

import hashlib
from dataclasses import replace
from typing import Final

from data_api.rules.alerting import AlertState, Phase

PAUSE_MS: Final = 5 * 60_000
"""Without evaluations for longer, nobody knows whether what is pending was so all the time."""
FORGOTTEN_MS: Final = 3_600_000
"""After so long a pause what is pending begins anew. Source: Prometheus' outage tolerance."""


def offset_ms(group: tuple[str, str, str], interval_ms: int) -> int:
    """The first slot after 0 of (tenant, namespace, name): the same in every process, different
    between groups.
    """
    digest = hashlib.blake2b("\0".join(group).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % interval_ms


def slot_ms(now_ms: int, offset: int, interval_ms: int) -> int:
    """The latest slot that is not after `now_ms`."""
    return now_ms - (now_ms - offset) % interval_ms


def missed(evaluated_ms: int | None, slot: int, interval_ms: int) -> int:
    """Slots between the one that was evaluated last and `slot`, which nobody evaluated."""
    return 0 if evaluated_ms is None else max(0, -((evaluated_ms - slot) // interval_ms) - 1)


def resumed(
    state: AlertState, evaluated_ms: int | None, at_ms: int, interval_ms: int
) -> AlertState:
    """The alerts after a pause, which is what is beyond an interval: what fires goes on; what is
    pending waits that much longer, since nobody looked, and begins anew after FORGOTTEN_MS.
    """
    pause_ms = 0 if evaluated_ms is None else at_ms - evaluated_ms - interval_ms
    if pause_ms <= PAUSE_MS:
        return state
    alerts = dict(state.alerts)
    for key, alert in state.alerts.items():
        if alert.phase is Phase.PENDING:
            if pause_ms > FORGOTTEN_MS:
                del alerts[key]
            else:
                alerts[key] = replace(alert, active_at_ms=alert.active_at_ms + pause_ms)
    return replace(state, alerts=alerts)
