"""An independent account of what was acknowledged, and what is wrong with what is read back.

writer ── samples ──▶ hub          sent: all that a request carried
   ▲                   │           acknowledged: what a 204 answered
   └──── 204, or again ┘           afterwards: every sample of the run is read and compared

lost      acknowledged, and not there        wrong     there with another value
doubled   there more than once               foreign   there and never sent
"""

import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import httpx

from ci.errors import CiError
from ci.tests import remote_write
from ci.tests.faults.hub import ANSWER_TIMEOUT_S, Hub

METRIC = "fault_run_samples"
WRITERS = 4
SAMPLES = 20  # of a request, one millisecond apart
REQUESTS_A_SERIES = 50  # then the writer goes on with a new one
READ_S = 30  # of the run in one query

Key = tuple[str, str, int]
"""writer, part, timestamp ms."""


@dataclass(frozen=True)
class Request:
    """One acknowledged request. sent_s, acknowledged_s: of the monotonic clock."""

    samples: dict[Key, float]
    sent_s: float
    acknowledged_s: float


@dataclass
class Ledger:
    """What the writers of one run sent, and what of it was acknowledged."""

    hub: Hub
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    sent: dict[Key, float] = field(default_factory=dict)
    acknowledged: list[Request] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)
    began_s: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.threads = [
            threading.Thread(target=self._write, args=(str(number),), daemon=True)
            for number in range(WRITERS)
        ]

    def start(self) -> None:
        """The writers write until `stop`."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """No writer runs any more; what was in flight is decided."""
        self.stopped.set()
        for thread in self.threads:
            thread.join(2 * ANSWER_TIMEOUT_S)

    def is_back(self, since_s: float) -> bool:
        """Whether a request that was sent after `since_s` (monotonic) is acknowledged."""
        return any(request.sent_s >= since_s for request in self.acknowledged[-WRITERS:])

    def longest_pause_s(self, since_s: float) -> float:
        """The longest time after `since_s` (monotonic) without any acknowledgement."""
        times_s = [since_s]
        for request in reversed(self.acknowledged):
            if request.acknowledged_s < since_s:
                break
            times_s.append(request.acknowledged_s)
        times_s.sort()
        return max((after - before for before, after in pairwise(times_s)), default=0.0)

    def _write(self, writer: str) -> None:
        """Send request after request, each again until it is answered for good, as agents do."""
        last_ms = 0
        with httpx.Client(timeout=ANSWER_TIMEOUT_S) as client:
            for number in itertools.count():
                part = str(number // REQUESTS_A_SERIES)
                first_ms = max(time.time_ns() // 1_000_000, last_ms + 1)
                last_ms = first_ms + SAMPLES - 1
                values = {first_ms + i: float(number * SAMPLES + i) for i in range(SAMPLES)}
                samples = {(writer, part, at_ms): value for at_ms, value in values.items()}
                labels = {"__name__": METRIC, "run": self.run, "writer": writer, "part": part}
                self.sent |= samples
                body = remote_write.encode(labels, list(values.items()))
                status = 0
                while not _is_final(status):
                    if self.stopped.wait(0.02):
                        return
                    sent_s = time.monotonic()
                    status = self._post(client, body)
                if status == httpx.codes.NO_CONTENT:
                    self.acknowledged.append(Request(samples, sent_s, time.monotonic()))
                else:
                    self.refused[status] += 1

    def _post(self, client: httpx.Client, body: bytes) -> int:
        """The status of the answer; 0 without one."""
        try:
            address = self.hub.address("data-ingest-service", "/api/v1/write")
            return client.post(address, content=body, headers=self.hub.headers).status_code
        except (httpx.HTTPError, CiError):
            return 0

    def read_back(self) -> Counter[tuple[Key, float]]:
        """How often each (sample, value) of this run is in the store."""
        times: Counter[tuple[Key, float]] = Counter()
        end_s = time.time() + 2  # samples run ahead of the clock when requests are quick
        at_s = float(int(self.began_s) - 1)
        while at_s < end_s:
            at_s += READ_S
            for series in self.hub.samples(f'{METRIC}{{run="{self.run}"}}', at_s, f"{READ_S}s"):
                writer, part = series["metric"]["writer"], series["metric"]["part"]
                for stamp_s, value in series["values"]:
                    times[(writer, part, round(stamp_s * 1000)), float(value)] += 1
        return times


def _is_final(status: int) -> bool:
    """Whether the sender goes on: done, or refused for good."""
    return status == httpx.codes.NO_CONTENT or (400 <= status < 500 and status != 429)


@dataclass(frozen=True)
class Verdict:
    """The samples of a ledger that are not as they should be."""

    lost: frozenset[Key]
    doubled: frozenset[Key]
    wrong: frozenset[Key]
    foreign: frozenset[Key]

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.wrong or self.foreign)


def compare(
    sent: dict[Key, float],
    acknowledged: Iterable[Request],
    stored: Counter[tuple[Key, float]],
) -> Verdict:
    """What is wrong with `stored`, given what was sent and acknowledged."""
    seen: Counter[Key] = Counter()
    wrong, foreign = set(), set()
    for (key, value), count in stored.items():
        seen[key] += count
        if key not in sent:
            foreign.add(key)
        elif sent[key] != value:
            wrong.add(key)
    due = {key for request in acknowledged for key in request.samples}
    return Verdict(
        lost=frozenset(due - seen.keys()),
        doubled=frozenset(key for key, count in seen.items() if count > 1),
        wrong=frozenset(wrong),
        foreign=frozenset(foreign),
    )
