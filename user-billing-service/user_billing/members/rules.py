"""How members and invitations are named and how long an invitation stands. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from user_billing.model import ApiKey, AuditEvent, Member, Role, ServiceAccount

INVITATION_LIFE = timedelta(days=7)
A_DAY_MAX = 200
"""Invitations of an organisation in ONE_DAY: each may be a letter to anybody."""
ONE_DAY = timedelta(days=1)


def is_last_owner(user_id: UUID, members: Iterable[Member]) -> bool:
    """Whether the organisation of `members` has no owner but the person."""
    return [m.user_id for m in members if m.role is Role.OWNER] == [user_id]


Made = TypeVar("Made", bound=ApiKey | ServiceAccount | AuditEvent)


def by_address(
    things: Iterable[Made], members: Iterable[Member], field: str = "created_by"
) -> list[Made]:
    """The things; who made them, `user:<id>` in `field`, is the address if a member's."""
    emails = {f"user:{member.user_id}": member.email for member in members}
    return [
        replace(thing, **{field: emails.get(getattr(thing, field), getattr(thing, field))})
        for thing in things
    ]
