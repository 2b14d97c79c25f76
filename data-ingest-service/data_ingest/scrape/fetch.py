"""One bounded GET, redirects followed: of a target's page, or of a list of targets."""

import zlib
from collections.abc import Mapping
from typing import Any, Final

import anyio
import httpx

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.errors import BodyTooLarge
from data_ingest.scrape.access import Access, Clients
from data_ingest.scrape.targets import checked_url

REDIRECTS_MAX: Final = 10
"""As in Go's http client, which Prometheus uses."""
USER_AGENT: Final = "cloudopshub-scrape"
_GZIP: Final = 16 + zlib.MAX_WBITS


class FetchFailed(ServiceError):
    """There is no answer, or it is none that can be used

    outcome: a bounded word for metrics. cause: the same for as long as the same thing is wrong.
    status: what was answered instead of 200.
    """

    kind = Kind.UNAVAILABLE

    def __init__(
        self, reason: str, outcome: str = "unreachable", *, cause: str = "", status: int = 0
    ) -> None:
        super().__init__(detail=reason)
        self.reason = reason
        self.outcome = outcome
        self.cause = cause or reason
        self.status = status


async def fetch(
    clients: Clients,
    url: str,
    access: Access,
    headers: Mapping[str, str],
    *,
    timeout_s: float,
    bytes_max: int,
) -> tuple[bytes, str]:
    """Body and content type of the answer. Raises FetchFailed and BodyTooLarge.

    The limit holds for what is sent and for what that inflates to; no more than that is inflated.
    httpx makes the request after a redirect: without the credential when it goes to another origin.
    """
    try:
        http = clients.of(access)
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip", **headers}
        if access.credential is not None:
            sent["Authorization"] = _sendable(access.credential.header())
    except OSError as exc:
        file = exc.filename or access.ca_file
        raise FetchFailed(f"{file} cannot be read: {exc.strerror}", "settings") from None
    named: dict[str, Any] = {"sni_hostname": access.server_name} if access.server_name else {}
    request = http.build_request("GET", url, headers=sent, timeout=timeout_s, extensions=named)
    try:
        for _ in range(REDIRECTS_MAX + 1):
            answer = await http.send(request, stream=True, follow_redirects=False)
            try:
                if answer.next_request is None or not access.follows_redirects:
                    return await _read(answer, bytes_max)
                request = _checked(answer.next_request)
            finally:
                await answer.aclose()
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
        kind = type(exc).__name__
        raise FetchFailed(f"{kind}: {exc}" if str(exc) else kind, cause=kind) from exc
    raise FetchFailed(f"more than {REDIRECTS_MAX} redirects", "redirect")


def _sendable(header: str) -> str:
    """The header; the client's complaint about one that cannot be sent would quote it."""
    if not header.isascii() or not header.isprintable():
        raise FetchFailed("its credential has characters that no header may have", "settings")
    return header


def _checked(request: httpx.Request) -> httpx.Request:
    """The request, whose URL can be asked: the client fails in other ways for some that cannot."""
    try:
        checked_url(str(request.url))
    except ValueError as exc:
        raise FetchFailed(f"its redirect leads nowhere: {exc}", "redirect") from None
    return request


async def _read(answer: httpx.Response, bytes_max: int) -> tuple[bytes, str]:
    if answer.status_code != httpx.codes.OK:
        status = answer.status_code
        raise FetchFailed(f"it answered {status}", "status", status=status)
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip"}:
        raise FetchFailed(f"its content encoding is not gzip: {encoding[:40]!r}", "unreadable")
    assert isinstance(answer.stream, httpx.AsyncByteStream)
    pieces: list[bytes] = []
    body_bytes = 0
    # As it was sent: httpx would inflate every layer of a piece before its size can be looked at.
    async for piece in answer.stream:
        body_bytes += len(piece)
        if body_bytes > bytes_max:
            raise BodyTooLarge(limit=bytes_max)
        pieces.append(piece)
    body = b"".join(pieces)
    if encoding == "gzip":
        body = await anyio.to_thread.run_sync(_inflated, body, bytes_max)
    return body, answer.headers.get("Content-Type", "")


def _inflated(body: bytes, bytes_max: int) -> bytes:
    """What the one gzip member in `body` holds; memory for at most `bytes_max` and one. Blocks."""
    inflate = zlib.decompressobj(_GZIP)
    try:
        inflated = inflate.decompress(body, bytes_max + 1)
    except zlib.error as exc:
        raise FetchFailed(f"its body is not gzip: {exc}", "unreadable") from None
    if len(inflated) > bytes_max:
        raise BodyTooLarge(limit=bytes_max)
    if not inflate.eof:
        raise FetchFailed("its gzip body was cut", "unreadable")
    if inflate.unused_data:
        raise FetchFailed("its gzip body goes on after its end", "unreadable")
    return inflated
