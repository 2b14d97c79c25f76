"""Where a tenant's URLs may lead: to public addresses outside the hub's own network.

Checked is the address itself, after the name was looked up and as it is connected to, so a name
that changes its address leads nowhere else. Redirects are not followed, proxies not used.
A setting of the service lists networks that are allowed beside (`10.0.0.0/8,fd00::/8`).
"""

import ipaddress
import socket
import ssl
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import httpcore
import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_PUBLIC: Final[tuple[Network, ...]] = tuple(
    map(
        ipaddress.ip_network,
        # Azure's metadata; protocols and documentation; all IPv6 but 2000::/3, which alone is given
        # out. `is_global` differs on these between versions of Python. Source: IANA's registries.
        (
            *("168.63.129.16", "192.0.0.0/24", "::/3", "4000::/2", "8000::/1"),
            *("2001::/23", "2001:db8::/32", "3fff::/20"),
        ),
    )
)
LOOKUPS_AT_ONCE: Final = 64
_WITH_V4_AT_END: Final = ipaddress.IPv6Network("::/96")


class Refused(httpcore.ConnectError):
    """The address is not one that a tenant may reach."""


def parse_networks(text: str) -> tuple[Network, ...]:
    """The networks of `10.0.0.0/8,fd00::/8`; ValueError names what is none."""
    return tuple(ipaddress.ip_network(one.strip()) for one in text.split(",") if one.strip())


def own_networks(proc: Path = Path("/proc/net")) -> list[Network]:
    """The networks that this machine is connected to, as Linux tells them; elsewhere none."""
    networks: list[Network] = []
    try:
        for line in (proc / "route").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[2] == "00000000":  # no gateway
                base, mask = (int.from_bytes(bytes.fromhex(fields[at])[::-1]) for at in (1, 7))
                networks.append(ipaddress.IPv4Network((base & mask, mask.bit_count())))
        for line in (proc / "if_inet6").read_text().splitlines():
            fields = line.split()
            address = (int(fields[0], 16), int(fields[2], 16))
            networks.append(ipaddress.IPv6Network(address, strict=False))
    except OSError:
        pass
    return [one for one in networks if one.prefixlen]


def refusal(text: str, allowed: Sequence[Network], own: Sequence[Network]) -> str:
    """Why this address may not be connected to; empty when it may.

    An IPv6 address that stands for an IPv4 one is judged as that.
    """
    address = _meant(ipaddress.ip_address(text.partition("%")[0]))
    if any(address in network for network in allowed):
        return ""
    is_special = any(address in network for network in NOT_PUBLIC)
    if is_special or not address.is_global or address.is_multicast:
        return "not a public address"
    return "in the hub's own network" if any(address in network for network in own) else ""


def _meant(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _WITH_V4_AT_END and int(address) > 1:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def checked(
    infos: Iterable[tuple[object, ...]], allowed: Sequence[Network], setting: str
) -> list[str]:
    """The addresses that `getaddrinfo` gave; Refused when one of them may not be reached."""
    addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))  # type: ignore[index]
    own = own_networks()
    for address in addresses:
        if why := refusal(address, allowed, own):
            raise Refused(f"{address} is {why}; the operator may list it in {setting}")
    return addresses


class Guard(httpcore.AsyncNetworkBackend):
    """Connects to addresses that `refusal` has nothing against.

    setting: the variable that lists the allowed networks, for who is refused.
    """

    def __init__(self, allowed: Sequence[Network], setting: str) -> None:
        self._allowed = allowed
        self._setting = setting
        self._backend = httpcore.AnyIOBackend()
        # Threads of its own: a name server that never answers takes no other look-up's.
        self._lookups = anyio.CapacityLimiter(LOOKUPS_AT_ONCE)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address of the host that takes one; all must be allowed."""
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            infos = await anyio.to_thread.run_sync(
                look_up, abandon_on_cancel=True, limiter=self._lookups
            )
        except OSError as exc:
            raise httpcore.ConnectError(str(exc)) from exc
        failure: Exception = httpcore.ConnectError("the host has no address")
        for address in checked(infos, self._allowed, self._setting):
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failure = exc
        raise failure


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over connections that a Guard makes; none is kept."""

    def __init__(self, guard: Guard, tls: ssl.SSLContext | None = None) -> None:
        # httpx has no parameter for it; a test notices another name.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=None,
            max_keepalive_connections=0,
            network_backend=guard,
        )
