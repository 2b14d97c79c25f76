"""Laws of one scrape: what is asked, what is followed, and what a target may do wrong."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from data_ingest.protocols.prometheus_text import BadExposition
from data_ingest.scrape import nginx_status, page
from data_ingest.scrape.access import Clients
from data_ingest.scrape.page import ScrapeResult, scrape_target
from data_ingest.scrape.reading import Reading
from tests.scrapes import READING, target

STATUS_PAGE = (
    b"Active connections: 3 \nserver accepts handled requests\n 10 11 31 \n"
    b"Reading: 0 Writing: 1 Waiting: 2 \n"
)


def test_stub_status() -> None:
    """Nginx's page becomes the metrics of nginx-prometheus-exporter."""
    values = {family.name: family.samples[0][1] for family in nginx_status.families(STATUS_PAGE)}
    assert values == {
        "nginx_up": 1.0,
        "nginx_connections_active": 3,
        "nginx_connections_accepted": 10,
        "nginx_connections_handled": 11,
        "nginx_http_requests_total": 31,
        "nginx_connections_reading": 0,
        "nginx_connections_writing": 1,
        "nginx_connections_waiting": 2,
    }
    with pytest.raises(BadExposition):
        nginx_status.families(b"<html>404</html>")


async def _scrape(
    handler: Any, url: str = "http://h:1/metrics", reading: Reading = READING
) -> ScrapeResult:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http:
        return await scrape_target(Clients(http), target(url, reading))


def _names(result: ScrapeResult) -> list[bytes]:
    assert result.samples is not None
    return [result.samples.labels(i)[0][1] for i in range(len(result.samples))]


async def test_an_nginx_without_the_module_is_up() -> None:
    """An nginx built without stub_status answers 404 there: it is up, without numbers."""
    result = await _scrape(
        lambda _: httpx.Response(404, text="no such page"), "http://h:1/stub_status"
    )
    assert result.failure is None
    assert _names(result) == [b"nginx_up"]


async def test_nginx_that_is_down() -> None:
    """A status page that does not answer leaves `nginx_up` 0."""
    result = await _scrape(lambda _: httpx.Response(502), "http://h:8080/stub_status")
    assert result.failure is not None
    assert result.samples is not None
    assert result.samples.values.tolist() == [0.0]


async def test_scraping_a_page() -> None:
    """A page is asked for in both formats and read by its content type."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert "application/openmetrics-text" in request.headers["Accept"]
        assert request.headers["X-Prometheus-Scrape-Timeout-Seconds"] == "4"
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return httpx.Response(
            200, text="a_total 1 1.5\n# EOF\n", headers={"Content-Type": content_type}
        )

    result = await _scrape(answer)
    assert result.samples is not None
    assert result.samples.timestamps_ms.tolist() == [1500]
    assert result.duration_s > 0


async def test_times_of_the_page_that_are_not_honoured() -> None:
    """Without `honor_timestamps` all samples are of the moment of the scrape."""
    result = await _scrape(
        lambda _: httpx.Response(200, text="a 1 5\n"),
        reading=READING.model_copy(update={"honor_timestamps": False}),
    )
    assert result.samples is not None
    assert not result.samples.has_timestamp.any()


class Site:
    """Redirects from one page to the next: pages are URLs, in the order in which they are asked."""

    def __init__(self, *pages: str, status: int = 307) -> None:
        self.pages = pages
        self.status = status
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if len(self.asked) == len(self.pages):
            return httpx.Response(200, text="queue_depth 3\n")
        return httpx.Response(self.status, headers={"Location": self.pages[len(self.asked)]})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(status: int) -> None:
    """Each kind of redirect leads to the page, relative ones and those to another host too."""
    site = Site("http://h:1/metrics", "/metrics/", "http://other:2/", "?x=1", status=status)
    result = await _scrape(site)
    assert _names(result) == [b"queue_depth"]
    assert [str(request.url) for request in site.asked] == [
        *("http://h:1/metrics", "http://h:1/metrics/", "http://other:2/", "http://other:2/?x=1")
    ]
    assert {request.method for request in site.asked} == {"GET"}


async def test_a_credential_stays_at_its_host() -> None:
    """A password goes along to the same host, and not to another host, port or scheme."""
    site = Site(*["https://u:p@h/", "/x", "http://h/", "/y"])
    await _scrape(site, site.pages[0])
    sent = [request.headers.get("Authorization") for request in site.asked]
    assert sent == ["Basic dTpw", "Basic dTpw", None, None]
    site = Site("http://u:p@h/", "http://h:2/", "http://h/")
    await _scrape(site, site.pages[0])
    assert [bool(request.headers.get("Authorization")) for request in site.asked] == [1, 0, 0]


@pytest.mark.parametrize(("redirects", "is_up"), [(10, True), (11, False)])
async def test_redirects_are_bounded(redirects: int, is_up: bool) -> None:
    """Ten redirects are followed, as in Prometheus, and no more."""
    site = Site(*["http://h:1/metrics"] * (redirects + 1))
    result = await _scrape(site)
    assert (result.failure is None) == is_up
    assert len(site.asked) == 11


async def _never(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


def _unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("handler", "outcome", "reason"),
    [
        (lambda _: httpx.Response(500), "status", "it answered 500"),
        (lambda _: httpx.Response(200, text="not { an exposition"), "unreadable", "expected ="),
        (lambda _: httpx.Response(200, content=b"a 1\n" * 100), "too_large", "limit=100"),
        (lambda _: httpx.Response(302), "status", "it answered 302"),
        (
            lambda _: httpx.Response(302, headers={"Location": "ftp://h/"}),
            "redirect",
            "http://",
        ),
        (
            lambda _: httpx.Response(302, headers={"Location": "http://h:99999/"}),
            "redirect",
            "1 to 65535",
        ),
        (_unreachable, "unreachable", "ConnectError: refused"),
        (_never, "timeout", "0.05 s"),
    ],
    ids=["status", "unreadable", "too_large", "nowhere", "ftp", "no_url", "unreachable", "timeout"],
)
async def test_a_scrape_that_fails(handler: Any, outcome: str, reason: str) -> None:
    """Whatever a target does wrong, the scrape is a failure with a reason."""
    timeout_s = 0.05 if handler is _never else 4.0
    bounds = READING.model_copy(update={"scrape_timeout": timeout_s, "body_size_limit": 100})
    result = await _scrape(handler, reading=bounds)
    assert result.samples is None
    assert result.failure is not None
    assert result.failure.outcome == outcome
    assert reason in result.failure.reason


class Sent(httpx.AsyncByteStream):
    """A body as it is sent, in pieces of 1000 bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 1000):
            yield self._body[start : start + 1000]


