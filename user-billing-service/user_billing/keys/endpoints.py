"""API keys of the caller's organisation."""

from dataclasses import asdict
from uuid import UUID

from fastapi import APIRouter, Response, status
from fastapi.responses import JSONResponse

from user_billing.api.bodies import rfc3339
from user_billing.api.deps import AdminCaller, ServicesDep, Sister
from user_billing.keys.views import (
    IntrospectBody,
    KeyBody,
    KeyChangesBody,
    KeysView,
    KeyView,
    NewKeyView,
    RotateBody,
)
from user_billing.model import KnownKey

router = APIRouter(tags=["keys"])


@router.get("/api/v1/keys")
def list_keys(caller: AdminCaller, services: ServicesDep) -> KeysView:
    """Every key, newest first, without its secret."""
    listed = services.keys.all(caller.tenant)
    return KeysView(keys=[KeyView(**KeyView.facts(key, listed.members)) for key in listed.keys])


@router.post("/api/v1/keys", status_code=status.HTTP_201_CREATED)
def create_key(
    body: KeyBody, caller: AdminCaller, response: Response, services: ServicesDep
) -> NewKeyView:
    """A new key; the answer is the only place where its text is ever seen."""
    made = services.keys.create(caller, **dict(body))
    response.headers["Cache-Control"] = "no-store"
    members = services.members.all(caller.tenant)
    return NewKeyView(**KeyView.facts(made.key, members), key=made.text)


@router.post("/api/v1/keys/{key_id}/rotate", status_code=status.HTTP_201_CREATED)
def rotate_key(
    key_id: UUID, body: RotateBody, caller: AdminCaller, response: Response, services: ServicesDep
) -> NewKeyView:
    """A new key that may do the same; the old one dies after the overlap."""
    made = services.keys.rotate(caller, key_id, overlap_s=body.overlap_s)
    response.headers["Cache-Control"] = "no-store"
    members = services.members.all(caller.tenant)
    return NewKeyView(**KeyView.facts(made.key, members), key=made.text)


@router.patch("/api/v1/keys/{key_id}")
def change_key(
    key_id: UUID, body: KeyChangesBody, caller: AdminCaller, services: ServicesDep
) -> KeyView:
    """Another name, other networks, another rate: here at once, in every service within 5 s."""
    is_rate_given = "requests_per_s" in body.model_fields_set
    key = services.keys.change(caller, key_id, **dict(body), is_rate_given=is_rate_given)
    return KeyView(**KeyView.facts(key, services.members.all(caller.tenant)))


@router.delete("/api/v1/keys/{key_id}", status_code=status.HTTP_204_NO_CONTENT)
def revoke_key(key_id: UUID, caller: AdminCaller, services: ServicesDep) -> Response:
    """The key is dead: here at once, in every service within 5 s."""
    services.keys.revoke(caller.tenant, key_id, caller.actor)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.post("/internal/introspect", tags=["internal"], dependencies=[Sister])
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
            "networks": key.networks,
            "requests_per_s": key.requests_per_s,
        }
    )
