"""A notification on its way to one integration: what its message is made of, and the message."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Final

from data_api.gotemplate import Allowance
from data_api.notify.state import Outbox
from data_api.notify.texts import Texts

STEPS_MAX: Final = 200_000  # of all templates of one message
CHARS_MAX: Final = 1 << 20  # of the same
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


@dataclass(frozen=True, slots=True)
class Composer:
    """Turns a notification into what one integration is sent."""

    texts: Texts

    def compose(self, integration: Any, outbox: Outbox, now_ms: int) -> Message | EmailMessage:
        """The message; the same for the same outbox entry, but for its timestamp."""
        data, allowance = dict(outbox.data), Allowance(STEPS_MAX, CHARS_MAX)

        def text(template: str) -> str:
            return self.texts.expand(template, data, now_ms, allowance)

        message: Message | EmailMessage = integration.message(Notice(outbox, text, now_ms))
        return message
