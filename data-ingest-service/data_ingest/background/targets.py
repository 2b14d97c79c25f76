"""Which targets are scraped, from the settings: pure.

DIS_SCRAPE_TARGETS = job=url,job=url   these and no others
empty                                  /metrics of every service whose URL is set, and
                                       nginx's /stub_status of the dashboard
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


class BadTargets(ValueError):
    """DIS_SCRAPE_TARGETS does not say what to scrape; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """One page that is scraped."""

    job: str
    url: str

    @property
    def instance(self) -> str:
        """Host and port, as Prometheus names it."""
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def is_stub_status(self) -> bool:
        """Whether the page is nginx's stub_status, which is no exposition."""
        return urlsplit(self.url).path.rstrip("/").endswith("stub_status")

    def offset_ms(self, interval_ms: int) -> int:
        """Where in the interval it is scraped: fixed for a target, different targets are spread."""
        return zlib.crc32(f"{self.job} {self.url}".encode()) % interval_ms


def parse(text: str) -> list[Target]:
    """The targets of `job=url,job=url`; BadTargets when one is neither."""
    targets = []
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        job, equals, url = item.partition("=")
        job, url = job.strip(), url.strip()
        parts = urlsplit(url)
        if not equals or not job or parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadTargets(f"DIS_SCRAPE_TARGETS: not job=http://host:port/path: {item!r}")
        targets.append(Target(job, url))
    return targets


def of_services(urls: Mapping[str, str | None]) -> list[Target]:
    """`/metrics` of each service that has a URL; the dashboard is nginx and has `/stub_status`."""
    pages = {"frontend-dashboard": "/stub_status"}
    return [
        Target(job, url.rstrip("/") + pages.get(job, "/metrics"))
        for job, url in urls.items()
        if url
    ]


def next_round_ms(now_ms: int, interval_ms: int, offset_ms: int) -> int:
    """The first instant after `now_ms` that is `offset_ms` after a multiple of `interval_ms`."""
    return now_ms + interval_ms - (now_ms - offset_ms) % interval_ms
