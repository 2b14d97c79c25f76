"""What the sister services ask: docs/contracts.md §2. nginx never routes `/internal`."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from user_billing.accounts import installation
from user_billing.accounts.claims import LIFE_S
from user_billing.api.deps import MetricStore, ServicesDep, SisterService, sister_service
from user_billing.api.views import IntrospectBody, ServiceTokenBody, TokenView
from user_billing.model import KnownKey

REVOCATIONS_PAGE = 1_000
REVOCATIONS_FIRST = timedelta(minutes=10)
"""Over twice a token's life."""

router = APIRouter(prefix="/internal", tags=["internal"], dependencies=[Depends(sister_service)])
public_router = APIRouter(tags=["jwks"])


def rfc3339(at: datetime) -> str:
    """The instant in UTC, with a `Z`."""
    return at.isoformat().replace("+00:00", "Z")


@router.post("/introspect")
def introspect(body: IntrospectBody, services: ServicesDep) -> JSONResponse:
    """What a key may do now, and for how long the answer may be used when this service is down."""
    key = services.keys.introspect(body.key)
    if not isinstance(key, KnownKey):
        return JSONResponse({"active": False, "reason": key})
    return JSONResponse(
        {
            "active": True,
            "key_id": str(key.id),
            "tenant": str(key.organisation_id),
            "scopes": [scope.value for scope in key.scopes],
            "expires_at": None if key.expires_at is None else rfc3339(key.expires_at),
            "ttl_s": services.settings.introspection_ttl_s,
            "limits": asdict(key.limits),
        }
    )


@router.get("/revocations")
def revocations(
    services: ServicesDep, after: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None
) -> dict[str, Any]:
    """The revocation log above `after`, and the ids of the signing keys that hold.

    Without `after`, and for one the log has not reached (it was set back), the last ten minutes:
    all that a living token may be under.
    """
    with services.database.directory() as session:
        key_ids = installation.signing_key_ids(session)
        seq = installation.last_revocation(session)
        if after is None or after > seq:
            since = services.clock.now() - REVOCATIONS_FIRST
            rows = installation.revocations_since(session, since, REVOCATIONS_PAGE)
        else:
            rows = installation.revocations_after(session, after, REVOCATIONS_PAGE)
    if rows:
        # Rows committed since `seq` was read are among them; a full page ends below it.
        seq = rows[-1].seq if len(rows) == REVOCATIONS_PAGE else max(seq, rows[-1].seq)
    return {
        "seq": seq,
        "revocations": [
            {"seq": r.seq, "kind": r.kind.value, "ref": str(r.ref), "at": rfc3339(r.at)}
            for r in rows
        ],
        "signing_keys": key_ids,
    }


@router.post("/token")
def service_token(
    body: ServiceTokenBody, callers: SisterService, response: Response, services: ServicesDep
) -> TokenView:
    """A token with which a service acts for a tenant, within what the service needs."""
    response.headers["Cache-Control"] = "no-store"
    token = services.tokens.for_service(
        callers=callers,
        service=body.service,
        organisation_id=body.tenant,
        audience=body.audience,
        scopes=body.scopes,
    )
    return TokenView(token=token, expires_in_s=LIFE_S)


@router.get("/home-organisation", dependencies=[MetricStore])
def home_organisation(services: ServicesDep) -> dict[str, str | None]:
    """The organisation that the hub's own metrics belong to; null before the first start."""
    home = services.first_start.home_organisation()
    return {"tenant": None if home is None else str(home)}


@public_router.get("/.well-known/jwks.json")
def jwks(request: Request, services: ServicesDep) -> Response:
    """The public keys: next, active and retired."""
    keys = services.signing.current()
    headers = {"ETag": keys.etag, "Cache-Control": "public, max-age=300"}
    given = {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
    if keys.etag in given or "*" in given:
        return Response(status_code=304, headers=headers)
    return Response(keys.jwks, media_type="application/jwk-set+json", headers=headers)
