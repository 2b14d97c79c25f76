"""The bodies of members and invitations."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.model import Invitation, Member


class RoleBody(Body):
    """A member's new role."""

    role: Unicode


class InvitationBody(Body):
    """Whom to invite, as what."""

    email: Unicode
    role: Unicode


class AcceptBody(Body):
    """An invitation's token and the password of the new or existing account."""

    token: Unicode
    password: Unicode


class MemberView(BaseModel):
    """A member."""

    user_id: UUID
    email: str
    role: str
    joined_at: datetime

    @classmethod
    def of(cls, member: Member) -> Self:
        """The view of a member."""
        return cls(
            user_id=member.user_id,
            email=member.email,
            role=member.role.value,
            joined_at=member.joined_at,
        )


class MembersView(BaseModel):
    """The members, oldest first."""

    members: list[MemberView]


class InvitationView(BaseModel):
    """An open invitation."""

    id: UUID
    email: str
    role: str
    expires_at: datetime

    @classmethod
    def facts(cls, invitation: Invitation) -> dict[str, Any]:
        """The fields of the view of an invitation."""
        return {
            "id": invitation.id,
            "email": invitation.email,
            "role": invitation.role.value,
            "expires_at": invitation.expires_at,
        }


class NewInvitationView(InvitationView):
    """An invitation with its link, once."""

    link: str


class InvitationsView(BaseModel):
    """The open invitations, newest first."""

    invitations: list[InvitationView]
