"""What a target is, and the short form that names targets in a setting: pure.

    DIS_SCRAPE_TARGETS = job=url,job=url

A credential in a URL is taken out of it at once: it is sent, and never shown.
"""

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit
from uuid import UUID

import httpx
from pydantic import SecretStr

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.scrape.access import Access, BasicAuth
from data_ingest.scrape.reading import Reading
from data_ingest.scrape.words import duration_text

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
HIDDEN: Final = "<hidden>"
_SECRET_NAME: Final = re.compile(
    r"token|secret|passw|pwd|(api|access).?key|signature|credential|(^|_)(key|sig|pass|auth)$",
    re.IGNORECASE,
)
_JOB: Final = re.compile(r"[^\s:/@,=]+")
_NO_HOST: Final = re.compile(r"[\s%<>\"{}|\\^`]")

Labels = tuple[tuple[str, str], ...]


class BadTargets(ServiceError):
    """The scrape targets cannot be used"""

    kind = Kind.BAD_DATA


@dataclass(frozen=True, slots=True)
class Target:
    """One page that is scraped, for one organisation.

    pool: the job's name. url: without credentials. labels: what each of its series gets.
    discovered: what these were made from. tenant: None is the home organisation.
    """

    pool: str
    url: str
    labels: Labels
    discovered: Labels
    reading: Reading
    access: Access = field(default_factory=Access)
    tenant: UUID | None = None

    @property
    def is_guarded(self) -> bool:
        """Whether its server may only be where a tenant may go."""
        return self.tenant is not None

    @property
    def shown_url(self) -> str:
        """The URL as logs and answers may have it."""
        return shown_url(self.url)

    @property
    def key(self) -> str:
        """What tells it from the other targets of its organisation."""
        return key_of("active", self.pool, self.url, *map(str, self.labels))

    @property
    def owner(self) -> tuple[UUID | None, Labels]:
        """Whose series it writes: targets with one owner write the same series."""
        return self.tenant, self.labels

    @property
    def is_stub_status(self) -> bool:
        """Whether the page is nginx's stub_status, which is no exposition."""
        return urlsplit(self.url).path.rstrip("/").endswith("stub_status")

    @property
    def offset_ms(self) -> int:
        """Where in the interval it is scraped: fixed for a target, different targets are spread."""
        return zlib.crc32(f"{self.pool} {self.url}".encode()) % self.reading.interval_ms


def key_of(*texts: str) -> str:
    """A short text that stands for these."""
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()


def of_url(job: str, url: str, reading: Reading) -> Target:
    """The target at this URL; ValueError, which repeats nothing of the URL, when it is no URL."""
    f"{job}{url}".encode()  # UnicodeError: bytes of the environment that are no text
    url, access = checked_url(url)
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    instance = f"{host}:{parts.port or DEFAULT_PORTS[parts.scheme]}"
    discovered = {
        "__address__": instance,
        "__metrics_path__": parts.path or "/",
        "__scheme__": parts.scheme,
        "__scrape_interval__": duration_text(reading.scrape_interval),
        "__scrape_timeout__": duration_text(reading.scrape_timeout),
        **{f"__param_{name}": value for name, value in reversed(parse_qsl(parts.query))},
        "job": job,
    }
    labels = (("instance", instance), ("job", job))
    return Target(job, url, labels, tuple(sorted(discovered.items())), reading, access)


def parse(setting: str, text: str, reading: Reading) -> list[Target]:
    """The targets of `job=url,job=url`; BadTargets names the entry of `setting` that is wrong.

    The entry is named by its number and job: what else stands there may be part of a password.
    """
    targets: list[Target] = []
    for number, item in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        job, equals, url = (piece.strip() for piece in item.partition("="))
        entry = f"{setting}, entry {number}" + (f", {job}" if _JOB.fullmatch(job) else "")
        if not equals or not job:
            raise BadTargets(detail=f"{entry}: it is not job=http://host:port/path")
        try:
            target = of_url(job, url, reading)
        except ValueError as exc:
            raise BadTargets(detail=f"{entry}: {exc}") from None
        if any((other.pool, other.url) == (target.pool, target.url) for other in targets):
            raise BadTargets(detail=f"{entry}: {target.shown_url} stands there twice")
        targets.append(target)
    return targets


def checked_url(text: str) -> tuple[str, Access]:
    """The URL in one form, and with the user and password that stood in it how it is asked.

    ValueError, which repeats nothing of it, when it is none that can be asked.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("the port is not one of 1 to 65535, or the host is none") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("it does not begin with http:// or https://")
    if port == 0:
        raise ValueError("the port is not one of 1 to 65535")
    if not parts.hostname or _NO_HOST.search(parts.hostname):
        raise ValueError("it names no host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown_port = "" if port in {None, DEFAULT_PORTS[parts.scheme]} else f":{port}"
    url = urlunsplit((parts.scheme, host + shown_port, parts.path or "/", parts.query, ""))
    try:
        httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError("it is not a URL") from None
    if parts.username is None and parts.password is None:
        return url, Access()
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return url, Access(basic_auth=BasicAuth(username=user, password=SecretStr(password)))


def shown_url(url: str) -> str:
    """The URL without user and password, and with the values of secret parameters hidden."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    shown = shown_labels(pairs)
    query = parts.query if shown == pairs else urlencode(shown, safe="<>")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query))


def shown_labels(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs, with the values of those hidden whose name says that they are secret."""
    return [(name, HIDDEN if _SECRET_NAME.search(name) else value) for name, value in pairs]


def next_round_ms(now_ms: int, interval_ms: int, offset_ms: int) -> int:
    """The first instant after `now_ms` that is `offset_ms` after a multiple of `interval_ms`."""
    return now_ms + interval_ms - (now_ms - offset_ms) % interval_ms
