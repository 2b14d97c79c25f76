"""Set-up, log-in, the session and the tokens made from it."""

from datetime import timedelta
from uuid import UUID

from fastapi import APIRouter, Response, status

from user_billing.api.deps import (
    DEVICE_SUFFIX,
    Browser,
    ClientDep,
    RequestId,
    SameOrigin,
    ServicesDep,
    cookie_name,
)
from user_billing.keyring import DEVICE_LIFE
from user_billing.sessions.service import OpenSession
from user_billing.sessions.views import (
    ListedSessionView,
    LogInBody,
    OrganisationChoice,
    SessionsView,
    SessionView,
)
from user_billing.settings import Settings

router = APIRouter(prefix="/api/v1", tags=["session"])


def render(response: Response, settings: Settings, opened: OpenSession) -> SessionView:
    """The session as body, and its cookies when they are new."""
    if opened.cookie is not None:
        remaining = opened.live.expires_at - opened.live.last_seen_at
        _set_cookie(response, settings, "", opened.cookie, remaining)
    if opened.device is not None:
        _set_cookie(response, settings, DEVICE_SUFFIX, opened.device, DEVICE_LIFE)
    response.headers["Cache-Control"] = "no-store"
    return SessionView.of(opened)


def _set_cookie(
    response: Response, settings: Settings, suffix: str, value: str, life: timedelta
) -> None:
    response.set_cookie(
        cookie_name(settings, suffix),
        value,
        max_age=int(life.total_seconds()),
        path="/",
        secure=not settings.plain_http,
        httponly=True,
        samesite="lax",
    )


@router.post("/login", dependencies=[SameOrigin])
def log_in(
    body: LogInBody,
    response: Response,
    services: ServicesDep,
    client: ClientDep,
    rid: RequestId,
) -> SessionView:
    """A session by e-mail address and password."""
    opened = services.sessions.log_in(
        email=body.email, password=body.password, client=client, request_id=rid
    )
    return render(response, services.settings, opened)


@router.post("/logout", status_code=status.HTTP_204_NO_CONTENT)
def log_out(caller: Browser, services: ServicesDep) -> Response:
    """The session and its tokens end; the browser forgets the cookie."""
    services.sessions.log_out(caller.session, caller.principal.actor)
    response = Response(status_code=status.HTTP_204_NO_CONTENT)
    response.delete_cookie(
        cookie_name(services.settings),
        path="/",
        secure=not services.settings.plain_http,
        httponly=True,
        samesite="lax",
    )
    return response


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
    views = [ListedSessionView.model_validate(dict(row)) for row in rows]
    here = caller.session.id
    return SessionsView(sessions=[v.model_copy(update={"current": v.id == here}) for v in views])


@router.post("/sessions/end-others", status_code=status.HTTP_204_NO_CONTENT)
def end_other_sessions(caller: Browser, services: ServicesDep) -> Response:
    """All sessions of the caller but this one end, and their tokens."""
    services.sessions.revoke(caller.session, None, caller.principal.actor)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.delete("/sessions/{session_id}", status_code=status.HTTP_204_NO_CONTENT)
def end_session(session_id: UUID, caller: Browser, services: ServicesDep) -> Response:
    """The caller's session of that id ends, and its tokens."""
    services.sessions.revoke(caller.session, session_id, caller.principal.actor)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
