"""The nouns of the read side: what a query asks the store for, and what it answers.

    Matcher ─┐
             ├─ SelectorSpan ──store.load──▶ Columns ──promql.evaluate──▶ Result
    times  ──┘

Times are int64 milliseconds since the epoch. Arrays are read-only by convention: whoever needs
another value makes another array. Imports none of our modules but `native_histogram`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import re2
from numpy.typing import NDArray

from data_api.native_histogram import Histogram

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
T = TypeVar("T")

Labels = Mapping[str, str]
"""Label names to values, `__name__` included; no empty value; never changed once made."""

METRIC_NAME = "__name__"

STALE_BITS = 0x7FF0000000000002
"""A sample whose value has these bits says that its series ended. Compare bits, never NaN."""

HISTOGRAM_BITS: Final = 0x7FFC0C0B00000000
"""Of the value of a sample that is a native histogram: a NaN, whose lower half says which one."""
INDEX_MASK: Final = 0xFFFFFFFF


def is_histogram(values: F64) -> Bools:
    """Which values are native histograms. Compare bits: arithmetic leaves a NaN's as they are."""
    upper_halves = np.ascontiguousarray(values).view(np.uint32)[..., 1::2]  # little-endian
    mask: Bools = upper_halves == HISTOGRAM_BITS >> 32
    return mask


SAMPLE_BYTES: Final = 16  # in a query's memory: a time and a value
OBJECT_BYTES: Final = 41  # of a `bytes`, beside its content, with the place that names it


def histogram_bytes(histogram: Histogram | bytes) -> int:
    """Size of its content, as it is stored or decoded."""
    return len(histogram) if isinstance(histogram, bytes) else histogram.nbytes


def sample_cost(samples: int, histograms: Iterable[Histogram | bytes]) -> int:
    """How many samples without histograms take as much memory as these and their histograms."""
    nbytes = sum(histogram_bytes(one) + OBJECT_BYTES for one in histograms)
    return samples + nbytes // SAMPLE_BYTES


class MatchOp(StrEnum):
    """How a matcher compares a label's value; a label that is absent has the value ``""``."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


CHECKPOINT: ContextVar[Callable[[], None]] = ContextVar("checkpoint", default=lambda: None)


@lru_cache(maxsize=64)  # each may grow to the 8 MiB that RE2 allows
def compile_regex(pattern: str) -> re2._Regexp:
    """The RE2 program of `pattern`, matched against the whole value, `.` matching newlines.

    Raises re2.error when RE2 refuses it. Linear in the value's length: Python's own `re` must never
    see a tenant's pattern. Each that is new is a checkpoint.
    """
    CHECKPOINT.get()()
    options = re2.Options()
    # By its length: `.{1000}` so often that it fills 8 MiB stops all threads for half a second.
    options.max_mem = min(8 << 20, max(1 << 20, 64 * len(pattern)))
    options.dot_nl, options.log_errors = True, False
    return re2.compile(pattern, options)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label."""

    name: str
    op: MatchOp
    value: str

    def predicate(self) -> Callable[[str], bool]:
        """A function that says whether a label value (``""`` for an absent label) is wanted."""
        wanted = self.value
        match self.op:
            case MatchOp.EQUAL:
                return lambda value: value == wanted
            case MatchOp.NOT_EQUAL:
                return lambda value: value != wanted
            case MatchOp.REGEX:
                whole = compile_regex(wanted).fullmatch
                return lambda value: whole(value) is not None
            case MatchOp.NOT_REGEX:
                whole = compile_regex(wanted).fullmatch
                return lambda value: whole(value) is None

    def matches_absent(self) -> bool:
        """Whether a series without the label is wanted."""
        return self.predicate()("")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{escaped}"'


@dataclass(frozen=True, slots=True)
class Rolled:
    """Which buckets do as well as samples: of this length, and these columns of them."""

    resolution_ms: int
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SelectorSpan:
    """The samples one selector needs: all matchers hold and ``start_ms < timestamp <= end_ms``."""

    matchers: tuple[Matcher, ...]
    start_ms: int
    end_ms: int
    rolled: Rolled | None = None

    def since(self, first_ms: int) -> "SelectorSpan":
        """The same without what is before `first_ms`."""
        return replace(self, start_ms=max(self.start_ms, first_ms - 1))


