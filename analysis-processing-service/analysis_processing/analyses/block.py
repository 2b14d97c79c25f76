"""What every analysis takes and gives: a dense block in, results by series out.

    all series ─▶ prepare (once) ─▶ context
    64-256 series + context ─▶ run ─▶ Part      any chunk, in any order, on any machine
    all SeriesResults, without columns ─▶ conclude (once) ─▶ summary

`Analysis.module` holds `run`, and where it needs them `prepare` and `conclude`; all three are pure.
A chunk's Part depends on the chunk and the context alone, so chunks are retried, resumed and
spread as one likes. A context is picklable and small beside the block.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from analysis_processing.model import Finding, Labels

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
progress: ContextVar[Callable[[str], None]] = ContextVar("progress", default=lambda _message: None)
"""What a long `prepare` calls, more often than once a second, with a few words on how far it is.

Whoever runs the analysis sets it. It raises where the job was cancelled or lost; let that pass.
"""


@dataclass(frozen=True, slots=True)
class Block:
    """Series on one time axis: `values` is (series, time), C order, NaN where there is no sample.

    ±Inf are samples. Column i is at `start_ms + i × step_ms`. Counters have become rates a second.
    """

    labels: list[Labels]
    start_ms: int
    step_ms: int
    values: F64

    @property
    def times_ms(self) -> I64:
        """(time,) when each column is, in ms since the epoch."""
        return self.start_ms + self.step_ms * np.arange(self.values.shape[1], dtype=np.int64)

    def rows(self, first: int, last: int) -> "Block":
        """Series [first, last), a view."""
        return Block(self.labels[first:last], self.start_ms, self.step_ms, self.values[first:last])


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """What an analysis says of one series.

    score: ≥ 0, what results are ranked by. facts: JSON scalars by name, such as the season that
    judged it. columns: each (steps,) on the Part's axis, NaN = nothing. note: why the series was
    not judged, in a sentence; then there is nothing else.
    """

    labels: Labels
    score: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    columns: dict[str, F64] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The results of one chunk, in its order, on one time axis (a forecast's lies ahead)."""

    start_ms: int
    step_ms: int
    steps: int
    series: list[SeriesResult]


@dataclass(frozen=True, slots=True)
class Written:
    """A series to write back: its labels with its name; samples where `values` is a number."""

    labels: Labels
    times_ms: I64
    values: F64


def labels_about(labels: Labels, metric: str, **more: str) -> Labels:
    """Labels of a series `metric` about another one, whose name becomes `source_metric`."""
    own = {name: text for name, text in labels.items() if name != "__name__" and text}
    if "__name__" in labels:
        own["source_metric"] = labels["__name__"]
    return own | {"__name__": metric} | more


class Runs(Protocol):
    """`Analysis.module`, seen by whoever runs it. params: every parameter, checked.

    Optional beside `run`:
        prepare(block, params) -> context      all series; None without it
        conclude(results, params, context) -> dict     joins the job's summary: `sentence`, tables
        written(part, params) -> list[Written]         what goes back as series
    """

    def run(self, block: Block, params: dict[str, Any], context: Any) -> Part:
        """The results of these series."""
