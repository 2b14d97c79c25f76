"""The bodies of service accounts."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.members.rules import display_name
from user_billing.model import Member, ServiceAccount


class ServiceAccountBody(Body):
    """An account to make; its keys have at most these scopes."""

    name: Unicode
    scopes: list[Unicode]


class ServiceAccountView(BaseModel):
    """A service account."""

    id: UUID
    name: str
    scopes: list[str]
    created_at: datetime
    created_by: str
    disabled_at: datetime | None

    @classmethod
    def of(cls, account: ServiceAccount, members: list[Member]) -> Self:
        """The view of an account; its maker appears by address while a member."""
        return cls(
            id=account.id,
            name=account.name,
            scopes=[scope.value for scope in account.scopes],
            created_at=account.created_at,
            created_by=display_name(account.created_by, members),
            disabled_at=account.disabled_at,
        )


class ServiceAccountsView(BaseModel):
    """The service accounts, newest first."""

    service_accounts: list[ServiceAccountView]
