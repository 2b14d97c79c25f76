"""Times as JSON has them. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from data_api.errors import InvalidParameter

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS: Final = 253_402_300_799_000  # 9999-12-31T23:59:59Z


def rfc3339(time_ms: int) -> str:
    """`2026-01-02T03:04:05.678Z`; a time past the year 9999 is its last second."""
    at = EPOCH + timedelta(milliseconds=max(0, min(time_ms, LAST_MS)))
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_ms(name: str, text: Any) -> int:
    """Ms since the epoch of an RFC 3339 text; InvalidParameter names the field."""
    try:
        at = datetime.fromisoformat(text)
        return (at - EPOCH) // timedelta(milliseconds=1)
    except (TypeError, ValueError, OverflowError):
        reason = f"expected a time like 2026-01-02T03:04:05Z, not {str(text)[:40]!r}"
        raise InvalidParameter(name=name, reason=reason) from None
