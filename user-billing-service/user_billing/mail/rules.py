"""What the letters say, and how often one is tried. Pure: docs/adr/0043-mail-and-people.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

RETRY_AFTER: Final = (
    timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30),
    timedelta(hours=2), timedelta(hours=6),
)  # fmt: skip
"""How long after an attempt the next one follows; none after the sixth."""
WAITING_MAX: Final = 10_000
"""Letters of all addresses together that wait."""
PER_ADDRESS_MAX: Final = 5
PER_ADDRESS_IN: Final = timedelta(hours=1)
"""No address gets more letters than that in that time, whoever asks for them."""

WAYS_MAX: Final = 20
"""Identities and keys that a letter names."""

_NOT_YOU = "If this was not you, there is nothing to do: without the link nothing changes."


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter in plain text."""

    to: str
    subject: str
    text: str


LETTERS: Final[dict[str, tuple[str, ...]]] = {
    "verify": (
        "confirm your address",
        "Please confirm that this is your address. The link works once, for 30 minutes:",
        "{url}/#/verify/{token}",
        _NOT_YOU,
    ),
    "reset": (
        "choose a new password",
        "Somebody asked for a new password for this address. The link works once, for 30 minutes:",
        "{url}/#/reset/{token}",
        _NOT_YOU,
    ),
    "password_changed": (
        "your password was changed",
        "The password of your account was changed, and your other sessions have ended.",
        "If this was not you, choose a new password with 'Forgotten password' on the page: {url}",
        "{others}",
    ),
    "new_address": (
        "confirm your new address",
        "Somebody wants to use this address for an account. The link works once, for 30 minutes:",
        "{url}/#/address/{token}",
        _NOT_YOU,
    ),
    "address_changed": (
        "your address was changed",
        "Your account has another e-mail address from now on, and this one is its address no more.",
        "If this was not you, take it back within 7 days. All sessions end, the password is void:",
        "{url}/#/address/{token}",
        "A letter to this address then leads to a new password.",
    ),
    "invitation": (
        "an invitation to {organisation}",
        "You are invited to join {organisation}. The link works once, for 7 days:",
        "{url}/#/invitation/{token}",
        "If you do not know who invites you, leave this letter alone.",
    ),
}
"""Subject and paragraphs of each kind."""


def letter(kind: str, to: str, **facts: str) -> Letter:
    """The letter of that kind. facts: `url` of the hub, and what its text names in braces."""
    subject, *paragraphs = (text.format(**facts) for text in LETTERS[kind])
    signature = f"-- \nCloudOpsHub at {facts['url']}"
    text = "\n\n".join([*filter(None, paragraphs), signature])
    return Letter(to, f"CloudOpsHub: {subject}", text + "\n")


def other_ways(ways: Sequence[str]) -> str:
    """What else opens an account whose password was changed, in words; empty without any."""
    if not ways:
        return ""
    listed = [f"- {way}" for way in ways[:WAYS_MAX]]
    if len(ways) > WAYS_MAX:
        listed.append(f"- and {len(ways) - WAYS_MAX} more")
    return "\n".join(["These work as before; end what is not yours:", *listed])
