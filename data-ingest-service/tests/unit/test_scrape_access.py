"""Laws of reaching a target: where a tenant's job may connect, and what is shown there."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr, ValidationError

from data_ingest.chassis import guard
from data_ingest.chassis.guard import parse_networks
from data_ingest.scrape.access import Access, Authorization, BasicAuth, Clients, TlsConfig
from data_ingest.scrape.page import ScrapeResult, scrape_target
from tests.scrapes import READING, settings_of, target

OWN = parse_networks("203.0.113.0/24,93.184.216.0/24")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::127.0.0.1"),
        *("169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "168.63.129.16"),
        *("100.100.100.200", "10.0.0.1", "192.168.1.1", "172.17.0.1", "fc00::1"),
        *("224.0.0.1", "255.255.255.255", "ff02::1", "240.0.0.1"),
        *("192.0.0.8", "192.0.0.255", "64:ff9b::a00:1", "64:ff9b::101:101", "64:ff9b:1::101:101"),
        *("fec0::1", "::ffff:0:101:101", "5f00::1", "2001::1", "2001:1ff::1", "2001:db8::1"),
        *("3fff::1", "1fff::1", "4000::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "93.184.216.34"),
    ],
)
def test_where_a_tenant_never_goes(address: str) -> None:
    """Loopback, link-local, metadata, private, protocols' and multicast addresses, IPv6 ones that
    stand for these, and the networks of this machine are refused; a list may allow each of them.
    """
    assert guard.refusal(address, (), OWN)
    everything = parse_networks("0.0.0.0/0,::/0")
    assert not guard.refusal(address, everything, OWN)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "2606:4700::1111", "2001:200::1", "2002:101:101::1"]
)
def test_where_a_tenant_may_go(address: str) -> None:
    """A public address is reached; one that is allowed lets no other in."""
    assert not guard.refusal(address, (), OWN)
    assert guard.refusal("10.0.0.1", parse_networks("10.0.1.0/24, fd00::/8"), OWN)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "here", "10.0.0.0/33"])
def test_a_wrong_network_is_named(text: str) -> None:
    """What is no network stops the start."""
    with pytest.raises(ValidationError, match=text):
        settings_of(scrape_allow=f"10.0.0.0/8,{text}")


class Server:
    """Counts connections; answers `/to?LOCATION` with a redirect and all else with a page."""

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        path = head.split()[1]
        if path.startswith("/to?"):
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {path[4:]}\r\n".encode())
            writer.write(b"Set-Cookie: a=b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\na 1\n")
        await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(
    address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Server, int]]:
    made = Server()
    async with await asyncio.start_server(made.answer, address, 0, ssl=tls) as server:
        yield made, server.sockets[0].getsockname()[1]


async def _scrape(
    url: str, allowed: str | None = None, tls: TlsConfig | None = None
) -> ScrapeResult:
    """One scrape: of a tenant's job if it is said which networks are allowed to it."""
    clients = Clients(None, parse_networks(allowed or ""))
    tenant = None if allowed is None else UUID(int=7)
    one = replace(target(url), access=Access(tls_config=tls or TlsConfig()), tenant=tenant)
    try:
        return await scrape_target(clients, one)
    finally:
        await clients.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]", "0"])
async def test_a_tenants_job_does_not_reach_the_hub(host: str) -> None:
    """However the hub's own address is written or named, nothing connects to it for a tenant; the
    operator's own targets are trusted.
    """
    async with serving() as (server, port):
        result = await _scrape(f"http://{host}:{port}/metrics", "")
        assert result.failure is not None
        assert "DIS_SCRAPE_ALLOW" in result.failure.reason
        assert server.connections == 0
        assert (await _scrape(f"http://127.0.0.1:{port}/metrics")).failure is None


async def test_a_redirect_is_guarded_too() -> None:
    """From an address that is allowed, a redirect leads to no other that is not."""
    async with serving() as (outside, port), serving("127.0.0.2") as (inside, inner_port):
        allowed = "127.0.0.1/32"
        good = f"http://127.0.0.1:{port}/to?/metrics"
        assert (await _scrape(good, allowed)).failure is None
        bad = f"http://127.0.0.1:{port}/to?http://127.0.0.2:{inner_port}/metrics"
        result = await _scrape(bad, allowed)
        assert result.failure is not None
        assert "127.0.0.2 is not a public address" in result.failure.reason
        assert inside.connections == 0
        assert not any("cookie:" in head.lower() for head in outside.heads)


