"""One bounded GET, redirects followed: of a target's page, or of a list of targets."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
import httpx

from data_ingest.errors import BodyTooLarge
from data_ingest.scrape.access import Access, Clients
from data_ingest.scrape.targets import checked_url

REDIRECTS_MAX: Final = 10
"""As in Go's http client, which Prometheus uses."""
USER_AGENT: Final = "cloudopshub-scrape"
_GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(eq=False)
class Failure(Exception):
    """Why a scrape, or a list of targets, brought nothing.

    outcome: a bounded word for metrics. cause: the same for as long as the same thing is wrong.
    reason: the whole text; its numbers may differ each time. status: what was answered if not 200.
    """

    outcome: str
    cause: str
    reason: str
    status: int = 0


async def fetch(
    clients: Clients,
    url: str,
    access: Access,
    headers: Mapping[str, str],
    *,
    is_guarded: bool,
    timeout_s: float,
    bytes_max: int,
) -> tuple[bytes, str]:
    """Body and content type of the answer. Raises Failure and BodyTooLarge.

    The limit holds for what is sent and for what that inflates to; no more than that is inflated.
    httpx makes the request after a redirect: without the credential when it goes to another origin.
    """
    try:
        http = clients.of(access.tls_config, is_guarded=is_guarded)
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip", **headers}
        if (credential := access.credential()) is not None:
            if not credential.isascii() or not credential.isprintable():
                # The client's complaint would quote it.
                why = "its credential has characters that no header may have"
                raise _failed("settings", why)
            sent["Authorization"] = credential
    except OSError as exc:
        why = f"{exc.filename or access.tls_config.ca_file} cannot be read: {exc.strerror}"
        raise _failed("settings", why) from None
    name = access.tls_config.server_name
    named: dict[str, Any] = {"sni_hostname": name} if name else {}
    request = http.build_request("GET", url, headers=sent, timeout=timeout_s, extensions=named)
    try:
        for _ in range(REDIRECTS_MAX + 1):
            answer = await http.send(request, stream=True, follow_redirects=False)
            try:
                if answer.next_request is None or not access.follow_redirects:
                    return await _read(answer, bytes_max)
                request = _checked(answer.next_request)
            finally:
                await answer.aclose()
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
        kind = type(exc).__name__
        raise Failure("unreachable", kind, f"{kind}: {exc}" if str(exc) else kind) from exc
    raise _failed("redirect", f"more than {REDIRECTS_MAX} redirects")


def _failed(outcome: str, why: str, status: int = 0) -> Failure:
    return Failure(outcome, why, why, status)


def _checked(request: httpx.Request) -> httpx.Request:
    """The request, whose URL can be asked: the client fails in other ways for some that cannot."""
    try:
        checked_url(str(request.url))
    except ValueError as exc:
        raise _failed("redirect", f"its redirect leads nowhere: {exc}") from None
    return request


async def _read(answer: httpx.Response, bytes_max: int) -> tuple[bytes, str]:
    if answer.status_code != httpx.codes.OK:
        raise _failed("status", f"it answered {answer.status_code}", answer.status_code)
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip"}:
        raise _failed("unreadable", f"its content encoding is not gzip: {encoding[:40]!r}")
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
        raise _failed("unreadable", f"its body is not gzip: {exc}") from None
    if len(inflated) > bytes_max:
        raise BodyTooLarge(limit=bytes_max)
    if not inflate.eof:
        raise _failed("unreadable", "its gzip body was cut")
    if inflate.unused_data:
        raise _failed("unreadable", "its gzip body goes on after its end")
    return inflated
