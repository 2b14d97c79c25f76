"""Set-up, log-in, the session and the tokens made from it."""

from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel

from user_billing import access
from user_billing.api.bodies import Body, Unicode
from user_billing.api.deps import (
    DEVICE_SUFFIX,
    Browser,
    ClientDep,
    SameOrigin,
    ServicesDep,
    cookie_name,
)
from user_billing.challenges.sql import LIFE
from user_billing.keyring import DEVICE_LIFE
from user_billing.model import Organisation, Person
from user_billing.sessions.service import OpenSession, Pending
from user_billing.settings import Settings

router = APIRouter(prefix="/api/v1", tags=["session"])


class LogInBody(Body):
    """The log-in form."""

    email: Unicode
    password: Unicode


class CodeBody(Body):
    """The second step of a log-in; code: of the authenticator, or a recovery code."""

    challenge: Unicode
    code: Unicode


class PendingView(BaseModel):
    """A log-in that waits for a code; there is no session yet."""

    challenge: str
    needs: str = "code"
    expires_in_s: int


PENDING: dict[int | str, dict[str, Any]] = {202: {"model": PendingView}}


class OrganisationChoice(Body):
    """The organisation to go on in."""

    organisation_id: UUID


class ListedSessionView(BaseModel):
    """One of a person's live sessions; network and browser as they were when it was opened."""

    id: UUID
    org_id: UUID
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    network: str | None
    browser: str | None
    current: bool = False


class SessionsView(BaseModel):
    """A person's live sessions, newest first."""

    sessions: list[ListedSessionView]


class SessionView(BaseModel):
    """The session, as the page needs it. suspended: why the organisation is, else None."""

    user: Person
    organisation: Organisation
    organisations: list[Organisation]
    role: str
    scopes: list[str]
    csrf_token: str
    must_enrol: bool
    """The organisation requires a second factor: it is all that this session may set up."""
    suspended: str | None

    @classmethod
    def of(cls, opened: OpenSession) -> Self:
        """The view of a session."""
        live = opened.live
        return cls(
            user=live.user,
            organisation=next(o for o in opened.organisations if o.id == live.organisation_id),
            organisations=opened.organisations,
            role=live.role,
            scopes=sorted(access.scopes_of(live)),
            csrf_token=opened.csrf_token,
            must_enrol=live.must_enrol,
            suspended=live.suspended,
        )


def render(response: Response, settings: Settings, opened: OpenSession) -> SessionView:
    """The session as body, and its cookies when they are new."""
    if opened.cookie is not None:
        remaining = opened.live.expires_at - opened.live.last_seen_at
        set_cookie(response, settings, "", opened.cookie, remaining)
    if opened.device is not None:
        set_cookie(response, settings, DEVICE_SUFFIX, opened.device, DEVICE_LIFE)
    response.headers["Cache-Control"] = "no-store"
    return SessionView.of(opened)


def render_step(
    response: Response, settings: Settings, step: OpenSession | Pending
) -> SessionView | PendingView:
    """The session, or 202 and what is still asked for."""
    if isinstance(step, OpenSession):
        return render(response, settings, step)
    response.status_code = 202
    response.headers["Cache-Control"] = "no-store"
    return PendingView(challenge=step.challenge, expires_in_s=int(LIFE.total_seconds()))


def set_cookie(
    response: Response, settings: Settings, suffix: str, value: str, life: timedelta
) -> None:
    """The browser keeps `value` for `life`, out of reach of scripts."""
    response.set_cookie(
        cookie_name(settings, suffix),
        value,
        max_age=int(life.total_seconds()),
        secure=not settings.plain_http,
        httponly=True,
        samesite="lax",
    )


@router.post("/login", dependencies=[SameOrigin], responses=PENDING)
def log_in(
    body: LogInBody, response: Response, services: ServicesDep, client: ClientDep
) -> SessionView | PendingView:
    """A session by e-mail address and password; 202 for who has a second factor."""
    step = services.sessions.log_in(body.email, body.password, client)
    return render_step(response, services.settings, step)


@router.post("/login/code", dependencies=[SameOrigin])
def log_in_with_code(
    body: CodeBody, response: Response, services: ServicesDep, client: ClientDep
) -> SessionView:
    """The second step: the session, by the challenge of the first and a code."""
    opened = services.sessions.answer(body.challenge, body.code, client)
    return render(response, services.settings, opened)


@router.post("/logout", status_code=204)
def log_out(caller: Browser, response: Response, services: ServicesDep) -> None:
    """The session and its tokens end; the browser forgets the cookie."""
    services.sessions.revoke(caller.session, caller.principal.actor, only=caller.session.id)
    set_cookie(response, services.settings, "", "", timedelta())


@router.get("/session")
def read_session(caller: Browser, response: Response, services: ServicesDep) -> SessionView:
    """Who is logged in, where, and the CSRF token."""
    return render(response, services.settings, services.sessions.describe(caller.session))


@router.post("/session/organisation")
def switch_organisation(
    body: OrganisationChoice, caller: Browser, response: Response, services: ServicesDep
) -> SessionView:
    """A new session in another of the caller's organisations; the old one is revoked."""
    opened = services.sessions.switch(caller.session, body.organisation_id, caller.principal.actor)
    return render(response, services.settings, opened)


@router.get("/sessions")
def list_sessions(caller: Browser, services: ServicesDep) -> SessionsView:
    """The caller's live sessions in all organisations, newest first."""
    rows = services.sessions.all(caller.session.user.id)
    here = caller.session.id
    return SessionsView(
        sessions=[ListedSessionView(**row, current=row["id"] == here) for row in rows]
    )


@router.post("/sessions/end-others", status_code=204)
def end_other_sessions(caller: Browser, services: ServicesDep) -> None:
    """All sessions of the caller but this one end, and their tokens."""
    services.sessions.revoke(caller.session, caller.principal.actor, but=caller.session.id)


@router.delete("/sessions/{session_id}", status_code=204)
def end_session(session_id: UUID, caller: Browser, services: ServicesDep) -> None:
    """The caller's session of that id ends, and its tokens."""
    services.sessions.revoke(caller.session, caller.principal.actor, only=session_id)
