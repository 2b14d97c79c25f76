"""How a server is reached: what is shown to it, whom it is trusted to be, where it may be.

    Access ─▶ Clients.of ─▶ a client of its own for each way to connect
                              └─ of a tenant's job: every address is checked as it is connected to

Checked is the address itself, after the name was looked up, so neither a name that changes its
address nor a redirect leads anywhere else.
"""

import asyncio
import base64
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final

import httpcore
import httpx
import psutil

from data_ingest.chassis.kinds import Kind, ServiceError

KEPT_CONNECTIONS_MAX: Final = 0
"""A kept connection that its server closes as it is used again would be a failed scrape."""
CREDENTIAL_BYTES_MAX: Final = 64 * 1024
NO_COOKIES: Final = DefaultCookiePolicy(allowed_domains=())
"""Each page is asked for as if for the first time."""
METADATA: Final = frozenset({ipaddress.ip_address("168.63.129.16")})
"""Metadata servers of clouds at public addresses (Azure); the others are link-local or private."""
_WITH_V4_AT_END: Final = ipaddress.IPv6Network("::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_PUBLIC: Final[tuple[Network, ...]] = (
    ipaddress.IPv4Network("192.0.0.0/24"),
    *map(ipaddress.IPv6Network, ("::/3", "4000::/2", "8000::/1")),
    *map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")),
)
"""For protocols and documentation, and all IPv6 but 2000::/3, which alone is given out: translation
to IPv4, segment routing, site-local. `is_global` differs on these between versions of Python.
Source: IANA's special-purpose address registries.
"""


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
            transport = GuardedTransport(context, Guard(self._allowed))
            return httpx.AsyncClient(transport=transport, cookies=CookieJar(NO_COOKIES))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS_MAX)
        return httpx.AsyncClient(verify=context, limits=limits, cookies=CookieJar(NO_COOKIES))


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over connections that `guard` makes; no proxy, since that would connect."""

    def __init__(self, context: ssl.SSLContext, guard: "Guard") -> None:
        # httpx has no parameter for it; `tests/unit/test_scrape_access.py` notices another name.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=KEPT_CONNECTIONS_MAX,
            network_backend=guard,
        )


class Guard(httpcore.AsyncNetworkBackend):
    """Connects to addresses that `refusal` has nothing against."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address of the host that takes one; all must be allowed."""
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
        except OSError as exc:
            raise httpcore.ConnectError(str(exc)) from exc
        addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
        own = own_networks()
        for address in addresses:
            if why := refusal(address, self._allowed, own):
                raise httpcore.ConnectError(f"{address} is {why}; DIS_SCRAPE_ALLOW may list it")
        failure: Exception = httpcore.ConnectError("the host has no address")
        for address in addresses:
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failure = exc
        raise failure


def parse_networks(text: str) -> tuple[Network, ...]:
    """The networks of `10.0.0.0/8,fd00::/8`; BadAllowList names what is none."""
    networks: list[Network] = []
    for item in filter(None, map(str.strip, text.split(","))):
        try:
            networks.append(ipaddress.ip_network(item))
        except ValueError as exc:
            raise BadAllowList(detail=f"not a network: {exc}") from None
    return tuple(networks)


def own_networks() -> list[Network]:
    """The networks that this machine's interfaces are in."""
    networks: list[Network] = []
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family in {socket.AF_INET, socket.AF_INET6} and one.netmask:
                address = one.address.partition("%")[0]
                bits = int(ipaddress.ip_address(one.netmask)).bit_count()
                networks.append(ipaddress.ip_network(f"{address}/{bits}", strict=False))
    return networks


def refusal(text: str, allowed: Sequence[Network], own: Sequence[Network]) -> str:
    """Why a tenant's job may not connect to this address; empty when it may.

    An IPv6 address that stands for an IPv4 one is judged as that.
    """
    address = _meant(ipaddress.ip_address(text.partition("%")[0]))
    if any(address in network for network in allowed):
        return ""
    is_special = address in METADATA or any(address in network for network in NOT_PUBLIC)
    if is_special or not address.is_global or address.is_multicast:
        return "not a public address"
    return "in the hub's own network" if any(address in network for network in own) else ""


def _meant(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _WITH_V4_AT_END and int(address) > 1:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
