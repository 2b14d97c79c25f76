"""Addresses and passwords of people. Pure.

Sources: NIST SP 800-63B-4 §3.1.1; docs/adr/0002-identity.md (the numbers chosen here).
"""

import re
import unicodedata
from collections.abc import Iterable

from user_billing.errors import BadInput, WeakPassword

PASSWORD_CHARACTERS_MIN = 15

PASSWORD_CHARACTERS_MAX = 256
"""Far above the 64 that NIST asks to permit; the bound keeps a request from buying CPU."""

_SPECIAL = r'\s@\x00-\x1f\x7f"(),:;<>\[\]\\'
"""What an address needs quotes for, and a letter's header means something else by."""
_EMAIL = re.compile(rf"[^{_SPECIAL}]+@[^{_SPECIAL}.]+(\.[^{_SPECIAL}.]+)*")

_RUNS = ("abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "qwertyuiopasdfghjklzxcvbnm")

_COMMON = frozenset({
    "passwordpassword", "password123456", "password1234567", "password12345678",
    "password123456789", "adminadminadmin", "administrator123", "correcthorsebatterystaple",
    "correct horse battery staple", "iloveyouiloveyou", "letmeinletmeinletmein",
    "qwertyuiop123456", "1q2w3e4r5t6y7u8i9o", "1qaz2wsx3edc4rfv", "thisismypassword",
    "changemechangeme", "trustno1trustno1", "superman12345678", "welcome123456789",
    "zaq12wsxcde34rfv",
})  # fmt: skip

_CONTEXT_WORDS = ("cloudopshub", "password")

_LEFT_OVER_MIN = 8


def normalise_email(text: str) -> str:
    """The address as it is stored and compared: NFC, trimmed, lower case.

    Raises BadInput when it is not `local@host` or longer than the 254 characters of RFC 5321.
    """
    email = unicodedata.normalize("NFC", text).strip().lower()
    if len(email) > 254 or not _EMAIL.fullmatch(email):
        raise BadInput(field="email", rule="a valid e-mail address")
    return email


def normalise_password(text: str) -> str:
    """The password as it is hashed: NFC, nothing trimmed, nothing cut."""
    return unicodedata.normalize("NFC", text)


def check_password(password: str, *, context: Iterable[str]) -> None:
    """Passes for a password that may be used; raises WeakPassword with the reason in words.

    context: words an attacker would try first (e-mail address, organisation). No composition rules
    and no expiry; length, a block-list and obvious patterns. Source: NIST SP 800-63B-4 §3.1.1.2.
    """
    text = normalise_password(password)
    if len(text) < PASSWORD_CHARACTERS_MIN:
        raise WeakPassword(
            detail=f"it has {len(text)} of at least {PASSWORD_CHARACTERS_MIN} characters"
        )
    if len(text) > PASSWORD_CHARACTERS_MAX:
        raise WeakPassword(
            detail=f"it has {len(text)} characters, and may have {PASSWORD_CHARACTERS_MAX}"
        )
    folded = text.casefold()
    if folded in _COMMON or _is_pattern(folded):
        raise WeakPassword(detail="it is a common password or an obvious pattern, guessed early")
    for word in _context_words(context):
        if word in folded and len(folded.replace(word, "")) < _LEFT_OVER_MIN:
            raise WeakPassword(
                detail="it is mostly your address, your organisation or the product's name"
            )


def _context_words(context: Iterable[str]) -> Iterable[str]:
    yield from _CONTEXT_WORDS
    for text in context:
        folded = text.casefold().strip()
        candidates = (folded, folded.partition("@")[0])
        yield from (word for word in candidates if len(word) >= 4)


def _is_pattern(text: str) -> bool:
    """Whether `text` repeats a unit of up to 4 characters or walks along one row of `_RUNS`."""
    for width in range(1, 5):
        unit = text[:width]
        if (unit * (len(text) // width + 1))[: len(text)] == text:
            return True
    return any(text in row or text[::-1] in row for row in _RUNS)
