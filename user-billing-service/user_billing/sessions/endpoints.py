"""Set-up, log-in, the session and the tokens made from it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response

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
from user_billing.sessions import views
from user_billing.sessions.service import OpenSession, Pending
from user_billing.sessions.views import PendingView, SessionView
from user_billing.settings import Settings

router = APIRouter(prefix="/api/v1", tags=["session"])

PENDING: dict[int | str, dict[str, Any]] = {202: {"model": PendingView}}


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
    body: views.LogInBody, response: Response, services: ServicesDep, client: ClientDep
) -> SessionView | PendingView:
    """A session by e-mail address and password; 202 for who has a second factor."""
    step = services.sessions.log_in(body.email, body.password, client)
    return render_step(response, services.settings, step)


@router.post("/login/code", dependencies=[SameOrigin])
def log_in_with_code(
    body: views.CodeBody, response: Response, services: ServicesDep, client: ClientDep
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
    body: views.OrganisationChoice, caller: Browser, response: Response, services: ServicesDep
) -> SessionView:
    """A new session in another of the caller's organisations; the old one is revoked."""
    opened = services.sessions.switch(caller.session, body.organisation_id, caller.principal.actor)
    return render(response, services.settings, opened)


@router.get("/sessions")
def list_sessions(caller: Browser, services: ServicesDep) -> views.SessionsView:
    """The caller's live sessions in all organisations, newest first."""
    rows = services.sessions.all(caller.session.user.id)
    here = caller.session.id
    return views.SessionsView(
        sessions=[views.ListedSessionView(**row, current=row["id"] == here) for row in rows]
    )


@router.post("/sessions/end-others", status_code=204)
def end_other_sessions(caller: Browser, services: ServicesDep) -> None:
    """All sessions of the caller but this one end, and their tokens."""
    services.sessions.revoke(caller.session, caller.principal.actor, but=caller.session.id)


@router.delete("/sessions/{session_id}", status_code=204)
def end_session(session_id: UUID, caller: Browser, services: ServicesDep) -> None:
    """The caller's session of that id ends, and its tokens."""
    services.sessions.revoke(caller.session, caller.principal.actor, only=session_id)
