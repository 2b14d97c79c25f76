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


@dataclass(frozen=True)
class Letters:
    """The letters of one hub, which people reach at `url`."""

    url: str

    def _letter(self, to: str, subject: str, *paragraphs: str) -> Letter:
        signature = f"-- \nCloudOpsHub at {self.url}"
        return Letter(to, f"CloudOpsHub: {subject}", "\n\n".join([*paragraphs, signature]) + "\n")

    def verify(self, to: str, token: str) -> Letter:
        """Asks whether the address is the person's."""
        return self._letter(
            to,
            "confirm your address",
            "Please confirm that this is your address. The link works once, for 30 minutes:",
            f"{self.url}/#/verify/{token}",
            _NOT_YOU,
        )

    def reset(self, to: str, token: str) -> Letter:
        """The way to a new password."""
        return self._letter(
            to,
            "choose a new password",
            "Somebody asked for a new password for this address. The link works once, for"
            " 30 minutes:",
            f"{self.url}/#/reset/{token}",
            _NOT_YOU,
        )

    def password_changed(self, to: str, ways: Sequence[str]) -> Letter:
        """A notice, so that a theft is noticed. ways: what else opens the account, as before."""
        listed = [f"- {way}" for way in ways[:WAYS_MAX]]
        if len(ways) > WAYS_MAX:
            listed.append(f"- and {len(ways) - WAYS_MAX} more")
        others = ["These work as before; end what is not yours:\n" + "\n".join(listed)]
        return self._letter(
            to,
            "your password was changed",
            "The password of your account was changed, and your other sessions have ended.",
            "If this was not you, choose a new password at once with 'Forgotten password' on"
            f" the log-in page: {self.url}",
            *(others if ways else ()),
        )

    def new_address(self, to: str, token: str) -> Letter:
        """Asks at the new address whether it is the person's."""
        return self._letter(
            to,
            "confirm your new address",
            "Somebody wants to use this address for an account. The link works once, for"
            " 30 minutes:",
            f"{self.url}/#/address/{token}",
            _NOT_YOU,
        )

    def address_changed(self, to: str, token: str) -> Letter:
        """The notice to the old address, with the way back."""
        return self._letter(
            to,
            "your address was changed",
            "Your account has another e-mail address from now on, and this one is its address"
            " no more.",
            "If this was not you, take it back within 7 days. All sessions end, the password"
            " is void, and a letter to this address leads to a new one:",
            f"{self.url}/#/address/{token}",
        )

    def invitation(self, to: str, organisation: str, token: str) -> Letter:
        """An invitation to an organisation."""
        return self._letter(
            to,
            f"an invitation to {organisation}",
            f"You are invited to join {organisation}. The link works once, for 7 days:",
            f"{self.url}/#/invitation/{token}",
            "If you do not know who invites you, leave this letter alone.",
        )
