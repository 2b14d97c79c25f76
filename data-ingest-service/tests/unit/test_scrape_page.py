"""Laws of one scrape: what is asked, what is followed, and what a target may do wrong."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from data_ingest.protocols.prometheus_text import BadExposition
from data_ingest.scrape import nginx_status
from data_ingest.scrape.access import Clients
from data_ingest.scrape.page import ScrapeResult, scrape_target
from data_ingest.scrape.targets import Reading
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

    def page(request: httpx.Request) -> httpx.Response:
        assert "application/openmetrics-text" in request.headers["Accept"]
        assert request.headers["X-Prometheus-Scrape-Timeout-Seconds"] == "4"
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return httpx.Response(
            200, text="a_total 1 1.5\n# EOF\n", headers={"Content-Type": content_type}
        )

    result = await _scrape(page)
    assert result.samples is not None
    assert result.samples.timestamps_ms.tolist() == [1500]
    assert result.duration_s > 0


async def test_times_of_the_page_that_are_not_honoured() -> None:
    """Without `honor_timestamps` all samples are of the moment of the scrape."""
    result = await _scrape(
        lambda _: httpx.Response(200, text="a 1 5\n"),
        reading=replace(READING, honor_timestamps=False),
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
    bounds = replace(READING, timeout_s=0.05 if handler is _never else 4.0, body_bytes_max=100)
    result = await _scrape(handler, reading=bounds)
    assert result.samples is None
    assert result.failure is not None
    assert result.failure.outcome == outcome
    assert reason in result.failure.reason
