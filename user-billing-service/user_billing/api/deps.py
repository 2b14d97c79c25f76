"""Who is calling, and what routes are handed. Every route but the public ones names its need here.

Authorization: Bearer <JWT | API key>  ┐
Authorization: Basic  (password = key) ├─▶ Principal ─▶ needs(scope) ─▶ route
X-API-Key: <API key>                   │
Cookie + X-CSRF-Token + same origin    ┘
"""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

import structlog
from fastapi import Depends, Request, Response

from user_billing import access
from user_billing.api import origins
from user_billing.chassis.callers import is_within
from user_billing.errors import CrossSiteRefused, NotAllowed, NotAuthenticated, TooManyRequests
from user_billing.keys.format import PREFIX
from user_billing.model import Actor, Audience, Client, KnownKey, LiveSession, Principal, Scope
from user_billing.services import Services
from user_billing.sessions.rules import browser_words
from user_billing.settings import Settings

DEVICE_SUFFIX = "-device"
WITHOUT_SECOND_FACTOR = ("session", "logout", "second-factor")
"""Where who lacks the second factor that the organisation requires may go: below `/api/v1/`."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def services_of(request: Request) -> Services:
    """The services of this application."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesDep = Annotated[Services, Depends(services_of)]


def request_id() -> str | None:
    """The id that the request log gave this request."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return None if request_id is None else str(request_id)


RequestId = Annotated[str | None, Depends(request_id)]


def cookie_name(settings: Settings, suffix: str = "") -> str:
    """`__Host-` binds the cookie to this host and to https; plain http cannot have it."""
    return f"{'' if settings.plain_http else '__Host-'}cloudopshub{suffix}"


def client(request: Request, services: ServicesDep, rid: RequestId) -> Client:
    """Where the request came from, through configured proxies only, and from which browser."""
    settings = services.settings
    device = request.cookies.get(cookie_name(settings, DEVICE_SUFFIX))
    browser = browser_words(request.headers.get("user-agent", ""))
    return Client(settings.proxies.address(request.scope), device, browser, rid)


ClientDep = Annotated[Client, Depends(client)]


def refuse_other_sites(request: Request, services: ServicesDep) -> None:
    """Passes unless a browser says that another site's page makes this request (log-in CSRF)."""
    verdict = origins.verdict(request.headers, public_url=services.settings.ui_public_url)
    if verdict == "cross":
        raise CrossSiteRefused


SameOrigin = Depends(refuse_other_sites)


def no_store(response: Response) -> None:
    """No cache keeps the answer, which has a secret or a person's facts."""
    response.headers["Cache-Control"] = "no-store"


NoStore = Depends(no_store)


def caller(request: Request, services: ServicesDep, rid: RequestId) -> Principal:
    """The verified caller. Raises NotAuthenticated; CrossSiteRefused for an unproved cookie."""
    secret = _header_secret(request)
    if secret is not None:
        principal = (
            _by_key(request, services, secret, rid)
            if secret.startswith(PREFIX)
            else _by_token(services, secret, rid)
        )
    else:
        principal = _by_cookie(request, services, rid)
    session = principal.session
    if session is not None and session.must_enrol:
        path = request.url.path.removeprefix("/api/v1/")
        if not path.startswith(WITHOUT_SECOND_FACTOR):
            raise NotAllowed(detail="your organisation requires a second factor: set it up first")
    return principal


Caller = Annotated[Principal, Depends(caller)]


def _header_secret(request: Request) -> str | None:
    if key := request.headers.get("x-api-key"):
        return key
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError) as exc:
            raise NotAuthenticated(detail="the Basic credentials cannot be read") from exc
    if scheme:
        raise NotAuthenticated(detail="use Bearer, Basic or X-API-Key")
    return None


def _by_key(request: Request, services: Services, text: str, rid: str | None) -> Principal:
    key = services.keys.introspect(text)
    if not isinstance(key, KnownKey):
        raise NotAuthenticated(detail=f"the API key is {key}")
    if key.networks:
        address = services.settings.proxies.address(request.scope)
        if not is_within(address, map(ipaddress.ip_network, key.networks)):
            raise NotAllowed(detail=f"this API key may not be used from {address or 'here'}")
    if key.requests_per_s is not None:
        with services.buckets_lock:
            now_s = services.clock.now().timestamp()
            wait_s = services.buckets.wait_s(str(key.id), key.requests_per_s, now_s)
        if wait_s > 0:
            raise TooManyRequests(per_s=key.requests_per_s, retry_after_s=wait_s)
    return Principal(
        tenant=key.organisation_id,
        actor=Actor(f"key:{key.id}", rid),
        scopes=frozenset(key.scopes),
        credential="key",
        expires_at=key.expires_at,
        networks=tuple(key.networks),
    )


