"""Names of organisations and of what they own. Pure."""

import re
import unicodedata

from user_billing.errors import BadInput


def normalise_name(text: str, *, field: str) -> str:
    """A name for people to read: 1 to 100 characters, single spaces, no control characters."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not 1 <= len(name) <= 100 or any(unicodedata.category(c) == "Cc" for c in name):
        raise BadInput(field=field, rule="1 to 100 printable characters")
    return name


def slug_of(name: str) -> str:
    """The name for addresses: lower-case ASCII letters, digits, single hyphens; never empty."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return (
        re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-")[:48].strip("-") or "organisation"
    )


def normalise_reason(text: str) -> str:
    """Why an organisation is suspended, for its people to read: 1 to 500 characters, one line."""
    reason = " ".join(unicodedata.normalize("NFC", text).split())
    if not 1 <= len(reason) <= 500 or any(unicodedata.category(c) == "Cc" for c in reason):
        raise BadInput(field="reason", rule="1 to 500 printable characters")
    return reason
