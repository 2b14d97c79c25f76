"""The bodies of log-in with a provider."""

from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.oidc.sql import Identity


class ProviderView(BaseModel):
    """A provider, as the log-in page shows it."""

    name: str
    title: str


class ProvidersView(BaseModel):
    """The providers, and the words for `oidc_error` in the page's address."""

    providers: list[ProviderView]
    errors: dict[str, str]


class LinkBody(Body):
    """The challenge of a callback, and the password of the account it would link."""

    challenge: Unicode
    password: Unicode


class BegunView(BaseModel):
    """Where the browser goes next."""

    url: str


class IdentitiesView(BaseModel):
    """The caller's identities, oldest first."""

    identities: list[Identity]
