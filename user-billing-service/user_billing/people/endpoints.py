"""A person's own account, and the links that came by letter."""

from uuid import UUID

from fastapi import APIRouter, Response, status

from user_billing.api.deps import Browser, ClientDep, Operator, RequestId, SameOrigin, ServicesDep
from user_billing.people.views import (
    EmailBody,
    ExportView,
    LinkBody,
    NewAddressBody,
    NewPasswordBody,
    PasswordBody,
    ResetBody,
)
from user_billing.sessions.endpoints import render
from user_billing.sessions.views import SessionView

router = APIRouter(prefix="/api/v1", tags=["people"])
DONE, ON_ITS_WAY = status.HTTP_204_NO_CONTENT, status.HTTP_202_ACCEPTED


@router.post("/password/forgotten", status_code=ON_ITS_WAY, dependencies=[SameOrigin])
def ask_reset(body: EmailBody, services: ServicesDep, client: ClientDep) -> Response:
    """A letter with a link follows if the address has an account; the answer is the same if not."""
    services.people.ask_reset(body.email, client)
    return Response(status_code=ON_ITS_WAY)


@router.post("/password/reset", status_code=DONE, dependencies=[SameOrigin])
def reset(body: ResetBody, services: ServicesDep, client: ClientDep, rid: RequestId) -> Response:
    """The person of the link has this password; their sessions have ended."""
    services.people.reset(body.token, body.password, client, rid)
    return Response(status_code=DONE)


@router.post("/email/verify", status_code=DONE, dependencies=[SameOrigin])
def verify(body: LinkBody, services: ServicesDep, client: ClientDep) -> Response:
    """The address that the link was sent to is the person's."""
    services.people.verify(body.token, client)
    return Response(status_code=DONE)


@router.post("/email/confirm", status_code=DONE, dependencies=[SameOrigin])
def confirm_address(
    body: LinkBody, services: ServicesDep, client: ClientDep, rid: RequestId
) -> Response:
    """The account has the new address; or, by the link in the notice, the old one again."""
    services.people.confirm_address(body.token, client, rid)
    return Response(status_code=DONE)


@router.post("/me/email/verification", status_code=ON_ITS_WAY)
def ask_verification(caller: Browser, services: ServicesDep) -> Response:
    """A letter with a link is on its way to the caller's address."""
    services.people.ask_verification(caller.session)
    return Response(status_code=ON_ITS_WAY)


@router.post("/me/email", status_code=ON_ITS_WAY)
def ask_address(
    body: NewAddressBody, caller: Browser, services: ServicesDep, client: ClientDep
) -> Response:
    """A letter with a link is on its way to the new address; needs a fresh log-in."""
    services.people.ask_address(caller.principal, body.email, body.password, body.code, client)
    return Response(status_code=ON_ITS_WAY)


@router.post("/me/password")
def change_password(
    body: NewPasswordBody,
    caller: Browser,
    response: Response,
    services: ServicesDep,
    client: ClientDep,
) -> SessionView:
    """The caller has a new password and a new cookie; their other sessions have ended."""
    opened = services.people.change_password(
        caller.session, body.old, body.new, client, caller.principal.actor, code=body.code
    )
    return render(response, services.settings, opened)


@router.post("/session/fresh", status_code=DONE)
def prove_again(
    body: PasswordBody, caller: Browser, services: ServicesDep, client: ClientDep
) -> Response:
    """The session may do for an hour what needs a fresh log-in."""
    services.people.prove_again(caller.session, body.password, body.code, client)
    return Response(status_code=DONE)


@router.get("/me/export")
def export(caller: Browser, response: Response, services: ServicesDep) -> ExportView:
    """Everything that is stored of the caller, without secrets."""
    response.headers["Cache-Control"] = "no-store"
    return ExportView.model_validate(services.privacy.export(caller.session.user.id))


@router.post("/me/erase", status_code=DONE)
def erase_me(
    body: PasswordBody, caller: Browser, services: ServicesDep, client: ClientDep
) -> Response:
    """The caller is an id from here on; nobody can log in to the account."""
    services.people.prove_again(caller.session, body.password, body.code, client)
    services.privacy.erase(caller.principal, caller.session.user.id)
    return Response(status_code=DONE)


@router.post("/operator/people/{user_id}/erase", status_code=DONE, tags=["operator"])
def erase_person(user_id: UUID, operator: Operator, services: ServicesDep) -> Response:
    """The person is an id from here on, as they asked of whoever runs the hub."""
    services.privacy.erase(operator, user_id)
    return Response(status_code=DONE)
