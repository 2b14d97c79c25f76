"""API keys of the caller's organisation."""

from uuid import UUID

from fastapi import APIRouter, Response, status

from user_billing.api.deps import AdminCaller, ServicesDep
from user_billing.api.views import KeyBody, KeysView, KeyView, NewKeyView

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