def _by_token(services: Services, text: str, rid: str | None) -> Principal:
    claims = services.signing.verify(text, Audience.UBS)
    organisation_id = UUID(claims["org"])
    if "sid" not in claims:
        raise NotAuthenticated(detail="the token is of no session")
    live = services.sessions.find_by_id(UUID(claims["sid"]))
    if live is None or live.organisation_id != organisation_id:
        raise NotAuthenticated(detail="the session of this token has ended")
    return _person(live, rid, "token")


def _by_cookie(request: Request, services: Services, rid: str | None) -> Principal:
    cookie = request.cookies.get(cookie_name(services.settings))
    live = services.sessions.find(cookie) if cookie else None
    if live is None:
        raise NotAuthenticated(detail="log in, or send an API key")
    if request.method not in SAFE_METHODS:
        verdict = origins.verdict(request.headers, public_url=services.settings.ui_public_url)
        sent = request.headers.get("x-csrf-token", "")
        if verdict != "same":
            raise CrossSiteRefused(detail="send Origin or Sec-Fetch-Site of the dashboard's page")
        if not hmac.compare_digest(services.sessions.csrf_token(live).encode(), sent.encode()):
            raise CrossSiteRefused(detail="X-CSRF-Token is missing or of another session")
    return _person(live, rid, "session")


def _person(
    live: LiveSession, rid: str | None, credential: Literal["session", "token"]
) -> Principal:
    return Principal(
        tenant=live.organisation_id,
        actor=Actor(f"user:{live.user.id}", rid),
        scopes=access.scopes_of(live),
        credential=credential,
        role=live.role,
        user_id=live.user.id,
        session=live,
    )


def needs(*scopes: Scope) -> Callable[[Principal], Principal]:
    """A dependency: the caller, who has one of `scopes`."""

    def check(principal: Caller) -> Principal:
        access.require_scope(principal, *scopes)
        return principal

    return check


AdminCaller = Annotated[Principal, Depends(needs(Scope.ADMIN))]
BillingReader = Annotated[Principal, Depends(needs(Scope.BILLING_READ, Scope.ADMIN))]


def operator(principal: AdminCaller, services: ServicesDep) -> Principal:
    """An administrator of the home organisation, which runs the hub: it sells, others buy.

    Raises NotAllowed.
    """
    if principal.tenant != services.first_start.home_organisation():
        raise NotAllowed(needs="an administrator of the organisation that runs this hub")
    return principal


Operator = Annotated[Principal, Depends(operator)]


@dataclass(frozen=True, slots=True)
class BrowserCaller:
    """A person with the session cookie, as opposed to a token or a key."""

    principal: Principal
    session: LiveSession


def browser_caller(principal: Caller) -> BrowserCaller:
    """The caller, who must have come with the cookie."""
    if principal.credential != "session" or principal.session is None:
        raise NotAllowed(needs="the session cookie")
    return BrowserCaller(principal, principal.session)


Browser = Annotated[BrowserCaller, Depends(browser_caller)]


def person_id(principal: Caller) -> UUID:
    """The user id of the caller, who must be a person, in an organisation that works."""
    if principal.user_id is None:
        raise NotAllowed(needs="a person's session or token")
    if principal.session is not None and principal.session.suspended is not None:
        raise NotAllowed(needs="an organisation that is not suspended")
    return principal.user_id


PersonId = Annotated[UUID, Depends(person_id)]


def sister_service(request: Request, services: ServicesDep) -> frozenset[Audience]:
    """The services that the caller may be, by the service token it holds.

    Every token is compared, each in constant time. Raises NotAuthenticated.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    sent, callers = value.strip().encode(), frozenset[Audience]()
    for token, codes in services.settings.callers().items():
        if hmac.compare_digest(sent, token.encode()):
            callers = codes
    if scheme.lower() != "bearer" or not callers:
        raise NotAuthenticated(detail="internal routes need the service token")
    return callers


Sister = Depends(sister_service)
SisterService = Annotated[frozenset[Audience], Depends(sister_service)]


def metric_store(callers: SisterService) -> None:
    """Passes for data-ingest-service and data-api-service, which act for the hub itself."""
    if not callers & {Audience.DIS, Audience.DAS}:
        raise NotAllowed(needs="the service token of dis or das")


MetricStore = Depends(metric_store)
