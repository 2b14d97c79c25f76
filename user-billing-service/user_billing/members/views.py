"""The bodies of members and invitations."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from user_billing.api.bodies import Body, Unicode
from user_billing.model import Member


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


class MembersView(BaseModel):
    """The members, oldest first."""

    members: list[Member]


class InvitationView(BaseModel):
    """An open invitation."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str
    role: str
    expires_at: datetime


class NewInvitationView(InvitationView):
    """An invitation with its link, once."""

    link: str = ""


class InvitationsView(BaseModel):
    """The open invitations, newest first."""

    invitations: list[InvitationView]
