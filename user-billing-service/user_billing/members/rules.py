"""How members and invitations are named and how long an invitation stands. Pure."""

from collections.abc import Iterable
from datetime import timedelta

from user_billing.model import Member

INVITATION_LIFE = timedelta(days=7)
A_DAY_MAX = 200
"""Invitations of an organisation in ONE_DAY: each may be a letter to anybody."""
ONE_DAY = timedelta(days=1)


def display_name(subject: str, members: Iterable[Member]) -> str:
    """The address of `user:<id>` when it is a member's; any other subject as it is stored."""
    emails = {f"user:{member.user_id}": member.email for member in members}
    return emails.get(subject, subject)
