"""API keys of the caller's organisation."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from user_billing.api.bodies import Body, Unicode, rfc3339
from user_billing.api.deps import AdminCaller, NoStore, ServicesDep, Sister
from user_billing.keys import rules
from user_billing.keys.service import NewKey
from user_billing.model import ApiKey, KnownKey

router = APIRouter(tags=["keys"])
Rate = Annotated[int, Field(ge=1, le=rules.REQUESTS_PER_S_MAX)]


class KeyBody(Body):
    """A key to make; expires_in_days None: until revoked."""

    name: Unicode
    scopes: list[Unicode]
    expires_in_days: Annotated[int, Field(ge=1, le=rules.EXPIRY_DAYS_MAX)] | None = None
    networks: tuple[Unicode, ...] = ()
    """CIDRs that the key may be used from; none: everywhere."""
    requests_per_s: Rate | None = None
    """In each process of each service; None: no bound of its own."""
    service_account_id: UUID | None = None


class RotateBody(Body):
    """How long the old key goes on."""

    overlap_s: Annotated[int, Field(ge=0, le=rules.OVERLAP_S_MAX)] = rules.OVERLAP_S


class KeyChangesBody(Body):
    """What is to be different; what is left out stays."""

    name: Unicode | None = None
    networks: list[Unicode] | None = None
    requests_per_s: Rate | None = None


class IntrospectBody(Body):
    """The key a service was shown."""

    key: Unicode


class KeysView(BaseModel):
    """The keys of the organisation, newest first."""

    keys: list[ApiKey]


@router.get("/api/v1/keys")
def list_keys(caller: AdminCaller, services: ServicesDep) -> KeysView:
    """Every key, newest first, without its secret."""
    return KeysView(keys=services.keys.all(caller.tenant))


@router.post("/api/v1/keys", status_code=201, dependencies=[NoStore])
def create_key(body: KeyBody, caller: AdminCaller, services: ServicesDep) -> NewKey:
    """A new key; the answer is the only place where its text is ever seen."""
    return services.keys.create(caller, **dict(body))


@router.post("/api/v1/keys/{key_id}/rotate", status_code=201, dependencies=[NoStore])
def rotate_key(
    key_id: UUID, body: RotateBody, caller: AdminCaller, services: ServicesDep
) -> NewKey:
    """A new key that may do the same; the old one dies after the overlap."""
    return services.keys.rotate(caller, key_id, timedelta(seconds=body.overlap_s))


@router.patch("/api/v1/keys/{key_id}")
def change_key(
    key_id: UUID, body: KeyChangesBody, caller: AdminCaller, services: ServicesDep
) -> ApiKey:
    """Another name, other networks, another rate: here at once, in every service within 5 s."""
    is_rate_given = "requests_per_s" in body.model_fields_set
    return services.keys.change(caller, key_id, **dict(body), is_rate_given=is_rate_given)


@router.delete("/api/v1/keys/{key_id}", status_code=204)
def revoke_key(key_id: UUID, caller: AdminCaller, services: ServicesDep) -> None:
    """The key is dead: here at once, in every service within 5 s."""
    services.keys.revoke(caller.tenant, key_id, caller.actor)


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
            "scopes": key.scopes,
            "expires_at": None if key.expires_at is None else rfc3339(key.expires_at),
            "ttl_s": services.settings.introspection_ttl_s,
            "limits": asdict(key.limits),
            "networks": key.networks,
            "requests_per_s": key.requests_per_s,
        }
    )
