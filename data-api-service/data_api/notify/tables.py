"""The tables of notifications, schema `rules`: rows ↔ nouns, and the statements."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from data_api.model import Matcher, MatchOp
from data_api.notify.state import GroupTimes, Outbox, Received, Sent, Silence, TenantState
from data_api.rules.model import Alert

Rows = Iterable[Sequence[Any]]
DELIVERIES_MAX: Final = 1000
"""Rows of the delivery log of one tenant; the oldest go first."""

WAKE: Final = """
INSERT INTO rules.notify_tenant AS t (tenant_id, changes, due_ms) VALUES ($1, 1, $2)
ON CONFLICT (tenant_id) DO UPDATE SET changes = t.changes + 1, due_ms = LEAST(t.due_ms, $2)
RETURNING changes
"""
CLAIM: Final = """
UPDATE rules.notify_tenant SET holder = $1, lease_until = now() + $2::interval
WHERE tenant_id = (
    SELECT tenant_id FROM rules.notify_tenant
    WHERE due_ms <= $3 AND (lease_until IS NULL OR lease_until < now())
    ORDER BY due_ms LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING tenant_id, changes, forwarded
"""
# Where something came in meanwhile it is due now, behind those that have waited longer.
RELEASE: Final = """
UPDATE rules.notify_tenant SET holder = NULL, lease_until = NULL, forwarded = $5,
    due_ms = CASE WHEN changes = $3 THEN $4::bigint ELSE $6::bigint END
WHERE tenant_id = $1 AND holder = $2
"""
FENCE: Final = """
SELECT true FROM rules.notify_tenant
WHERE tenant_id = $1 AND holder = $2 AND lease_until > now() FOR UPDATE
"""
CONFIG: Final = "SELECT revision, sealed FROM rules.notify_config WHERE tenant_id = $1"
SET_CONFIG: Final = """
INSERT INTO rules.notify_config VALUES ($1, gen_random_uuid(), $2, now())
ON CONFLICT (tenant_id) DO UPDATE
SET revision = EXCLUDED.revision, sealed = EXCLUDED.sealed, updated_at = EXCLUDED.updated_at
"""
DELETE_CONFIG: Final = "DELETE FROM rules.notify_config WHERE tenant_id = $1"
ALERTS: Final = """
SELECT fingerprint, labels, annotations, starts_ms, ends_ms, updated_ms, generator_url, received
FROM rules.notify_alert WHERE tenant_id = $1
"""
SILENCES: Final = """
SELECT silence_id, matchers, starts_ms, ends_ms, updated_ms, created_by, comment
FROM rules.notify_silence WHERE tenant_id = $1
"""
GROUPS: Final = """
SELECT group_id, receiver, next_flush_ms, flushed_ms FROM rules.notify_group WHERE tenant_id = $1
"""
SENT: Final = """
SELECT group_id, integration, sent_ms, firing, outbox_id, outbox_firing, outbox_created_ms,
    outbox_data, attempts, next_attempt_ms
FROM rules.notify_sent WHERE tenant_id = $1
"""
PUT_SILENCE: Final = """
INSERT INTO rules.notify_silence VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id, silence_id) DO UPDATE SET matchers = EXCLUDED.matchers,
    starts_ms = EXCLUDED.starts_ms, ends_ms = EXCLUDED.ends_ms, updated_ms = EXCLUDED.updated_ms,
    created_by = EXCLUDED.created_by, comment = EXCLUDED.comment
"""
OLD_SILENCES: Final = "DELETE FROM rules.notify_silence WHERE tenant_id = $1 AND ends_ms < $2"
PUT_GROUP: Final = """
INSERT INTO rules.notify_group VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, group_id) DO UPDATE
SET next_flush_ms = EXCLUDED.next_flush_ms, flushed_ms = EXCLUDED.flushed_ms
"""
PUT_SENT: Final = """
INSERT INTO rules.notify_sent VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (tenant_id, group_id, integration) DO UPDATE SET
    sent_ms = EXCLUDED.sent_ms, firing = EXCLUDED.firing, outbox_id = EXCLUDED.outbox_id,
    outbox_firing = EXCLUDED.outbox_firing, outbox_created_ms = EXCLUDED.outbox_created_ms,
    outbox_data = EXCLUDED.outbox_data, attempts = EXCLUDED.attempts,
    next_attempt_ms = EXCLUDED.next_attempt_ms