async def _scrape_encoded(body: bytes, encoding: str) -> ScrapeResult:
    headers = {"Content-Encoding": encoding}
    return await _scrape(lambda _: httpx.Response(200, headers=headers, stream=Sent(body)))


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "GZIP"])
async def test_a_page_that_is_inflated(encoding: str) -> None:
    """A page is read as it is or out of gzip, however it is cut into pieces."""
    text = "".join(f'a{{n="{zlib.crc32(str(i).encode())}"}} 1\n' for i in range(5000)).encode()
    is_gzip = encoding.lower() == "gzip"
    result = await _scrape_encoded(gzip.compress(text) if is_gzip else text, encoding)
    assert result.failure is None
    assert result.samples is not None
    assert len(result.samples) == 5000


GZIPPED = gzip.compress(b"a 1\n")


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(GZIPPED), "gzip, gzip", "content encoding"),
        (zlib.compress(b"a 1\n"), "deflate", "content encoding"),
        (GZIPPED[:-1], "gzip", "was cut"),
        (b"", "gzip", "was cut"),
        (GZIPPED + GZIPPED, "gzip", "after its end"),
        (b"a 1\n", "gzip", "not gzip"),
    ],
    ids=["layers", "deflate", "cut", "empty", "members", "plain"],
)
async def test_what_is_not_inflated(body: bytes, encoding: str, reason: str) -> None:
    """A body that is not one whole gzip member is a failed scrape that says why."""
    result = await _scrape_encoded(body, encoding)
    assert result.samples is None
    assert result.failure is not None
    assert result.failure.outcome == "unreadable"
    assert reason in result.failure.reason


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
async def test_no_more_is_inflated_than_a_page_may_have(encoding: str) -> None:
    """However small a body is sent, memory is taken for no more than the limit."""
    body = gzip.compress(bytes(50_000_000))
    sent = gzip.compress(body) if "," in encoding else body
    tracemalloc.start()
    try:
        result = await _scrape_encoded(sent, encoding)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.failure is not None
    assert peak_bytes < 10 * READING.body_size_limit


async def test_a_mistake_of_ours_is_a_failed_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised while a page is read, the scrape is a failure that names it."""

    def broken(*_: Any) -> None:
        raise ArithmeticError("odd")

    monkeypatch.setattr(page, "from_exposition", broken)
    result = await _scrape(lambda _: httpx.Response(200, text="a 1\n"))
    assert result.samples is None
    assert result.failure is not None
    assert (result.failure.outcome, result.failure.cause) == ("defect", "ArithmeticError")
    assert result.failure.reason == "ArithmeticError: odd"
