"""A notification on its way to one integration: what its message is made of, and the message."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from data_api.notify.state import Outbox

JSON: Final = {"content-type": "application/json", "user-agent": "cloudopshub-notify"}


@dataclass(frozen=True, slots=True)
class Message:
    """One POST."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification; `text` expands a template with it."""

    outbox: Outbox
    text: Callable[[str], str]
    now_ms: int

    @property
    def is_firing(self) -> bool:
        """Whether one of its alerts does."""
        return bool(self.outbox.data["status"] == "firing")

    @property
    def incident(self) -> str:
        """What the receiver knows the group by, over all of its notifications."""
        return hashlib.sha256(self.outbox.data["groupKey"].encode()).hexdigest()
