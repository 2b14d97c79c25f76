"""A person's own account, and the links that came by letter."""

from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.api.deps import Browser, ClientDep, NoStore, Operator, SameOrigin, ServicesDep
from user_billing.sessions.endpoints import SessionView, render

router = APIRouter(prefix="/api/v1", tags=["people"])


class EmailBody(Body):
    """An address."""

    email: Unicode


class LinkBody(Body):
    """The token of a link in a letter."""

    token: Unicode


class ResetBody(LinkBody):
    """The token of a link and the new password."""

    password: Unicode


class PasswordBody(Body):
    """The password, to prove who is there. code: of the second factor of who has one."""

    password: Unicode
    code: Unicode = ""


class NewPasswordBody(Body):
    """The password there is, and the one there is to be. code: as in PasswordBody."""

    old: Unicode
    new: Unicode
    code: Unicode = ""


class NewAddressBody(PasswordBody):
    """The address there is to be."""

    email: Unicode


class ExportView(BaseModel):
    """What is stored of a person: account, organisations with keys and events, sessions,
    second factor, identities.
    """

    account: dict[str, object]
    organisations: list[dict[str, object]]
    sessions: list[dict[str, object]]
    second_factor: dict[str, object] | None
    identities: list[dict[str, object]]


@router.post(
    "/password/forgotten", status_code=202, response_class=Response, dependencies=[SameOrigin]
)
def ask_reset(body: EmailBody, services: ServicesDep, client: ClientDep) -> None:
    """A letter with a link follows if the address has an account; the answer is the same if not."""
    services.people.ask_reset(body.email, client)


@router.post("/password/reset", status_code=204, dependencies=[SameOrigin])
def reset(body: ResetBody, services: ServicesDep, client: ClientDep) -> None:
    """The person of the link has this password; their sessions have ended."""
    services.people.reset(body.token, body.password, client)


@router.post("/email/verify", status_code=204, dependencies=[SameOrigin])
def verify(body: LinkBody, services: ServicesDep, client: ClientDep) -> None:
    """The address that the link was sent to is the person's."""
    services.people.verify(body.token, client)


@router.post("/email/confirm", status_code=204, dependencies=[SameOrigin])
def confirm_address(body: LinkBody, services: ServicesDep, client: ClientDep) -> None:
    """The account has the new address; or, by the link in the notice, the old one again."""
    services.people.confirm_address(body.token, client)


@router.post("/me/email/verification", status_code=202, response_class=Response)
def ask_verification(caller: Browser, services: ServicesDep) -> None:
    """A letter with a link is on its way to the caller's address."""
    services.people.ask_verification(caller.session)


@router.post("/me/email", status_code=202, response_class=Response)
def ask_address(
    body: NewAddressBody, caller: Browser, services: ServicesDep, client: ClientDep
) -> None:
    """A letter with a link is on its way to the new address; needs a fresh log-in."""
    services.people.ask_address(caller.principal, body.email, body.password, body.code, client)


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
        caller.session, **dict(body), client=client, actor=caller.principal.actor
    )
    return render(response, services.settings, opened)


@router.post("/session/fresh", status_code=204)
def prove_again(
    body: PasswordBody, caller: Browser, services: ServicesDep, client: ClientDep
) -> None:
    """The session may do for an hour what needs a fresh log-in."""
    services.people.prove_again(caller.session, body.password, body.code, client)


@router.get("/me/export", dependencies=[NoStore])
def export(caller: Browser, services: ServicesDep) -> ExportView:
    """Everything that is stored of the caller, without secrets."""
    return ExportView(**services.privacy.export(caller.session.user.id))


@router.post("/me/erase", status_code=204)
def erase_me(body: PasswordBody, caller: Browser, services: ServicesDep, client: ClientDep) -> None:
    """The caller is an id from here on; nobody can log in to the account."""
    services.people.prove_again(caller.session, body.password, body.code, client)
    services.privacy.erase(caller.principal, caller.session.user.id)


@router.post("/operator/people/{user_id}/erase", status_code=204, tags=["operator"])
def erase_person(user_id: UUID, operator: Operator, services: ServicesDep) -> None:
    """The person is an id from here on, as they asked of whoever runs the hub."""
    services.privacy.erase(operator, user_id)
