"""Members, invitations and organisations."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from user_billing.api.bodies import Body, Unicode
from user_billing.api.deps import (
    AdminCaller,
    Caller,
    ClientDep,
    NoStore,
    PersonId,
    SameOrigin,
    ServicesDep,
)
from user_billing.model import Member, Organisation, PersonRole
from user_billing.sessions.endpoints import PENDING, PendingView, SessionView, render, render_step

router = APIRouter(prefix="/api/v1", tags=["members"])


class OrganisationBody(Body):
    """A further organisation."""

    name: Unicode


class RoleBody(Body):
    """A member's new role."""

    role: PersonRole


class InvitationBody(Body):
    """Whom to invite, as what."""

    email: Unicode
    role: PersonRole


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


@router.get("/members")
def list_members(caller: AdminCaller, services: ServicesDep) -> MembersView:
    """The members, oldest first."""
    return MembersView(members=services.members.all(caller.tenant))


@router.patch("/members/{user_id}")
def change_role(
    user_id: UUID,
    body: RoleBody,
    caller: AdminCaller,
    response: Response,
    services: ServicesDep,
) -> Member:
    """The member has another role and logs in anew; who changes their own gets a new cookie."""
    member = services.members.change_role(caller, user_id, body.role)
    session = caller.session
    if session is not None and user_id == caller.user_id and member.role is not caller.role:
        render(response, services.settings, services.sessions.renew(session, member.role))
    return member


@router.delete("/members/{user_id}", status_code=204)
def remove_member(user_id: UUID, caller: AdminCaller, services: ServicesDep) -> None:
    """The person is no member any more; their sessions here end."""
    services.members.remove(caller, user_id)


@router.get("/invitations")
def list_invitations(caller: AdminCaller, services: ServicesDep) -> InvitationsView:
    """The open invitations, newest first, without their links."""
    invitations = services.members.invitations(caller.tenant)
    return InvitationsView.model_validate({"invitations": invitations})


@router.post("/invitations", status_code=201, dependencies=[NoStore])
def invite(body: InvitationBody, caller: AdminCaller, services: ServicesDep) -> NewInvitationView:
    """An invitation for seven days; its link is in this answer only."""
    invitation, token = services.members.invite(caller, email=body.email, role=body.role)
    view = NewInvitationView.model_validate(invitation)
    return view.model_copy(update={"link": f"/#/invitation/{token}"})


@router.delete("/invitations/{invitation_id}", status_code=204)
def withdraw_invitation(invitation_id: UUID, caller: AdminCaller, services: ServicesDep) -> None:
    """The invitation can no longer be accepted."""
    services.members.withdraw(caller, invitation_id)


@router.post("/invitations/accept", dependencies=[SameOrigin], responses=PENDING)
def accept_invitation(
    body: AcceptBody, response: Response, services: ServicesDep, client: ClientDep
) -> SessionView | PendingView:
    """A session in the inviting organisation, with a new or an existing account."""
    step = services.members.accept(body.token, body.password, client)
    return render_step(response, services.settings, step)


@router.post("/organisations", status_code=201)
def create_organisation(
    body: OrganisationBody, person_id: PersonId, caller: Caller, services: ServicesDep
) -> Organisation:
    """A further organisation, owned by the caller."""
    return services.members.create_organisation(person_id, name=body.name, actor=caller.actor)
