"""Service accounts of the caller's organisation; their keys are made at `/api/v1/keys`."""

from uuid import UUID

from fastapi import APIRouter, Response, status

from user_billing.api.deps import AdminCaller, ServicesDep
from user_billing.service_accounts.views import (
    ServiceAccountBody,
    ServiceAccountsView,
    ServiceAccountView,
)

router = APIRouter(prefix="/api/v1/service-accounts", tags=["keys"])


@router.get("")
def list_service_accounts(caller: AdminCaller, services: ServicesDep) -> ServiceAccountsView:
    """Every account, newest first."""
    members = services.members.all(caller.tenant)
    accounts = services.service_accounts.all(caller.tenant)
    return ServiceAccountsView(
        service_accounts=[ServiceAccountView.of(account, members) for account in accounts]
    )


@router.post("", status_code=status.HTTP_201_CREATED)
def create_service_account(
    body: ServiceAccountBody, caller: AdminCaller, services: ServicesDep
) -> ServiceAccountView:
    """A new account, with no more scopes than its maker."""
    account = services.service_accounts.create(caller, name=body.name, scopes=body.scopes)
    return ServiceAccountView.of(account, services.members.all(caller.tenant))


@router.delete("/{service_account_id}", status_code=status.HTTP_204_NO_CONTENT)
def disable_service_account(
    service_account_id: UUID, caller: AdminCaller, services: ServicesDep
) -> Response:
    """The account and all its keys are dead: here at once, in every service within 5 s."""
    services.service_accounts.disable(caller, service_account_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
