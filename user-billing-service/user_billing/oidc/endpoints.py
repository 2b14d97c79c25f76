"""Log-in with a provider. The browser is led to our own page only, whatever a request says."""

from datetime import timedelta
from urllib.parse import quote
from uuid import UUID

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.api.deps import Browser, ClientDep, SameOrigin, ServicesDep, cookie_name
from user_billing.errors import ProviderRefused
from user_billing.oidc.rules import REASONS
from user_billing.oidc.service import BEGUN_FOR, Linked, LinkWanted
from user_billing.oidc.sql import Identity
from user_billing.sessions.endpoints import SessionView, render, set_cookie
from user_billing.sessions.service import Pending
from user_billing.settings import Settings

router = APIRouter(prefix="/api/v1", tags=["oidc"])

COOKIE_SUFFIX = "-oidc"

log = structlog.get_logger()


class ProviderView(BaseModel):
    """A provider, as the log-in page shows it."""

    name: str
    title: str


class ProvidersView(BaseModel):
    """The providers, and the words for `oidc_error` in the page's address."""

    providers: list[ProviderView]
    errors: dict[str, str]


class LinkBody(Body):
    """The challenge of a callback, and the password of the account it would link."""

    challenge: Unicode
    password: Unicode


class BegunView(BaseModel):
    """Where the browser goes next."""

    url: str


class IdentitiesView(BaseModel):
    """The caller's identities, oldest first."""

    identities: list[Identity]


@router.get("/oidc")
def list_providers(services: ServicesDep) -> ProvidersView:
    """The providers, and what the reasons of a failed log-in mean."""
    providers = services.oidc.providers.values()
    return ProvidersView(
        providers=[ProviderView(name=p.name, title=p.title or p.name) for p in providers],
        errors=REASONS,
    )


@router.get("/oidc/{name}/start", status_code=302, response_class=RedirectResponse)
def start(name: str, services: ServicesDep) -> Response:
    """To the provider."""
    try:
        begun = services.oidc.begin(name)
    except ProviderRefused as exc:
        return _refused(services.settings, name, exc)
    response = _to(begun.url)
    set_cookie(response, services.settings, COOKIE_SUFFIX, begun.cookie, BEGUN_FOR)
    return response


@router.post("/oidc/{name}/link")
def start_link(name: str, caller: Browser, response: Response, services: ServicesDep) -> BegunView:
    """The address of the provider, to link an identity with the caller; needs a fresh log-in."""
    begun = services.oidc.begin_link(name, caller.principal)
    set_cookie(response, services.settings, COOKIE_SUFFIX, begun.cookie, BEGUN_FOR)
    return BegunView(url=begun.url)


@router.get("/oidc/{name}/callback", status_code=302, response_class=RedirectResponse)
def callback(
    name: str,
    request: Request,
    services: ServicesDep,
    client: ClientDep,
    *,
    code: str = "",
    state: str = "",
) -> Response:
    """From the provider: to our page, logged in, asked for one more proof, or told why not."""
    settings = services.settings
    begun = request.cookies.get(cookie_name(settings, COOKIE_SUFFIX), "")
    cookie = request.cookies.get(cookie_name(settings))
    live = services.sessions.find(cookie) if cookie else None
    try:
        outcome = services.oidc.complete(
            name, cookie=begun, state=state, code=code, live=live, client=client
        )
    except ProviderRefused as exc:
        return _refused(settings, name, exc)
    match outcome:
        case Pending(challenge):
            response = _to_page(settings, f"/login?challenge={challenge}")
        case LinkWanted(challenge, binding):
            place = f"/login?link={challenge}&provider={quote(name)}"
            response = _to_page(settings, place, cookie=binding)
        case Linked():
            response = _to_page(settings, "/settings/signin")
        case opened:
            response = _to_page(settings, "/")
            render(response, settings, opened)
    return response


@router.post("/oidc/link", dependencies=[SameOrigin])
def link_with_password(
    body: LinkBody, request: Request, response: Response, services: ServicesDep, client: ClientDep
) -> SessionView:
    """A session; the identity of the callback is linked to the account whose password this is."""
    cookie = request.cookies.get(cookie_name(services.settings, COOKIE_SUFFIX), "")
    opened = services.oidc.link_with_password(body.challenge, cookie, body.password, client)
    return render(response, services.settings, opened)


@router.get("/identities")
def list_identities(caller: Browser, services: ServicesDep) -> IdentitiesView:
    """What the caller has linked, oldest first."""
    return IdentitiesView(identities=services.oidc.identities(caller.session.user.id))


@router.delete("/identities/{identity_id}", status_code=204)
def unlink(identity_id: UUID, caller: Browser, services: ServicesDep) -> None:
    """The identity logs nobody in any more; needs a fresh log-in."""
    services.oidc.unlink(caller.principal, identity_id)


def _to(url: str) -> Response:
    return RedirectResponse(url, 302, headers={"Cache-Control": "no-store"})


def _to_page(settings: Settings, place: str, *, cookie: str = "") -> Response:
    """To a place of our page; whatever was begun at a provider is over."""
    response = _to(f"{settings.ui_public_url}/#{place}")
    set_cookie(response, settings, COOKIE_SUFFIX, cookie, BEGUN_FOR if cookie else timedelta())
    return response


def _refused(settings: Settings, name: str, exc: ProviderRefused) -> Response:
    log.warning("oidc_refused", provider=name, **exc.facts)
    return _to_page(settings, f"/login?oidc_error={exc.facts['reason']}")
