"""The nouns of notifications; frozen, times in ms since the epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from data_api.model import Labels, Matcher
from data_api.rules.model import Alert, LabelKey, label_key

Fingerprints = frozenset[str]


FNV_OFFSET: Final = 0xCBF29CE484222325
FNV_PRIME: Final = 0x100000001B3


def fingerprint(labels: Labels) -> str:
    """What tells alerts of a tenant apart: FNV-1a of the sorted labels, as in Alertmanager.

    Source: prometheus/common, `model.LabelSet.Fingerprint`.
    """
    number = FNV_OFFSET
    for pair in label_key(labels):
        for part in pair:
            for byte in (*part.encode(), 0xFF):
                number = (number ^ byte) * FNV_PRIME % 2**64
    return f"{number:016x}"


@dataclass(frozen=True, slots=True)
class Received:
    """An alert as it is stored; received: the tenant's count of deliveries that last told of it."""

    alert: Alert
    fingerprint: str
    received: int = 0

    def is_firing(self, now_ms: int) -> bool:
        """Whether it has not ended."""
        return self.alert.ends_at_ms > now_ms

    @property
    def key(self) -> LabelKey:
        """What alerts are sorted by in a notification."""
        return label_key(self.alert.labels)


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that all matchers select are not told from the start up to but without the end."""

    silence_id: UUID
    matchers: tuple[Matcher, ...]
    starts_at_ms: int
    ends_at_ms: int
    updated_at_ms: int
    created_by: str
    comment: str

    def state(self, now_ms: int) -> str:
        """`pending`, `active` or `expired`."""
        if now_ms >= self.ends_at_ms:
            return "expired"
        return "active" if now_ms >= self.starts_at_ms else "pending"


@dataclass(frozen=True, slots=True)
class Outbox:
    """A notification that waits for its receiver's answer; its id is the same at each attempt."""

    outbox_id: UUID
    firing: Fingerprints
    created_ms: int
    data: Mapping[str, Any]
    attempts: int = 0
    next_attempt_ms: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """What one integration was last told of a group, and what it is to be told next.

    firing: the alerts that it was told to fire.
    """

    group_id: str
    integration: str
    sent_ms: int = 0
    firing: Fingerprints = frozenset()
    outbox: Outbox | None = None


@dataclass(frozen=True, slots=True)
class GroupTimes:
    """When a group is looked at next, and was last; flushed_ms: None = never."""

    group_id: str
    receiver: str
    next_flush_ms: int
    flushed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TenantState:
    """Everything of a tenant that decides about its notifications."""

    alerts: Sequence[Received] = ()
    silences: Sequence[Silence] = ()
    groups: Mapping[str, GroupTimes] = field(default_factory=dict)
    sent: Mapping[tuple[str, str], Sent] = field(default_factory=dict)
