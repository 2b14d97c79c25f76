"""A small honest stand-in for the four services: contract-shaped answers over real HTTP, and a
record of what was asked.

Series are waves made from their labels, so that the same query at the same time gives the same
answer. It is the edge of these tests:
the real services meet the page in the end-to-end test of `ci`.
"""

from __future__ import annotations

import functools
import json
import math
import threading
import time
import uuid
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIXES = {
    "das": "data_api",
    "dis": "data_ingest",
    "aps": "analysis_processing",
    "ubs": "user_billing",
}
JOBS = (
    "data-api-service",
    "data-ingest-service",
    "analysis-processing-service",
    "user-billing-service",
    "frontend-dashboard",
    "node",
)
SERVICES = ("das", "dis", "aps", "ubs")
GIB = 2**30
Labels = dict[str, str]


@functools.cache
def seed_of(labels: tuple[tuple[str, str], ...]) -> int:
    """A number that belongs to these labels."""
    return zlib.crc32(repr(labels).encode())


@dataclass(frozen=True)
class Wave:
    """One family: its series, around which value and how far they swing."""

    series: tuple[Labels, ...]
    level: float
    swing: float
    spread: float = 0.5

    def value(self, labels: Labels, at_s: float) -> float:
        """Level, two slow waves and a little noise, all of them functions of labels and time."""
        seed = seed_of(tuple(sorted(labels.items())))
        phase = seed % 628 / 100
        own = 1 + self.spread * ((seed >> 8) % 200 / 100 - 1)
        noise = (zlib.crc32(f"{seed}{int(at_s)}".encode()) % 1000 / 1000 - 0.5) * 0.3
        wave = 0.6 * math.sin(at_s / 190 + phase) + 0.3 * math.sin(at_s / 47 + 2 * phase) + noise
        return max(self.level * own + self.swing * own * wave, 0.0)


def by(label: str, *values: str, **rest: str) -> tuple[Labels, ...]:
    """One set of labels for each value."""
    return tuple({label: value, **rest} for value in values)


# First match wins: a piece of the query → its answer.
WAVES: tuple[tuple[str, Wave], ...] = (
    (
        "cloudopshub_process_resident_memory_bytes",
        Wave(by("service", *JOBS[:5], "postgres"), 120e6, 2e6, 0.4),
    ),
    ("min by (job) (min_over_time(up", Wave(by("job", *JOBS), 1, 0, 0)),
    ("histogram_quantile", Wave(by("service", *SERVICES), 0.012, 0.006)),
    (
        "sum by (protocol, outcome)",
        Wave(
            (
                {"protocol": "remote_write", "outcome": "accepted"},
                {"protocol": "scrape", "outcome": "accepted"},
            ),
            420,
            60,
            0.7,
        ),
    ),
    ("cloudopshub_ingest_samples_total", Wave(({},), 830, 90, 0)),
    ("sum by (service)", Wave(by("service", *SERVICES), 6, 3)),
    ('status=~"5.."', Wave(({},), 0, 0, 0)),
    ("cloudopshub_http_requests_total", Wave(({},), 24, 6, 0)),
    ("process_resident_memory_bytes", Wave(by("job", *JOBS[:4]), 120e6, 2e6, 0.4)),
    ("sum by (mode)", Wave(by("mode", "user", "system", "iowait", "softirq"), 0.09, 0.05, 0.8)),
    ("1 - sum by (instance) (rate(node_cpu", Wave(by("instance", "host:0"), 0.34, 0.1, 0)),
    ("1 - node_memory_MemAvailable", Wave(by("instance", "host:0"), 0.61, 0.01, 0)),
    (
        "max by (instance, mountpoint)",
        Wave(by("mountpoint", "/", "/boot", "/data", instance="host:0"), 0.5, 0.001, 0.7),
    ),
    ("node_memory_MemTotal", Wave(({},), 9.4 * GIB, 0.3 * GIB, 0)),
    ("node_memory_MemAvailable", Wave(({},), 4.1 * GIB, 0.2 * GIB, 0)),
    ("node_memory_MemFree", Wave(({},), 2.2 * GIB, 0.2 * GIB, 0)),
    ("node_load15", Wave(({"__name__": "node_load15"},), 1.1, 0.1, 0)),
    ("node_load5", Wave(({"__name__": "node_load5"},), 1.2, 0.3, 0)),
    ("node_load1", Wave(({"__name__": "node_load1"},), 1.3, 0.7, 0)),
    ("node_disk", Wave(by("device", "nvme0n1"), 3e6, 2.5e6)),
    ("node_network", Wave(by("device", "eth0", "wlan0"), 9e5, 6e5, 0.9)),
    (
        "rate(node_cpu_seconds_total",
        Wave(
            tuple(
                {"cpu": str(n), "instance": "host:0", "job": "node", "mode": mode}
                for n in range(8)
                for mode in ("user", "system", "idle")
            ),
            0.3,
            0.2,
            0.9,
        ),
    ),
    ("hello_cloudopshub", Wave(({"__name__": "hello_cloudopshub", "source": "curl"},), 1, 0, 0)),
    (
        "up",
        Wave(
            tuple({"__name__": "up", "job": job, "instance": f"{job}:8000"} for job in JOBS),
            1,
            0,
            0,
        ),
    ),
)
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
METADATA = {
    "node_cpu_seconds_total": [
        {"type": "counter", "help": "Seconds the CPUs spent in each mode.", "unit": ""}
    ],
    "node_load1": [{"type": "gauge", "help": "1m load average.", "unit": ""}],
}
ANALYSIS = {
    "kind": "anomaly",
    "title": "Anomaly detection",
    "version": "1",
    "description": "Marks what a series was not expected to do, judged by its own earlier samples.",
    "parameters": [
        {
            "name": "sensitivity",
            "type": "number",
            "default": 0.5,
            "description": "How little is unusual enough.",
            "minimum": 0,
            "maximum": 1,
        },
        {
            "name": "season",
            "type": "season",
            "default": "auto",
            "description": "What repeats: auto, none or a duration.",
            "choices": ["auto", "none"],
        },
        {
            "name": "direction",
            "type": "choice",
            "default": "both",
            "description": "Which side matters.",
            "choices": ["both", "up", "down"],
        },
        {
            "name": "write_back",
            "type": "boolean",
            "default": True,
            "description": "Write the scores back as a series.",
        },
    ],
}


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
    chunks_seen_at: list[float] = field(default_factory=list)


