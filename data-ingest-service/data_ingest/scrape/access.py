"""How a server is reached: what is shown to it, whom it is trusted to be, where it may be.

    Access ─▶ Clients.of ─▶ a client of its own for each way to connect
                              └─ of a tenant's job: every address is checked as it is connected to

Checked is the address itself, after the name was looked up, so neither a name that changes its
address nor a redirect leads anywhere else.
"""

import base64
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final

import httpx

from data_ingest.chassis import guard
from data_ingest.chassis.guard import Guard, GuardedTransport, Network
from data_ingest.chassis.kinds import Kind, ServiceError

KEPT_CONNECTIONS_MAX: Final = 0
"""A kept connection that its server closes as it is used again would be a failed scrape."""
CREDENTIAL_BYTES_MAX: Final = 64 * 1024
NO_COOKIES: Final = DefaultCookiePolicy(allowed_domains=())
"""Each page is asked for as if for the first time."""


class BadAllowList(ServiceError):
    """DIS_SCRAPE_ALLOW cannot be used"""

    kind = Kind.BAD_DATA


@dataclass(frozen=True, slots=True)
class Credential:
    """What is sent as `Authorization`: the secret itself, or the file that has it.

    scheme: `Basic`, with `user`; else the type in front of the secret, `Bearer` as a rule.
    """

    scheme: str
    user: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    file: Path | None = None

    def header(self) -> str:
        """The header's value; a file is read anew each time, so its secret may change. OSError."""
        secret = self.secret
        if self.file is not None:
            with self.file.open("rb") as opened:
                secret = opened.read(CREDENTIAL_BYTES_MAX).decode(errors="replace").strip()
        if self.scheme != "Basic":
            return f"{self.scheme} {secret}"
        return f"Basic {base64.b64encode(f'{self.user}:{secret}'.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class Access:
    """How the server of a job is reached; is_guarded: only where a tenant may go."""

    credential: Credential | None = None
    ca_file: Path | None = None
    verifies: bool = True
    server_name: str | None = None
    follows_redirects: bool = True
    is_guarded: bool = False

    def tls(self) -> ssl.SSLContext:
        """As the settings say; OSError when the file of the authorities cannot be read."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if not self.verifies:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class Clients:
    """One HTTP client for each way to connect. given: used for everything instead (tests)."""

    def __init__(self, given: httpx.AsyncClient | None, allowed: Sequence[Network] = ()) -> None:
        self._given = given
        self._allowed = allowed
        self._clients: dict[Any, httpx.AsyncClient] = {}

    def of(self, access: Access) -> httpx.AsyncClient:
        """The client for this access; OSError when its authorities cannot be read."""
        if self._given is not None:
            return self._given
        way = (access.ca_file, access.verifies, access.is_guarded)
        if way not in self._clients:
            self._clients[way] = self._made(access)
        return self._clients[way]

    async def close(self) -> None:
        """No connection of ours is left."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _made(self, access: Access) -> httpx.AsyncClient:
        context = access.tls()
        if access.is_guarded:
            transport = GuardedTransport(Guard(self._allowed, "DIS_SCRAPE_ALLOW"), context)
            return httpx.AsyncClient(transport=transport, cookies=CookieJar(NO_COOKIES))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS_MAX)
        return httpx.AsyncClient(verify=context, limits=limits, cookies=CookieJar(NO_COOKIES))


def parse_networks(text: str) -> tuple[Network, ...]:
    """The networks of `10.0.0.0/8,fd00::/8`; BadAllowList names what is none."""
    try:
        return guard.parse_networks(text)
    except ValueError as exc:
        raise BadAllowList(detail=f"not a network: {exc}") from None
