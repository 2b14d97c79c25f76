"""A request as it reached the stand-in, what the stand-in remembers, and how it refuses."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

METRICS = (
    "cloudopshub_http_requests_total",
    "cloudopshub_ingest_samples_total",
    "node_cpu_seconds_total",
    "node_load1",
    "node_memory_MemAvailable_bytes",
    "node_network_receive_bytes_total",
    "process_resident_memory_bytes",
    "up",
)
Answer = tuple[int, Any, dict[str, str]]  # status, body, headers


@dataclass
class Request:
    """One request as it reached a service."""

    service: str
    method: str
    target: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class State:
    """What the stand-in remembers; tests set the switches."""

    signed_in: bool = True
    second_factor: bool = False
    must_enrol: bool = False
    metrics: list[str] = field(default_factory=lambda: list(METRICS))
    down: set[str] = field(default_factory=set)
    query_delay_s: dict[str, float] = field(default_factory=dict)
    refuse_tokens: int = 0
    revoked_token: int = 0  # the number of the token that is refused however often it comes
    token_life_s: int = 300
    keys: list[dict[str, Any]] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    job_seconds: float = 2.0
    streams: bool = True  # whether a job tells its progress as events
    events: list[dict[str, Any]] = field(default_factory=list)
    watches: dict[str, dict[str, Any]] = field(default_factory=dict)
    silences: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    tokens_made: int = 0
    first_part: threading.Event = field(default_factory=threading.Event)  # of a chunked body
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, service: str, path: str) -> list[Request]:
        """The requests that reached `service` at `path` so far."""
        with self.lock:
            return [
                request
                for request in self.requests
                if request.service == service and request.path == path
            ]


class Refused(Exception):
    """Ends a request with this status and error."""

    def __init__(self, status: int, kind: str, error: str) -> None:
        super().__init__(error)
        self.status, self.kind, self.error = status, kind, error


def iso(at_s: float) -> str:
    """RFC 3339 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


def check_bearer(state: State, request: Request, audience: str) -> None:
    """Passes for a token of this audience that is not revoked."""
    if state.refuse_tokens > 0:
        state.refuse_tokens -= 1
        raise Refused(401, "unauthenticated", "the token is revoked")
    authorization = request.headers.get("authorization", "")
    if not authorization.startswith(f"Bearer {audience}."):
        raise Refused(401, "unauthenticated", "no token for this audience")
    if authorization == f"Bearer {audience}.{state.revoked_token}":
        raise Refused(401, "unauthenticated", "the token is revoked")