@dataclass
class State:
    """What the stand-in remembers; tests set the switches."""

    signed_in: bool = True
    setup_needed: bool = False
    role: str = "owner"
    metrics: list[str] = field(default_factory=lambda: list(METRICS))
    down: set[str] = field(default_factory=set)
    no_data: bool = False
    query_delay_s: dict[str, float] = field(default_factory=dict)
    refuse_tokens: int = 0
    revoked_token: int = 0  # the number of the token that is refused however often it comes
    token_life_s: int = 300
    keys: list[dict[str, Any]] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    job_seconds: float = 2.0
    requests: list[Request] = field(default_factory=list)
    tokens_made: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, service: str, path: str) -> list[Request]:
        """The requests that reached `service` at `path` so far."""
        with self.lock:
            return [
                request
                for request in self.requests
                if request.service == service and request.path == path
            ]


SESSION: dict[str, Any] = {
    "user": {"id": "8f2c1a7e-0000-4000-8000-000000000001", "email": "ada@example.org"},
    "organisation": {
        "id": "8f2c1a7e-0000-4000-8000-0000000000aa",
        "name": "Acme Observatory",
        "slug": "acme-observatory",
    },
    "organisations": [
        {
            "id": "8f2c1a7e-0000-4000-8000-0000000000aa",
            "name": "Acme Observatory",
            "slug": "acme-observatory",
        },
        {"id": "8f2c1a7e-0000-4000-8000-0000000000bb", "name": "Home Lab", "slug": "home-lab"},
    ],
    "csrf_token": "csrf-of-the-session",
}
ALL_SCOPES = ["metrics:write", "metrics:read", "analysis:run", "billing:read", "admin"]
CSRF = "csrf-of-the-session"


class Refused(Exception):
    """Ends a request with this status and error."""

    def __init__(self, status: int, kind: str, error: str) -> None:
        super().__init__(error)
        self.status, self.kind, self.error = status, kind, error


