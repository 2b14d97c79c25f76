"""Every environment name this service reads. Built once, in main.py, and passed down."""

import ipaddress
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from user_billing.chassis.settings import ServiceSettings, bare, hard_to_guess
from user_billing.model import SERVICES, Audience

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < 32:
        raise ValueError("must have at least 32 bytes")
    return secret


def _by_service(text: str) -> dict[str, str]:
    """The tokens of `das=…,dis=…,aps=…`, by service."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    return {name.strip(): token.strip() for name, _, token in pairs}


def _one_each(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None:
        tokens = _by_service(secret.get_secret_value())
        if tokens.keys() != SERVICES:
            raise ValueError("must be das=TOKEN,dis=TOKEN,aps=TOKEN")
        if min(map(len, tokens.values())) < 16:
            raise ValueError("each token must have at least 16 characters")
        if len(set(tokens.values())) < len(tokens):
            raise ValueError("no two services may have one token")
    return secret


def _without_slash(url: str) -> str:
    return url.rstrip("/")


class Settings(ServiceSettings):
    """The settings; empty values count as unset."""

    model_config = SettingsConfigDict(env_prefix="UBS_")
    service = "user-billing-service"
    code = "ubs"

    port: Annotated[int, bare("PORT"), Field(ge=0, le=65535)] = 8003
    """Port to listen on; containers set 8000."""
    secret_key: Annotated[SecretStr, AfterValidator(_long_enough)]
    """Root of every derived key: at least 32 bytes. Changing it voids keys and sessions."""

    ui_public_url: Annotated[str, bare("UI_PUBLIC_URL"), AfterValidator(_without_slash)] = (
        "http://localhost:8080"
    )
    """Where people open the dashboard: base of the set-up link, allowed origin."""
    plain_http: bool = False
    """Cookie without `Secure` and `__Host-`, for plain http on localhost. Never on a network."""
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = (
        ipaddress.ip_network("127.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )
    """Networks whose X-Forwarded-For counts, comma-separated."""
    proxy_hops: int = Field(default=1, ge=1)
    """Proxies that write X-Forwarded-For on the way here: 1 is the dashboard's nginx alone."""

    service_tokens: Annotated[SecretStr | None, AfterValidator(_one_each)] = None
    """`das=TOKEN,dis=TOKEN,aps=TOKEN`: the SERVICE_TOKEN of each, so that none can act as another.
    Unset: this service's own SERVICE_TOKEN is everybody's."""

    mail: SecretStr | None = None
    """Where letters go: console, file:/folder, smtp://…, smtps://…, smtp+plain://…; unset: none."""
    mail_from: str | None = None
    """Sender of letters; cloudopshub@ the host of UI_PUBLIC_URL without it."""

    setup_token: Annotated[SecretStr | None, AfterValidator(hard_to_guess)] = None
    """Token of the set-up link when the operator chooses it; else one is made, logged once."""
    bootstrap_email: str | None = None
    bootstrap_password: SecretStr | None = None
    bootstrap_api_key: SecretStr | None = None
    bootstrap_organisation: str = "Home"
    """Name of the first organisation when nobody has named it yet."""

    pool_size: int = Field(default=10, ge=1)
    pool_overflow: int = Field(default=5, ge=0)
    statement_timeout_ms: int = Field(default=5_000, ge=100)
    lock_timeout_ms: int = Field(default=2_000, ge=50)
    hashing_slots: int = Field(default=3, ge=1)
    """Password hashes at once (30 ms and 19 MiB each)."""
    hashing_queue: int = Field(default=8, ge=0)
    """Log-ins that may wait for a slot; further ones get 429."""
    introspection_ttl_s: int = Field(default=60, ge=1, le=300)
    """How long a service may go on using a known key when this service is down."""
    signing_key_days: int = Field(default=30, ge=1)
    """Age at which the signing key is replaced."""
    organisations_per_user_max: int = Field(default=10, ge=1)

    def callers(self) -> dict[str, frozenset[Audience]]:
        """The services that a holder of each service token may be, by token."""
        if self.service_tokens is None:
            return {self.service_token.get_secret_value(): SERVICES}
        tokens = _by_service(self.service_tokens.get_secret_value())
        return {token: frozenset({Audience(name)}) for name, token in tokens.items()}

    @model_validator(mode="before")
    @classmethod
    def _split_networks(cls, values: Any) -> Any:
        given = values.get("trusted_proxies") if isinstance(values, dict) else None
        if isinstance(given, str):
            networks = tuple(part.strip() for part in given.split(",") if part.strip())
            return {**values, "trusted_proxies": networks}
        return values

    @model_validator(mode="after")
    def _bootstrap_is_whole(self) -> Self:
        if (self.bootstrap_email is None) != (self.bootstrap_password is None):
            raise ValueError("UBS_BOOTSTRAP_EMAIL and UBS_BOOTSTRAP_PASSWORD are set together")
        return self
