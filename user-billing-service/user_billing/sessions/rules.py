"""How long a session lives. Pure. Source: docs/adr/0002-identity.md."""

from datetime import datetime, timedelta

SESSION_IDLE = timedelta(hours=24)

SESSION_ABSOLUTE = timedelta(days=30)

SEEN_RESOLUTION = timedelta(minutes=1)


def session_ends(created_at: datetime) -> datetime:
    """The instant at which a session ends whatever its use."""
    return created_at + SESSION_ABSOLUTE


def is_session_live(*, last_seen_at: datetime, expires_at: datetime, now: datetime) -> bool:
    """Whether a session is inside its idle and its absolute bound; both ends exclusive."""
    return now < expires_at and now - last_seen_at < SESSION_IDLE
