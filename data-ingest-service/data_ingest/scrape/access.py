"""How a server is reached: what is shown to it, whom it is trusted to be, where it may be.

    Access ─▶ Clients.of ─▶ a client of its own for each way to connect
                              └─ of a tenant's job: every address is checked as it is connected to

Checked is the address itself, after the name was looked up, so neither a name that changes its
address nor a redirect leads anywhere else.
"""

import base64
import ssl
from collections.abc import Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final, Self

import httpx
from pydantic import Field, SecretStr, model_validator

from data_ingest.chassis.guard import Guard, GuardedTransport, Network
from data_ingest.scrape.words import File, Strict

KEPT_CONNECTIONS_MAX: Final = 0
"""A kept connection that its server closes as it is used again would be a failed scrape."""
CREDENTIAL_BYTES_MAX: Final = 64 * 1024
NO_COOKIES: Final = DefaultCookiePolicy(allowed_domains=())
"""Each page is asked for as if for the first time."""


class BasicAuth(Strict):
    """User and password."""

    username: str = Field("", repr=False)
    password: SecretStr = SecretStr("")
    password_file: File | None = None


class Authorization(Strict):
    """A token, or whatever else follows a type."""

    type: str = "Bearer"
    credentials: SecretStr = SecretStr("")
    credentials_file: File | None = None


class TlsConfig(Strict):
    """Whom the server must prove to be."""

    ca_file: File | None = None
    insecure_skip_verify: bool = False
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """As it says; OSError when the file of the authorities cannot be read."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class Access(Strict):
    """How a server is asked: of the targets of a job, or of its list of targets."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: TlsConfig = TlsConfig()
    follow_redirects: bool = True

    @model_validator(mode="after")
    def one_credential(self) -> Self:
        """There is at most one, in one place."""
        basic, other = self.basic_auth, self.authorization
        if basic and other:
            raise ValueError("basic_auth and authorization are both given")
        if basic and basic.password and basic.password_file:
            raise ValueError("password and password_file are both given")
        if other and bool(other.credentials) == bool(other.credentials_file):
            raise ValueError("authorization needs credentials or credentials_file, and not both")
        if other and other.type.lower() == "basic":
            raise ValueError("authorization of type Basic is written as basic_auth")
        return self

    def credential(self) -> str | None:
        """The header `Authorization`; a file is read anew each time, as it may change. OSError."""
        if basic := self.basic_auth:
            pair = f"{basic.username}:{_secret(basic.password, basic.password_file)}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}"
        if other := self.authorization:
            return f"{other.type.strip()} {_secret(other.credentials, other.credentials_file)}"
        return None


class Clients:
    """One HTTP client for each way to connect. given: used for everything instead (tests)."""

    def __init__(self, given: httpx.AsyncClient | None, allowed: Sequence[Network] = ()) -> None:
        self._given = given
        self._allowed = allowed
        self._clients: dict[Any, httpx.AsyncClient] = {}

    def of(self, tls: TlsConfig, *, is_guarded: bool) -> httpx.AsyncClient:
        """The client for these servers; OSError when their authorities cannot be read.

        is_guarded: only where a tenant may go.
        """
        if self._given is not None:
            return self._given
        way = (tls.ca_file, tls.insecure_skip_verify, is_guarded)
        if way not in self._clients:
            self._clients[way] = self._made(tls, is_guarded)
        return self._clients[way]

    async def close(self) -> None:
        """No connection of ours is left."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _made(self, tls: TlsConfig, is_guarded: bool) -> httpx.AsyncClient:
        context, cookies = tls.context(), CookieJar(NO_COOKIES)
        if is_guarded:
            transport = GuardedTransport(Guard(self._allowed, "DIS_SCRAPE_ALLOW"), context)
            return httpx.AsyncClient(transport=transport, cookies=cookies)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS_MAX)
        return httpx.AsyncClient(verify=context, limits=limits, cookies=cookies)


def _secret(given: SecretStr, file: Path | None) -> str:
    if file is None:
        return given.get_secret_value()
    with file.open("rb") as opened:
        return opened.read(CREDENTIAL_BYTES_MAX).decode(errors="replace").strip()
