"""What the operator says of a provider, in `UBS_OIDC`."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from user_billing.model import PersonRole, Role

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_safe_url(url: str) -> bool:
    """Whether secrets may be sent there: https, or this machine itself."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    )


def _safe(url: str) -> str:
    if not is_safe_url(url) or urlsplit(url).query or urlsplit(url).fragment:
        raise ValueError("must be https://…, without query")
    return url


class Provider(BaseModel):
    """One provider. An organisation is named by its slug."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    """In routes; what the log-in page shows is the title."""
    title: str = ""
    issuer: Annotated[str, AfterValidator(_safe)]
    """Exactly as the provider's ID tokens have it."""
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretStr
    scopes: str = "openid email profile"
    algorithms: tuple[Literal["RS256", "PS256", "ES256", "EdDSA"], ...] = ("RS256", "ES256")
    """How ID tokens may be signed."""

    organisation: str | None = None
    """Which people of the provider join; none: only people with an account log in."""
    domains: tuple[str, ...] = ()
    """Whose people may join: the part of their verified address after the @."""
    role: PersonRole | None = Role.VIEWER
    """Of who joins and is in no mapped group; null: they may not."""
    groups_claim: str = "groups"
    roles: dict[str, PersonRole] = {}
    """Group to role in the organisation; of several the strongest. Follows at each log-in."""

    @model_validator(mode="after")
    def _joins_somewhere(self) -> Self:
        if self.organisation is None and (self.domains or self.roles):
            raise ValueError("domains and roles need an organisation")
        if self.organisation is not None and not self.domains:
            raise ValueError("an organisation needs domains, whose people may join it")
        return self