def iso(at_s: float) -> str:
    """RFC 3339 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


def query_waves(query: str) -> Wave:
    """The answer's family for this query; a query with `bad(` cannot be parsed, one with `nothing`
    matches nothing.
    """
    if "bad(" in query:
        at = query.index("bad(") + 1
        raise Refused(
            400,
            "bad_data",
            f'invalid parameter "query": 1:{at}: parse error: unknown function with name "bad"',
        )
    if "too_many" in query:
        raise Refused(
            422,
            "execution",
            "the query would read more samples than its tenant may load at once "
            "needed=90000000 limit=50000000",
        )
    if "nothing" in query:
        return Wave((), 0, 0)
    if "many_series" in query:
        return Wave(
            tuple({"__name__": "many_series", "pod": f"pod-{n:03d}"} for n in range(431)),
            50,
            20,
            0.9,
        )
    return next((wave for piece, wave in WAVES if piece in query), Wave((), 0, 0))


class Services:
    """The routes, by service; each returns (status, body)."""

    def __init__(self, state: State) -> None:
        self.state = state

    def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        """What the contracts say this request gets."""
        if request.service in self.state.down:
            raise Refused(503, "unavailable", f"{request.service} is down for the test")
        if request.path == "/health":
            return 200, {"status": "ok"}, {}
        if request.path in ("/internal/introspect", "/metrics", "/docs"):
            return 200, {"leaked": request.path}, {}
        if request.path == "/echo":
            return (
                200,
                {
                    "path": request.path,
                    "headers": dict(request.headers),
                    "bytes": len(request.body),
                },
                {},
            )
        return getattr(self, request.service)(request)  # type: ignore[no-any-return]

    # -- das
    def das(  # noqa: C901, PLR0911 - a table of routes reads best as one match
        self, request: Request
    ) -> tuple[int, Any, dict[str, str]]:
        """query, query_range, names and metadata."""
        self._bearer(request, "das")
        state = self.state
        form = (
            {**request.query, **parse_qs(request.body.decode())}
            if request.method == "POST"
            else request.query
        )
        one = {name: values[0] for name, values in form.items()}
        match request.path:
            case "/api/v1/query_ranges":
                columns = [form[name] for name in ("query", "start", "end", "step")]
                return (
                    200,
                    {
                        "status": "success",
                        "data": [
                            self._one_of_several(request, *q) for q in zip(*columns, strict=True)
                        ],
                    },
                    {},
                )
            case "/api/v1/query_range":
                for piece, delay_s in state.query_delay_s.items():
                    if piece in one["query"]:
                        time.sleep(delay_s)
                wave = Wave((), 0, 0) if state.no_data else query_waves(one["query"])
                return (
                    200,
                    {
                        "status": "success",
                        "data": {"resultType": "matrix", "result": self._matrix(wave, one)},
                    },
                    {},
                )
            case "/api/v1/query":
                at_s = float(one.get("time", time.time()))
                told = 5.0 if "changes(" in one["query"] else at_s  # seconds apart, or a time
                result = [
                    {
                        "metric": labels,
                        "value": [
                            at_s,
                            str(told if "timestamp(" in one["query"] else wave.value(labels, at_s)),
                        ],
                    }
                    for wave in [query_waves(one["query"])]
                    for labels in wave.series
                ]
                return (
                    200,
                    {"status": "success", "data": {"resultType": "vector", "result": result}},
                    {},
                )
            case "/api/v1/label/__name__/values":
                return (
                    200,
                    {"status": "success", "data": [] if state.no_data else sorted(state.metrics)},
                    {},
                )
            case "/api/v1/label/job/values":
                return 200, {"status": "success", "data": list(JOBS)}, {}
            case "/api/v1/label/mode/values":
                return 200, {"status": "success", "data": ["idle", "iowait", "system", "user"]}, {}
            case "/api/v1/labels":
                return (
                    200,
                    {"status": "success", "data": ["__name__", "cpu", "instance", "job", "mode"]},
                    {},
                )
            case "/api/v1/metadata":
                return 200, {"status": "success", "data": METADATA}, {}
        raise Refused(404, "not_found", f"no route {request.path}")

    def _one_of_several(
        self, request: Request, query: str, start: str, end: str, step: str
    ) -> dict[str, Any]:
        """What query_range answers to it, recorded as if it had been asked alone."""
        fields = {"query": query, "start": start, "end": end, "step": step, "time": end}
        path = "/api/v1/query" if start == end else "/api/v1/query_range"
        alone = replace(request, path=path, query={}, body=urlencode(fields).encode())
        self.state.requests.append(alone)
        answer: dict[str, Any] = self.das(alone)[1]
        data = answer["data"]
        if data["resultType"] == "vector":
            series = [{"metric": one["metric"], "values": [one["value"]]} for one in data["result"]]
            data |= {"resultType": "matrix", "result": series}
        return answer

    @staticmethod
    def _matrix(wave: Wave, one: Mapping[str, str]) -> list[dict[str, Any]]:
        start, end, step = float(one["start"]), float(one["end"]), float(one["step"])
        now = time.time()
        count = int((end - start) / step + 1e-6) + 1
        times = [start + index * step for index in range(count)]
        hole = start + 0.30 * (end - start), start + 0.34 * (end - start)
        gap = "node_load1" in one["query"]
        return [
            {
                "metric": labels,
                "values": [
                    [at, repr(wave.value(labels, at))]
                    for at in times
                    if at <= now + step and not (gap and hole[0] < at < hole[1])
                ],
            }
            for labels in wave.series
        ]

    # -- dis
    def dis(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        """Takes everything."""
        if request.path == "/api/v1/write":
            if "hello_cloudopshub" not in self.state.metrics:
                self.state.metrics.append("hello_cloudopshub")
            return 204, None, {}
        raise Refused(404, "not_found", f"no route {request.path}")

    # -- aps
    def aps(  # noqa: PLR0911 - a table of routes reads best as one match
        self, request: Request
    ) -> tuple[int, Any, dict[str, str]]:
        """Jobs that run for `job_seconds` of real time."""
        self._bearer(request, "aps")
        state, parts = self.state, request.path.strip("/").split("/")
        if request.path == "/api/v1/analyses":
            return 200, {"analyses": [ANALYSIS]}, {}
        if request.path == "/api/v1/jobs" and request.method == "POST":
            wanted = json.loads(request.body)
            query_waves(wanted["query"])
            job = {
                **wanted,
                "id": str(uuid.uuid4()),
                "state": "queued",
                "attempts": 1,
                "error": None,
                "created_at": iso(time.time()),
                "started_at": None,
                "finished_at": None,
                "created_by": "ada@example.org",
                "made": time.time(),
                "progress": {},
            }
            state.jobs[job["id"]] = job
            return 202, self._job(job), {}
        if request.path == "/api/v1/jobs":
            return 200, {"jobs": [self._job(job) for job in reversed(state.jobs.values())]}, {}
        found = state.jobs.get(parts[3] if len(parts) > 3 else "")
        if found is None:
            raise Refused(404, "not_found", "no such job")
        job = found
        match parts[4:]:
            case []:
                return 200, self._job(job), {}
            case ["cancel"]:
                job["forced"] = "cancelled"
                return 200, self._job(job), {}
            case ["retry"]:
                job.update(forced=None, made=time.time(), attempts=job["attempts"] + 1)
                return 200, self._job(job), {}
            case ["result"]:
                return 200, self._result(job), {}
        raise Refused(404, "not_found", f"no route {request.path}")

    def _job(self, job: dict[str, Any]) -> dict[str, Any]:
        age_s = time.time() - job["made"]
        part = min(age_s / self.state.job_seconds, 1.0)
        job["state"] = job.get("forced") or (
            "queued"
            if part < 0.1
            else "running"
            if part < 1
            else "failed"
            if "fails" in job["query"]
            else "succeeded"
        )
        if job["state"] == "failed":
            job["error"] = "the query matched 0 series"
        job["progress"] = {
            "done": round(part * 40, 1),
            "total": 40,
            "message": "judging 3 series",
            "eta_s": max(self.state.job_seconds - age_s, 0),
        }
        return {name: value for name, value in job.items() if name not in ("made", "forced")}

    @staticmethod
    def _result(job: dict[str, Any]) -> dict[str, Any]:
        times = list(range(job["start_ms"], job["end_ms"] + 1, job["step_ms"]))
        series = []
        for route in ("/api/v1/query_range", "/api/v1/write", "/api/v1/query"):
            scale = 40 if route.endswith("write") else 25
            expected = [scale * (1 + 0.35 * math.sin(at / 6e6)) for at in times]
            values: list[float | None] = [
                mean * (1 + 0.09 * (zlib.crc32(f"{route}{at}".encode()) % 1000 / 500 - 1))
                for at, mean in zip(times, expected, strict=True)
            ]
            anomalies = []
            if route.endswith(("range", "write")):
                for first, length, factor in (
                    (int(len(times) * 0.55), max(len(times) // 60, 3), 2.1),
                    (int(len(times) * 0.83), max(len(times) // 90, 2), 0.25),
                ):
                    for index in range(first, first + length):
                        values[index] = expected[index] * factor
                    anomalies.append(
                        {
                            "start_ms": times[first],
                            "end_ms": times[first + length - 1],
                            "peak_ms": times[first + length // 2],
                            "peak_score": 14.2 if factor > 1 else 8.7,
                            "peak_value": expected[first] * factor,
                            "expected": expected[first],
                            "direction": "up" if factor > 1 else "down",
                        }
                    )
            for index in range(int(len(times) * 0.2), int(len(times) * 0.22)):
                values[index] = None
            series.append(
                {
                    "labels": {"service": "das", "route": route},
                    "timestamps_ms": times,
                    "values": values,
                    "expected": expected,
                    "lower": [mean * 0.8 for mean in expected],
                    "upper": [mean * 1.2 for mean in expected],
                    "score": [0.0] * len(times),
                    "anomalies": anomalies,
                }
            )
        return {
            "series": series,
            "written_series": ["cloudopshub_anomaly_score"],
            "summary": {"series": 3, "points": 3 * len(times), "anomalies": 4},
        }

    # -- ubs
    def ubs(  # noqa: C901, PLR0911, PLR0912 - a table of routes reads best as one match
        self, request: Request
    ) -> tuple[int, Any, dict[str, str]]:
        """Session, keys, members, invitations, audit; unsafe cookie calls need the CSRF token."""
        state = self.state
        route = (request.method, request.path)
        body: dict[str, Any] = json.loads(request.body) if request.body else {}
        session = {
            **SESSION,
            "role": state.role,
            "scopes": ALL_SCOPES if state.role != "viewer" else ["metrics:read", "billing:read"],
        }
        cookie = {"Set-Cookie": "cloudopshub=session; Path=/; HttpOnly; SameSite=Lax"}
        match route:
            case ("GET", "/api/v1/setup"):
                return 200, {"needed": state.setup_needed}, {}
            case ("POST", "/api/v1/setup"):
                if body["token"] != "good-token":
                    raise Refused(403, "forbidden", "the set-up token is wrong or was used")
                state.setup_needed, state.signed_in = False, True
                return 201, session, cookie
            case ("POST", "/api/v1/login" | "/api/v1/invitations/accept"):
                if body.get("password") != "correct horse battery":
                    raise Refused(401, "unauthenticated", "email or password is wrong")
                state.signed_in = True
                return 200, session, cookie
        if not state.signed_in:
            raise Refused(401, "unauthenticated", "no session")
        if request.method not in ("GET", "HEAD") and request.headers.get("x-csrf-token") != CSRF:
            raise Refused(403, "forbidden", "the CSRF token is missing or wrong")
        match route:
            case ("GET", "/api/v1/session"):
                return 200, session, {}
            case ("POST", "/api/v1/token"):
                state.tokens_made += 1
                return (
                    200,
                    {
                        "token": f"{body['audience']}.{state.tokens_made}",
                        "expires_in_s": state.token_life_s,
                    },
                    {},
                )
            case ("POST", "/api/v1/logout"):
                state.signed_in = False
                return 204, None, {}
            case ("GET", "/api/v1/keys"):
                return 200, {"keys": state.keys}, {}
            case ("POST", "/api/v1/keys"):
                key = {
                    "id": str(uuid.uuid4()),
                    "name": body["name"],
                    "start": "coh_live_9fK2",
                    "scopes": body["scopes"],
                    "created_at": iso(time.time()),
                    "last_used_at": None,
                    "expires_at": None,
                    "revoked_at": None,
                    "created_by": "ada@example.org",
                }
                state.keys.append(key)
                return 201, {**key, "key": "coh_live_9fK2mQ7wXv3Rb8Tn1Ys6Lp4Dz0Hc5JgA0b1C2d"}, {}
            case ("DELETE", path) if path.startswith("/api/v1/keys/"):
                for key in state.keys:
                    if key["id"] == path.rsplit("/", 1)[1]:
                        key["revoked_at"] = iso(time.time())
                return 204, None, {}
            case ("GET", "/api/v1/members"):
                return (
                    200,
                    {
                        "members": [
                            {
                                "user_id": SESSION["user"]["id"],
                                "email": "ada@example.org",
                                "role": state.role,
                                "joined_at": iso(time.time() - 86_400 * 40),
                            },
                            {
                                "user_id": "u2",
                                "email": "grace@example.org",
                                "role": "viewer",
                                "joined_at": iso(time.time() - 7200),
                            },
                        ]
                    },
                    {},
                )
            case ("PATCH", path) if path.startswith("/api/v1/members/"):
                return (
                    200,
                    {
                        "user_id": path.rsplit("/", 1)[1],
                        "email": "grace@example.org",
                        "role": body["role"],
                        "joined_at": iso(0),
                    },
                    {},
                )
            case ("GET", "/api/v1/invitations"):
                return (
                    200,
                    {
                        "invitations": [
                            {
                                "id": "i1",
                                "email": "linus@example.org",
                                "role": "viewer",
                                "expires_at": iso(time.time() + 86_400 * 3),
                            }
                        ]
                    },
                    {},
                )
            case ("POST", "/api/v1/invitations"):
                return (
                    201,
                    {
                        "id": "i2",
                        "email": body["email"],
                        "role": body["role"],
                        "expires_at": iso(time.time() + 86_400 * 7),
                        "link": "/#/invitation/abc",
                    },
                    {},
                )
            case ("GET", "/api/v1/audit"):
                return (
                    200,
                    {
                        "events": [
                            {
                                "seq": 9 - n,
                                "at": iso(time.time() - 600 * n),
                                "actor": "ada@example.org",
                                "action": action,
                                "target": target,
                                "detail": {"scopes": ["metrics:write"]} if "key" in action else {},
                                "request_id": "r",
                            }
                            for n, (action, target) in enumerate(
                                (
                                    ("key.create", "agent on web-1"),
                                    ("member.role", "grace@example.org"),
                                    ("login", "ada@example.org"),
                                    ("setup", "Acme Observatory"),
                                )
                            )
                        ]
                    },
                    {},
                )
        raise Refused(404, "not_found", f"no route {request.method} {request.path}")

    def _bearer(self, request: Request, audience: str) -> None:
        if self.state.refuse_tokens > 0:
            self.state.refuse_tokens -= 1
            raise Refused(401, "unauthenticated", "the token is revoked")
        authorization = request.headers.get("authorization", "")
        if not authorization.startswith(f"Bearer {audience}."):
            raise Refused(401, "unauthenticated", "no token for this audience")
        if authorization == f"Bearer {audience}.{self.state.revoked_token}":
            raise Refused(401, "unauthenticated", "the token is revoked")


def handler(  # noqa: C901 - the shell is one class, made for one service
    service: str, services: Services
) -> type[BaseHTTPRequestHandler]:
    """The HTTP shell of one service."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def _body(self) -> tuple[bytes, list[float]]:
            seen: list[float] = []
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                chunks = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    chunks.append(self.rfile.read(size))
                    seen.append(time.monotonic())
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks), seen
            left = int(self.headers.get("Content-Length") or 0)
            pieces = []
            while left > 0:
                piece = self.rfile.read1(left)
                if not piece:
                    break
                seen.append(time.monotonic())
                pieces.append(piece)
                left -= len(piece)
            return b"".join(pieces), seen

        def _serve(self) -> None:
            body, seen = self._body()
            parts = urlsplit(self.path)
            request = Request(
                service,
                self.command,
                self.path,
                parts.path,
                parse_qs(parts.query),
                {name.lower(): value for name, value in self.headers.items()},
                body,
                seen,
            )
            with services.state.lock:
                services.state.requests.append(request)
            headers: dict[str, str] = {}
            answer: Any
            try:
                status, answer, headers = services.answer(request)
            except Refused as refused:
                status, answer = (
                    refused.status,
                    {"status": "error", "errorType": refused.kind, "error": refused.error},
                )
            payload = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _serve  # noqa: N815 - names of the base class

    return Handler


class Server(ThreadingHTTPServer):
    """Threads that end with the test; a browser that goes away is no news."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up half-way is expected: the page gives up old requests."""


@contextmanager
def running_services(services: Services) -> Iterator[dict[str, str]]:
    """The four services on free ports: code → URL."""
    servers = {code: Server(("127.0.0.1", 0), handler(code, services)) for code in PREFIXES}
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        for server in servers.values()
    ]
    for thread in threads:
        thread.start()
    try:
        yield {
            code: f"http://127.0.0.1:{server.server_address[1]}" for code, server in servers.items()
        }
    finally:
        for server in servers.values():
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join(timeout=5)
