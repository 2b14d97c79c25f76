"""The bodies of service accounts."""

from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.model import ServiceAccount


class ServiceAccountBody(Body):
    """An account to make; its keys have at most these scopes."""

    name: Unicode
    scopes: list[Unicode]


class ServiceAccountsView(BaseModel):
    """The service accounts, newest first; a maker appears by address while a member."""

    service_accounts: list[ServiceAccount]
