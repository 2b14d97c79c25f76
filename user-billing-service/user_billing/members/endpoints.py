"""Members, invitations and organisations."""

from uuid import UUID

from fastapi import APIRouter, Response, status

from user_billing.api.deps import (
    AdminCaller,
    Caller,
    ClientDep,
    PersonId,
    RequestId,
    SameOrigin,
    ServicesDep,
)
from user_billing.members.views import (
    AcceptBody,
    InvitationBody,
    InvitationsView,
    InvitationView,
    MembersView,
    MemberView,
    NewInvitationView,
    RoleBody,
)
from user_billing.organisations.views import OrganisationBody, OrganisationView
from user_billing.sessions.endpoints import PENDING, render, render_step
from user_billing.sessions.views import PendingView, SessionView

router = APIRouter(prefix="/api/v1", tags=["members"])


@router.get("/members")
def list_members(caller: AdminCaller, services: ServicesDep) -> MembersView:
    """The members, oldest first."""
    members = services.members.all(caller.tenant)
    return MembersView(members=[MemberView.of(member) for member in members])


@router.patch("/members/{user_id}")
def change_role(
    user_id: UUID, body: RoleBody, caller: AdminCaller, response: Response, services: ServicesDep
) -> MemberView:
    """The member has another role and logs in anew; who changes their own gets a new cookie."""
    member = services.members.change_role(caller, user_id, body.role)
    session = caller.session
    if session is not None and user_id == caller.user_id and member.role is not caller.role:
        render(response, services.settings, services.sessions.renew(session, member.role))
    return MemberView.of(member)


@router.delete("/members/{user_id}", status_code=status.HTTP_204_NO_CONTENT)
def remove_member(user_id: UUID, caller: AdminCaller, services: ServicesDep) -> Response:
    """The person is no member any more; their sessions here end."""
    services.members.remove(caller, user_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.get("/invitations")
def list_invitations(caller: AdminCaller, services: ServicesDep) -> InvitationsView:
    """The open invitations, newest first, without their links."""
    invitations = services.members.invitations(caller.tenant)
    return InvitationsView(
        invitations=[InvitationView(**InvitationView.facts(one)) for one in invitations]
    )


@router.post("/invitations", status_code=status.HTTP_201_CREATED)
def invite(
    body: InvitationBody, caller: AdminCaller, response: Response, services: ServicesDep
) -> NewInvitationView:
    """An invitation for seven days; its link is in this answer only."""
    made = services.members.invite(caller, email=body.email, role_name=body.role)
    response.headers["Cache-Control"] = "no-store"
    link = f"/#/invitation/{made.token}"
    return NewInvitationView(**InvitationView.facts(made.invitation), link=link)


@router.delete("/invitations/{invitation_id}", status_code=status.HTTP_204_NO_CONTENT)
def withdraw_invitation(
    invitation_id: UUID, caller: AdminCaller, services: ServicesDep
) -> Response:
    """The invitation can no longer be accepted."""
    services.members.withdraw(caller, invitation_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.post("/invitations/accept", dependencies=[SameOrigin], responses=PENDING)
def accept_invitation(
    body: AcceptBody,
    response: Response,
    services: ServicesDep,
    client: ClientDep,
    rid: RequestId,
) -> SessionView | PendingView:
    """A session in the inviting organisation, with a new or an existing account."""
    opened = services.members.accept(
        token=body.token, password=body.password, client=client, request_id=rid
    )
    return render_step(response, services.settings, opened)


@router.post("/organisations", status_code=status.HTTP_201_CREATED)
def create_organisation(
    body: OrganisationBody, person_id: PersonId, caller: Caller, services: ServicesDep
) -> OrganisationView:
    """A further organisation, owned by the caller."""
    made = services.members.create_organisation(person_id, name=body.name, actor=caller.actor)
    return OrganisationView.of(made)
