"""A running hub as the benchmark uses it: its first owner, samples to draw, and what it costs."""

from __future__ import annotations

import json
import math
import os
import struct
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

METRIC = "bench_temperature"
SCRAPE_S = 15
STEPS_A_REQUEST = 60
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


@dataclass(frozen=True)
class Hub:
    """Where a run answers, by which key samples get in, and which process is which."""

    url: str
    key: str
    setup_token: str
    pids: dict[str, int]

    @classmethod
    def of_state(cls, path: Path) -> Hub:
        """The run that wrote this state file."""
        state = json.loads(path.read_text())
        pids = {name: process["pid"] for name, process in state["processes"].items()}
        return cls(state["url"], state["key"], state["setup_link"].rpartition("/")[2], pids)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        """The hub took `body`; an HTTPError of urllib otherwise."""
        request = urllib.request.Request(self.url + path, body, headers)
        with urllib.request.urlopen(request, timeout=60):
            pass

    def make_owner(self, email: str, password: str) -> None:
        """The hub has an owner; one that it had before is left alone."""
        owner = {"email": email, "password": password, "organisation": "Bench"}
        body = json.dumps({"token": self.setup_token, **owner}).encode()
        try:
            self.post("/api/ubs/api/v1/setup", body, {"Content-Type": "application/json"})
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                raise

    def write_samples(self, series: int, hours: float) -> None:
        """`series` gauges have a sample each SCRAPE_S in the last `hours`."""
        end_s = int(time.time()) // SCRAPE_S * SCRAPE_S
        times_s = range(int(end_s - hours * 3600), end_s + 1, SCRAPE_S)
        headers = {**HEADERS, "Authorization": f"Bearer {self.key}"}
        for at in range(0, len(times_s), STEPS_A_REQUEST):
            body = snappy(write_request(series, times_s[at : at + STEPS_A_REQUEST]))
            self.post("/api/dis/api/v1/write", body, headers)

    def cpu_s(self, *names: str) -> float:
        """CPU seconds that these processes and their children have used."""
        return cpu_of([self.pids[name] for name in names], with_children=True)


def cpu_of(pids: list[int], *, with_children: bool = False) -> float:
    """User and system seconds so far, from /proc; a process that is gone counts nothing."""
    ticks = 0
    for pid in pids:
        try:
            # after the name in parentheses: state, ppid, … utime and stime are fields 14 and 15
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            continue
        ticks += int(fields[11]) + int(fields[12])
        if with_children:
            ticks += round(cpu_of([int(child) for child in children]) * TICKS_A_SECOND)
    return ticks / TICKS_A_SECOND


def varint(number: int) -> bytes:
    """Base-128, least significant group first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def write_request(series: int, times_s: range) -> bytes:
    """remote_write 1.0: each series moves on a curve of its own.

    Source: prometheus/prompb WriteRequest.
    """
    out = bytearray()
    for number in range(series):
        labels = {"__name__": METRIC, "instance": f"node-{number:03}", "job": "bench"}
        body = b"".join(
            field(1, field(1, name.encode()) + field(2, value.encode()))
            for name, value in labels.items()
        )
        for time_s in times_s:
            value = 40 + number % 25 + 10 * math.sin(time_s / (300 + number) + number)
            body += field(2, struct.pack("<Bd", 9, value) + b"\x10" + varint(time_s * 1000))
        out += field(1, body)
    return bytes(out)


def snappy(body: bytes) -> bytes:
    """Snappy's block format with literals only: a length, then tagged runs of at most 64 KiB."""
    out = bytearray(varint(len(body)))
    for at in range(0, len(body), 0x10000):
        run = body[at : at + 0x10000]
        out += struct.pack("<BH", 61 << 2, len(run) - 1) + run
    return bytes(out)
