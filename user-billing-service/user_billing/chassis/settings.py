"""Settings from the environment: what every service reads, and how a wrong one stops the start.

Deployment names are bare (docs/contracts.md, section 1). A service's own carry its code, the
`env_prefix`: the field `drain_s` of data-api-service is `DAS_DRAIN_S`.
"""

import ipaddress
import re
import sys
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .callers import Network, Proxies

S = TypeVar("S", bound="DatabaseSettings")

HOST = r"(?:\[[^]@/?#]*\]|[^][@/?#:,]*)(?::\d+)?"
PARAMETER = r"[A-Za-z_]+=[^@#&=]*"
DATABASE_URL = re.compile(
    rf"postgres(?:ql)?://(?:[^@/?#]*@)?{HOST}(?:,{HOST})*(?:/[^@/?#]*)?"
    rf"(?:\?{PARAMETER}(?:&{PARAMETER})*)?"
)
NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")


def bare(name: str) -> Any:
    """A field whose variable is `name`, without the service's prefix; in code its lower case.

    Not pydantic's `populate_by_name`: that would read DAS_PORT as well, which Kubernetes sets for
    a Service called das.
    """
    return Field(validation_alias=AliasChoices(name, name.lower()))


def hard_to_guess(secret: SecretStr | None) -> SecretStr | None:
    """The secret, which has at least 16 characters."""
    if secret is not None and len(secret.get_secret_value()) < 16:
        raise ValueError("must have at least 16 characters")
    return secret


def database_url(url: SecretStr) -> SecretStr:
    """A libpq URL that can be read in one way only.

    A password that holds @ / ? # or % as they are ends or breaks the URL, and so do parameters
    that are no name=value and %00; the complaint of whoever reads it then quotes pieces of them.
    """
    text = url.get_secret_value()
    if not DATABASE_URL.fullmatch(text) or NO_ESCAPE.search(text):
        raise ValueError(
            "must be postgresql://user:password@host:port/name, in user and password with %40 for"
            " @, %2F for /, %3F for ?, %23 for # and %25 for % (or the password in PGPASSWORD);"
            " parameters as ?name=value&name=value, with %26 for & and %3D for ="
        )
    return url


def known_store(url: str) -> str:
    """The URL of an object store: `file:///folder` or `s3://bucket/prefix`."""
    if not url.startswith(("file:///", "s3://")):
        raise ValueError("must begin with file:/// or s3://")
    return url


def comma_separated(value: Any) -> Any:
    """The parts of a text; anything else as it is."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


class DatabaseSettings(BaseSettings):
    """What a migration needs. Frozen; an empty value counts as unset."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)
    service: ClassVar[str] = __name__.partition(".")[0]
    """The name in messages: the package's, or the folder's where a service says so."""

    database_url: Annotated[SecretStr, bare("DATABASE_URL"), AfterValidator(database_url)]
    """libpq URL; a Unix socket as `?host=/folder`."""


class ServiceSettings(DatabaseSettings):
    """What every service reads; each derives its own, with its code as `env_prefix`."""

    code: ClassVar[str]
    """The service's short name in logs and metrics."""

    host: Annotated[str, bare("HOST")] = "127.0.0.1"
    """Address to listen on; containers set 0.0.0.0."""
    port: Annotated[int, bare("PORT"), Field(ge=0, le=65535)] = 8000
    log_level: Annotated[str, bare("LOG_LEVEL")] = "info"
    service_token: Annotated[SecretStr, bare("SERVICE_TOKEN"), AfterValidator(hard_to_guess)]
    """Shared secret of the services, for `/internal/*`."""
    drain_s: Annotated[float, Field(ge=0)] = 1.0
    """Pause between SIGTERM (/ready turns 503) and the end, so that routers notice."""
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(comma_separated)] = (
        ipaddress.ip_network("127.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )
    """Networks whose X-Forwarded-For counts, comma-separated."""
    proxy_hops: Annotated[int, Field(ge=1)] = 1
    """Proxies that write X-Forwarded-For on the way here: 1 is the dashboard's nginx alone."""

    @property
    def proxies(self) -> Proxies:
        """Whom to believe about a client's address."""
        return Proxies(self.trusted_proxies, self.proxy_hops)


def load(kind: type[S], **given: Any) -> S:
    """The settings from the environment; ends the process with one line naming what is wrong.

    given: fields that are not read from the environment.
    """
    try:
        return kind(**given)
    except ValidationError as exc:
        sys.exit(f"{kind.service} cannot start: {explain(kind, exc)}")


def explain(kind: type[BaseSettings], exc: ValidationError) -> str:
    """What is wrong, by variable. Values are not repeated: they may be secrets."""
    faults = []
    for error in exc.errors(include_input=False, include_url=False, include_context=False):
        name = str(error["loc"][0]) if error["loc"] else ""
        if name and not name.isupper():
            name = f"{kind.model_config.get('env_prefix', '')}{name}".upper()
        if error["type"] == "missing":
            faults.append(f"{name} is missing")
        else:
            text = error["msg"].removeprefix("Value error, ")
            faults.append(f"{name}: {text}" if name else text)
    return "; ".join(faults)
