"""Service accounts of the caller's organisation; their keys are made at `/api/v1/keys`."""

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.api.deps import AdminCaller, ServicesDep
from user_billing.model import ServiceAccount

router = APIRouter(prefix="/api/v1/service-accounts", tags=["keys"])


class ServiceAccountBody(Body):
    """An account to make; its keys have at most these scopes."""

    name: Unicode
    scopes: list[Unicode]


class ServiceAccountsView(BaseModel):
    """The service accounts, newest first; a maker appears by address while a member."""

    service_accounts: list[ServiceAccount]


@router.get("")
def list_service_accounts(caller: AdminCaller, services: ServicesDep) -> ServiceAccountsView:
    """Every account, newest first."""
    accounts = services.service_accounts.all(caller.tenant)
    return ServiceAccountsView(service_accounts=accounts)


@router.post("", status_code=201)
def create_service_account(
    body: ServiceAccountBody, caller: AdminCaller, services: ServicesDep
) -> ServiceAccount:
    """A new account, with no more scopes than its maker."""
    return services.service_accounts.create(caller, name=body.name, scopes=body.scopes)


@router.delete("/{service_account_id}", status_code=204)
def disable_service_account(
    service_account_id: UUID, caller: AdminCaller, services: ServicesDep
) -> None:
    """The account and all its keys are dead: here at once, in every service within 5 s."""
    services.service_accounts.disable(caller, service_account_id)
