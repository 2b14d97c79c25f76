"""API keys of the caller's organisation."""

from dataclasses import asdict
from uuid import UUID

from fastapi import APIRouter, Response, status
from fastapi.responses import JSONResponse

from user_billing.api.deps import AdminCaller, ServicesDep
from user_billing.api.internal import rfc3339, router
from user_billing.keys.views import IntrospectBody, KeyBody, KeysView, KeyView, NewKeyView
from user_billing.model import KnownKey

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])


@router.get("")
def list_keys(caller: AdminCaller, services: ServicesDep) -> KeysView:
    """Every key, newest first, without its secret."""
    listed = services.keys.all(caller.tenant)
    return KeysView(keys=[KeyView(**KeyView.facts(key, listed.members)) for key in listed.keys])


@router.post("", status_code=status.HTTP_201_CREATED)
def create_key(
    body: KeyBody, caller: AdminCaller, response: Response, services: ServicesDep
) -> NewKeyView:
    """A new key; the answer is the only place where its text is ever seen."""
    made = services.keys.create(
        caller, name=body.name, scopes=body.scopes, expires_in_days=body.expires_in_days
    )
    response.headers["Cache-Control"] = "no-store"
    members = services.members.all(caller.tenant)
    return NewKeyView(**KeyView.facts(made.key, members), key=made.text)


@router.delete("/{key_id}", status_code=status.HTTP_204_NO_CONTENT)
def revoke_key(key_id: UUID, caller: AdminCaller, services: ServicesDep) -> Response:
    """The key is dead: here at once, in every service within 5 s."""
    services.keys.revoke(caller.tenant, key_id, caller.actor)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


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
