"""How members and invitations are named and how long an invitation stands. Pure."""

from collections.abc import Iterable
from datetime import timedelta

from user_billing.model import Member

INVITATION_LIFE = timedelta(days=7)


def display_name(subject: str, members: Iterable[Member]) -> str:
    """The address of `user:<id>` when it is a member's; any other subject as it is stored."""
    emails = {f"user:{member.user_id}": member.email for member in members}
    return emails.get(subject, subject)