@pytest.mark.parametrize("tenant", [None, UUID(int=7)], ids=["trusted", "guarded"])
async def test_no_target_waits_for_another(tenant: UUID | None) -> None:
    """However many targets are slow, the next one is asked at once: here all answer only when all
    have been asked.
    """
    n = 120
    everyone = asyncio.Barrier(n)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await everyone.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1\n")
        await writer.drain()
        writer.close()

    clients = Clients(None, parse_networks("127.0.0.0/8"))
    async with await asyncio.start_server(answer, "127.0.0.1", 0, backlog=n) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        patient = READING.model_copy(update={"scrape_timeout": 60.0})
        one = replace(target(url, patient), tenant=tenant)
        results = await asyncio.gather(*(scrape_target(clients, one) for _ in range(n)))
    await clients.close()
    assert [result.failure for result in results] == [None] * n


async def test_a_server_that_is_away() -> None:
    """A guarded job whose server does not answer fails as any other does."""
    async with serving() as (_, port):
        pass
    result = await _scrape(f"http://127.0.0.1:{port}/", "127.0.0.0/8")
    assert result.failure is not None
    assert result.failure.outcome == "unreachable"


def _certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A file of authorities that trusts this server alone, and the server's side."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca_file, key_file = folder / "ca.pem", folder / "key.pem"
    ca_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca_file, key_file)
    return ca_file, context


@pytest.mark.parametrize("allowed", [None, "127.0.0.0/8"], ids=["trusted", "guarded"])
async def test_whom_a_server_must_prove_to_be(tmp_path: Path, allowed: str | None) -> None:
    """A server is trusted by the authorities of the job under the name that the job gives, or under
    any when the job says so; not otherwise. A guarded job is no exception.
    """
    ca_file, context = _certificate(tmp_path, "exporter.example")
    named = TlsConfig(ca_file=ca_file, server_name="exporter.example")
    async with serving(tls=context) as (_, port):
        url = f"https://127.0.0.1:{port}/"
        assert (await _scrape(url, allowed, named)).failure is None
        assert (await _scrape(url, allowed, TlsConfig(insecure_skip_verify=True))).failure is None
        for other in (
            TlsConfig(),
            TlsConfig(ca_file=ca_file),
            TlsConfig(server_name="exporter.example"),
            TlsConfig(ca_file=ca_file, server_name="other.example"),
        ):
            result = await _scrape(url, allowed, other)
            assert result.failure is not None
            assert "CERTIFICATE_VERIFY_FAILED" in result.failure.reason


async def test_a_credential_of_a_file_is_read_each_time(tmp_path: Path) -> None:
    """A secret that changes in its file is sent from the next scrape on; when it cannot be read, or
    cannot be sent, the scrape fails and says so without it.
    """
    file = tmp_path / "token"
    sent: list[str | None] = []

    def page(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("Authorization"))
        return httpx.Response(200, text="a 1\n")

    async def scrape(way: Access) -> str:
        async with httpx.AsyncClient(transport=httpx.MockTransport(page)) as http:
            result = await scrape_target(Clients(http), replace(target(), access=way))
        return result.failure.reason if result.failure else ""

    token = Access(authorization=Authorization(credentials_file=file))
    assert await scrape(token) == f"{file} cannot be read: No such file or directory"
    for secret in ("one\n", "other"):
        file.write_text(secret)
        assert await scrape(token) == ""
    basic = BasicAuth(username="user", password=SecretStr("pass"))
    assert await scrape(Access(basic_auth=basic)) == ""
    assert sent == ["Bearer one", "Bearer other", "Basic dXNlcjpwYXNz"]
    file.write_text("s3\ncret")
    assert await scrape(token) == "its credential has characters that no header may have"


async def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    """A file of authorities that is gone fails the scrape and is named."""
    result = await _scrape("https://127.0.0.1:1/", tls=TlsConfig(ca_file=tmp_path / "ca.pem"))
    assert result.failure is not None
    assert "No such file" in result.failure.reason
