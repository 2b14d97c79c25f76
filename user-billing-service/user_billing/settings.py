"""Every environment name this service reads. Built once, in main.py, and passed down."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from user_billing.chassis.guard import parse_networks
from user_billing.chassis.settings import ServiceSettings, bare, hard_to_guess
from user_billing.model import SERVICES, Audience
from user_billing.oidc.providers import Provider


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


def _networks(text: str) -> str:
    parse_networks(text)
    return text


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

    oidc: tuple[Provider, ...] = ()
    """Providers to log in with, a JSON list: oidc/providers.py."""

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

    webhook_allow: Annotated[str, AfterValidator(_networks)] = ""
    """Networks that webhooks may reach although they are not public, comma-separated; with any,
    a webhook's URL may be plain http."""

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
    billing_grace_hours: int = Field(default=24, ge=0, le=24 * 31)
    """How long after its end a billing period waits for sources that have not reported it."""
    organisations_per_user_max: int = Field(default=10, ge=1)

    def callers(self) -> dict[str, frozenset[Audience]]:
        """The services that a holder of each service token may be, by token."""
        if self.service_tokens is None:
            return {self.service_token.get_secret_value(): SERVICES}
        tokens = _by_service(self.service_tokens.get_secret_value())
        return {token: frozenset({Audience(name)}) for name, token in tokens.items()}

    @field_validator("oidc")
    @classmethod
    def _one_name_each(cls, providers: tuple[Provider, ...]) -> tuple[Provider, ...]:
        if len({provider.name for provider in providers}) < len(providers):
            raise ValueError("no two providers may have one name")
        return providers

    @model_validator(mode="after")
    def _bootstrap_is_whole(self) -> Self:
        if (self.bootstrap_email is None) != (self.bootstrap_password is None):
            raise ValueError("UBS_BOOTSTRAP_EMAIL and UBS_BOOTSTRAP_PASSWORD are set together")
        return self