"""
GONE_GROUPS: Final = """
WITH gone AS (DELETE FROM rules.notify_group WHERE tenant_id = $1 AND group_id = ANY($2))
DELETE FROM rules.notify_sent WHERE tenant_id = $1 AND group_id = ANY($2)
"""
# Not those that were told again since they were read.
GONE_ALERTS: Final = """
DELETE FROM rules.notify_alert
WHERE tenant_id = $1 AND fingerprint = ANY($2) AND received <= $3
"""
# The attempt is counted before it is made: of two dispatchers only one makes it.
ATTEMPT: Final = """
UPDATE rules.notify_sent SET attempts = attempts + 1, next_attempt_ms = $5
WHERE tenant_id = $1 AND group_id = $2 AND integration = $3 AND outbox_id = $4 AND attempts = $6
RETURNING true
"""
RETRIED: Final = """
UPDATE rules.notify_sent SET next_attempt_ms = $5
WHERE tenant_id = $1 AND group_id = $2 AND integration = $3 AND outbox_id = $4
"""
# Delivered ($5) or given up.
SETTLED: Final = """
UPDATE rules.notify_sent SET sent_ms = CASE WHEN $5 THEN outbox_created_ms ELSE sent_ms END,
    firing = CASE WHEN $5 THEN outbox_firing ELSE firing END, outbox_id = NULL,
    outbox_firing = NULL, outbox_created_ms = NULL, outbox_data = NULL, attempts = 0
WHERE tenant_id = $1 AND group_id = $2 AND integration = $3 AND outbox_id = $4
"""
LOG: Final = """
INSERT INTO rules.notify_delivery (tenant_id, at_ms, outbox_id, receiver, integration, group_key,
    attempt, alerts, result, status, detail, duration_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
OLD_DELIVERIES: Final = f"""
DELETE FROM rules.notify_delivery WHERE tenant_id = $1 AND delivery_id <= (
    SELECT delivery_id FROM rules.notify_delivery WHERE tenant_id = $1
    ORDER BY delivery_id DESC OFFSET {DELIVERIES_MAX} LIMIT 1)
"""  # noqa: S608 - a number of ours
DELIVERIES: Final = """
SELECT * FROM rules.notify_delivery WHERE tenant_id = $1 ORDER BY delivery_id DESC LIMIT $2
"""


# Both are read by each pass: silences that are not over, and the newest of those that are.
COUNT_SILENCES: Final = """
SELECT count(*), coalesce(sum(json_array_length(matchers)), 0) AS matchers
FROM rules.notify_silence WHERE tenant_id = $1 AND ends_ms > $2
"""
TRIM_SILENCES: Final = """
DELETE FROM rules.notify_silence WHERE tenant_id = $1 AND silence_id IN (
    SELECT silence_id FROM rules.notify_silence WHERE tenant_id = $1 AND ends_ms <= $2
    ORDER BY ends_ms DESC OFFSET $3)
"""


def received_of(row: Sequence[Any]) -> Received:
    """A row of notify_alert."""
    fingerprint, labels, annotations, starts_ms, ends_ms, updated_ms, link, received = row
    texts = orjson.loads(labels), orjson.loads(annotations)
    return Received(Alert(*texts, starts_ms, ends_ms, updated_ms, link), fingerprint, received)


def silence_of(row: Sequence[Any]) -> Silence:
    """A row of notify_silence."""
    silence_id, matchers, *rest = row
    chosen = (Matcher(name, MatchOp(op), value) for name, op, value in orjson.loads(matchers))
    return Silence(silence_id, tuple(chosen), *rest)


def sent_of(row: Sequence[Any]) -> Sent:
    """A row of notify_sent."""
    group_id, integration, sent_ms, firing, box_id, box_firing, created_ms, data, *times = row
    box = box_id and Outbox(box_id, frozenset(box_firing), created_ms, orjson.loads(data), *times)
    return Sent(group_id, integration, sent_ms, frozenset(firing), box)


def state_of(alerts: Rows, silences: Rows, groups: Rows, sent: Rows) -> TenantState:
    """What the rows of these tables say."""
    return TenantState(
        [received_of(row) for row in alerts],
        [silence_of(row) for row in silences],
        {one.group_id: one for one in (GroupTimes(*row) for row in groups)},
        {(one.group_id, one.integration): one for one in map(sent_of, sent)},
    )


def silence_row(one: Silence) -> tuple[Any, ...]:
    """The columns of notify_silence after the tenant."""
    chosen = orjson.dumps([(m.name, str(m.op), m.value) for m in one.matchers]).decode()
    times = one.starts_at_ms, one.ends_at_ms, one.updated_at_ms
    return (one.silence_id, chosen, *times, one.created_by, one.comment)


def sent_row(sent: Sent) -> tuple[Any, ...]:
    """The columns of notify_sent after the tenant."""
    row = (sent.group_id, sent.integration, sent.sent_ms, sorted(sent.firing))
    if (box := sent.outbox) is None:
        return (*row, None, None, None, None, 0, 0)
    times = box.attempts, box.next_attempt_ms
    data = orjson.dumps(box.data).decode()
    return (*row, box.outbox_id, sorted(box.firing), box.created_ms, data, *times)
