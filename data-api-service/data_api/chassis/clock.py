"""The one place where a service reads the time of day; everything else is handed a `Clock`."""

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """The machine's time. Tests derive one whose `now` they move."""

    def now(self) -> datetime:
        """The current instant, aware, UTC."""
        return datetime.now(UTC)

    def now_ms(self) -> int:
        """Milliseconds since the epoch, rounded down."""
        return (self.now() - EPOCH) // timedelta(milliseconds=1)

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return self.now().timestamp()
