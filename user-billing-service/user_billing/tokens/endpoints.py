"""Tokens of people and services, and the keys that verify them."""

from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.api.deps import Browser, NoStore, ServicesDep, SisterService
from user_billing.model import Audience
from user_billing.tokens.claims import LIFE_S

router = APIRouter()


class TokenBody(Body):
    """The service a token is for."""

    audience: Audience


class ServiceTokenBody(Body):
    """A token for a service that acts for a tenant."""

    tenant: UUID
    audience: Audience
    scopes: list[Unicode]
    service: Audience


class TokenView(BaseModel):
    """An access token."""

    token: str
    expires_in_s: int


@router.post("/internal/token", tags=["internal"], dependencies=[NoStore])
def service_token(
    body: ServiceTokenBody, callers: SisterService, services: ServicesDep
) -> TokenView:
    """A token with which a service acts for a tenant, within what the service needs."""
    token = services.tokens.for_service(
        callers=callers,
        service=body.service,
        organisation_id=body.tenant,
        audience=body.audience,
        scopes=body.scopes,
    )
    return TokenView(token=token, expires_in_s=LIFE_S)


@router.get("/.well-known/jwks.json", tags=["jwks"])
def jwks(request: Request, services: ServicesDep) -> Response:
    """The public keys: next, active and retired."""
    keys = services.signing.current()
    headers = {"ETag": keys.etag, "Cache-Control": "public, max-age=300"}
    given = {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
    if keys.etag in given or "*" in given:
        return Response(status_code=304, headers=headers)
    return Response(keys.jwks, media_type="application/jwk-set+json", headers=headers)


@router.post("/api/v1/token", tags=["session"], dependencies=[NoStore])
def make_token(body: TokenBody, caller: Browser, services: ServicesDep) -> TokenView:
    """A five-minute token for one service."""
    token = services.tokens.for_session(caller.session, body.audience)
    return TokenView(token=token, expires_in_s=LIFE_S)
