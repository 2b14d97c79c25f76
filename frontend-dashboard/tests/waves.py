"""Series as waves made from their labels: the same query at the same time gives the same answer."""

from __future__ import annotations

import functools
import math
import zlib
from dataclasses import dataclass

from contract import Refused

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
METADATA = {
    "node_cpu_seconds_total": [
        {"type": "counter", "help": "Seconds the CPUs spent in each mode.", "unit": ""}
    ],
    "node_load1": [{"type": "gauge", "help": "1m load average.", "unit": ""}],
}


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
