"""Names of organisations and of what they own. Pure."""

import re
import unicodedata

from user_billing.errors import BadInput


def normalise_name(text: str, *, field: str) -> str:
    """A name for people to read: 1 to 100 characters, single spaces, no control characters."""
    return printable(text, 100, field=field)


def printable(text: str, characters_max: int, *, field: str) -> str:
    """One line for people to read: single spaces, no control characters, not empty."""
    line = " ".join(unicodedata.normalize("NFC", text).split())
    if not 1 <= len(line) <= characters_max or any(unicodedata.category(c) == "Cc" for c in line):
        raise BadInput(field=field, rule=f"1 to {characters_max} printable characters")
    return line


def slug_of(name: str) -> str:
    """The name for addresses: lower-case ASCII letters, digits, single hyphens; never empty."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return (
        re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-")[:48].strip("-") or "organisation"
    )