@dataclass(frozen=True, slots=True)
class Columns:
    """Samples of several series, one after the other (compressed sparse rows).

    labels: one mapping a series, in the order of the rows, no two equal.
    offsets: int64 (n + 1,); series i owns samples ``offsets[i]:offsets[i + 1]``.
    timestamps_ms: int64, strictly ascending within a series.
    values: float64; stale markers are kept, bit for bit (`STALE_BITS`); a native histogram is a NaN
    with `HISTOGRAM_BITS` and its index in `histograms`, where each is decoded or as it is stored
    (docs/formats/histogram.md).
    has_stale: False where it is known that none is a stale marker.
    """

    labels: Sequence[Labels]
    offsets: I64
    timestamps_ms: I64
    values: F64
    histograms: Sequence[Histogram | bytes] = ()
    has_stale: bool = True

    @property
    def samples(self) -> int:
        """How many samples all series hold together."""
        return int(self.timestamps_ms.size)

    @property
    def cost(self) -> int:
        """How many samples without histograms take as much memory."""
        return sample_cost(self.samples, self.histograms)

    def take(self, rows: I64) -> "Columns":
        """The same series in the order of `rows`, which has each once."""
        counts = np.diff(self.offsets)[rows]
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        places = np.arange(self.samples) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], counts)
        return replace(
            self,
            labels=[self.labels[row] for row in rows.tolist()],
            offsets=offsets,
            timestamps_ms=self.timestamps_ms[places],
            values=self.values[places],
        )

    @staticmethod
    def empty() -> "Columns":
        """No series at all."""
        return Columns((), np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


@dataclass(frozen=True, slots=True)
class Buckets:
    """What the samples of several series come to, in rows as those of `Columns`.

    A row is a bucket of a rollup, ``end_ms - resolution_ms < timestamp <= end_ms``, or, where none
    could be read, one sample as a bucket of its own, whose `end_ms` is its timestamp.

    columns: (n,) each, named as in docs/formats/rollup.md, `end_ms` among them; no stale markers.
    """

    labels: Sequence[Labels]
    offsets: I64
    columns: Mapping[str, NDArray[Any]]
    resolution_ms: int

    @property
    def samples(self) -> int:
        """How many samples take as much memory."""
        return sum(column.nbytes for column in self.columns.values()) // SAMPLE_BYTES

    cost = samples

    def last_samples(self) -> Columns:
        """The last sample of each bucket, and after it, where there was one, a stale marker at the
        bucket's end.
        """
        is_ended = self.columns["is_stale"].astype(bool)
        places = np.cumsum(1 + is_ended)
        timestamps_ms = np.repeat(self.columns["last_ms"], 1 + is_ended)
        values = np.repeat(self.columns["last"], 1 + is_ended)
        timestamps_ms[places[is_ended] - 1] = self.columns["end_ms"][is_ended]
        values.view(np.int64)[places[is_ended] - 1] = STALE_BITS
        offsets = np.concatenate(([0], places))[self.offsets]
        return Columns(self.labels, offsets, timestamps_ms, values)


Loaded = Columns | Buckets


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number at one time."""

    timestamp_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class String:
    """One text at one time."""

    timestamp_ms: int
    value: str


@dataclass(frozen=True, slots=True)
class InstantVector:
    """At most one sample a series, all at one time. values: float64 (n,), in the answer's order;
    native histograms as in `Columns`.
    """

    labels: Sequence[Labels]
    timestamp_ms: int
    values: F64
    histograms: Sequence[Histogram | bytes] = ()


@dataclass(frozen=True, slots=True)
class RangeMatrix:
    """Values of n series at m steps.

    steps_ms: int64 (m,). values, present: (n, m). A value counts only where `present` is true, so
    that NaN stays distinct from absence; every row has at least one present value. Native
    histograms as in `Columns`.
    """

    labels: Sequence[Labels]
    steps_ms: I64
    values: F64
    present: Bools
    histograms: Sequence[Histogram | bytes] = ()


@dataclass(frozen=True, slots=True)
class Stats:
    """What a query cost. looked_at: (m,) samples that each step looked at; peak: the most samples
    that it held at once; times are of the monotonic clock: it had its slot, its samples, its value.
    """

    steps_ms: I64
    looked_at: I64
    peak: int
    begun_s: float = 0.0
    loaded_s: float = 0.0
    evaluated_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a query answers. Columns is an instant query's range vector (`up[5m]`)."""

    value: Scalar | String | InstantVector | RangeMatrix | Columns
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    stats: Stats | None = None


class Run(Protocol):
    """Computes in a thread what would hold up the event loop."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """What `work` returns or raises."""


async def run_here(work: Callable[[], T], /) -> T:
    """A `Run` without a thread: for a caller that has nothing else to do."""
    return work()


EVER_MS: Final = -(2**62)
"""Before every timestamp."""


@dataclass(slots=True)
class Cost:
    """What a query has cost so far: what it read, seconds of CPU, and those it waited to begin."""

    series: int = 0
    samples: int = 0
    cpu_s: float = 0.0
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Bounds of one query.

    samples_max: samples loaded plus values held at once, over which the query is refused.
    kept_since_ms: samples before are past the tenant's retention, and read as deleted.
    answer_bytes_max: bytes of its answer, over which it is refused.
    checkpoint: called where the work can stop; raises when the query should end.
    reserve: called with the samples' worth of memory (16 bytes each) that the query is about to
    hold in all; raises where the process has no room for them.
    run: where the work is done.
    warn: told why the answer is partial; where it is None, a partial answer is an error.
    cost: what the query costs, counted as it goes.
    """

    samples_max: int = 50_000_000
    kept_since_ms: int = EVER_MS
    answer_bytes_max: int = 128 * 1024 * 1024
    checkpoint: Callable[[], None] = lambda: None
    reserve: Callable[[int], None] = lambda _: None
    run: Run = run_here
    warn: Callable[[str], None] | None = None
    cost: Cost = field(default_factory=Cost)
