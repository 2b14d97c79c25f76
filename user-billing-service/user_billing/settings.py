"""Every environment name this service reads. Built once, in main.py, and passed down."""

import ipaddress
import sys
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SERVICE: Final = "user-billing-service"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < 32:
        raise ValueError("must have at least 32 bytes")
    return secret


def _hard_to_guess(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and len(secret.get_secret_value()) < 16:
        raise ValueError("must have at least 16 characters")
    return secret


def _without_slash(url: str) -> str:
    return url.rstrip("/")


class Settings(BaseSettings):
    """The settings; empty values count as unset."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    host: str = "127.0.0.1"
    """Address to listen on; containers set 0.0.0.0."""
    port: int = 8003
    """Port to listen on; containers set 8000."""
    log_level: str = "info"

    database_url: SecretStr
    """libpq URL; a Unix socket as `?host=/folder`."""
    service_token: Annotated[SecretStr, AfterValidator(_hard_to_guess)]
    """Shared secret of the services, for `/internal/*`."""
    ubs_secret_key: Annotated[SecretStr, AfterValidator(_long_enough)]
    """Root of every derived key: at least 32 bytes. Changing it voids keys and sessions."""

    ui_public_url: Annotated[str, AfterValidator(_without_slash)] = "http://localhost:8080"
    """Where people open the dashboard: base of the set-up link, allowed origin."""
    ubs_plain_http: bool = False
    """Cookie without `Secure` and `__Host-`, for plain http on localhost. Never on a network."""
    ubs_trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = (
        ipaddress.ip_network("127.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )
    """Networks whose X-Forwarded-For counts, comma-separated."""

    ubs_setup_token: Annotated[SecretStr | None, AfterValidator(_hard_to_guess)] = None
    """Token of the set-up link when the operator chooses it; else one is made, logged once."""
    ubs_bootstrap_email: str | None = None
    ubs_bootstrap_password: SecretStr | None = None
    ubs_bootstrap_api_key: SecretStr | None = None
    ubs_bootstrap_organisation: str = "Home"
    """Name of the first organisation when nobody has named it yet."""

    ubs_pool_size: int = Field(default=10, ge=1)
    ubs_pool_overflow: int = Field(default=5, ge=0)
    ubs_statement_timeout_ms: int = Field(default=5_000, ge=100)
    ubs_lock_timeout_ms: int = Field(default=2_000, ge=50)
    ubs_hashing_slots: int = Field(default=3, ge=1)
    """Password hashes at once (30 ms and 19 MiB each)."""
    ubs_hashing_queue: int = Field(default=8, ge=0)
    """Log-ins that may wait for a slot; further ones get 429."""
    ubs_introspection_ttl_s: int = Field(default=60, ge=1, le=300)
    """How long a service may go on using a known key when this service is down."""
    ubs_signing_key_days: int = Field(default=30, ge=1)
    """Age at which the signing key is replaced."""
    ubs_organisations_per_user_max: int = Field(default=10, ge=1)
    ubs_drain_s: float = Field(default=1.0, ge=0)
    """Pause between SIGTERM (ready turns 503) and the end, so that routers notice."""

    @model_validator(mode="before")
    @classmethod
    def _split_networks(cls, values: Any) -> Any:
        given = values.get("ubs_trusted_proxies") if isinstance(values, dict) else None
        if isinstance(given, str):
            networks = tuple(part.strip() for part in given.split(",") if part.strip())
            return {**values, "ubs_trusted_proxies": networks}
        return values

    @model_validator(mode="after")
    def _bootstrap_is_whole(self) -> Self:
        if (self.ubs_bootstrap_email is None) != (self.ubs_bootstrap_password is None):
            raise ValueError("UBS_BOOTSTRAP_EMAIL and UBS_BOOTSTRAP_PASSWORD are set together")
        return self


class _DatabaseOnly(BaseSettings):
    """What a migration needs, so that it runs without the service's secrets."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    database_url: SecretStr


def load() -> Settings:
    """The settings of this process; stops it with one line that names what is missing or wrong."""
    try:
        return Settings()  # type: ignore[call-arg]  # the environment fills the fields
    except ValidationError as exc:
        sys.exit(explain(exc))


def load_database_url() -> str:
    """`DATABASE_URL`; stops the process with one line when it is missing."""
    try:
        return _DatabaseOnly().database_url.get_secret_value()  # type: ignore[call-arg]
    except ValidationError as exc:
        sys.exit(explain(exc))


def explain(exc: ValidationError) -> str:
    """One line for people, which never repeats a value: it may be a secret."""
    parts = []
    for error in exc.errors(include_input=False, include_url=False, include_context=False):
        name = "_".join(str(part) for part in error["loc"][:1]).upper()
        what = "is missing" if error["type"] == "missing" else error["msg"]
        parts.append(f"{name} {what}".strip())
    return f"{SERVICE}: " + "; ".join(parts)
