"""What a query will cost before anything is read: its text and the sizes of the index.

    values × regexes + series × (passes × (labels + steps) + samples of all windows)

Only its order of magnitude counts: it says which queries are computed in a process of their own
(docs/adr/0036-queries-in-processes.md). A wrong one is neither refused nor answered differently.
"""

from collections.abc import Sequence
from typing import Final

from data_api.model import Matcher
from data_api.promql.context import SUBQUERY_STEP_MS
from data_api.promql.nodes import (
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    Subquery,
    VectorSelector,
    children,
)
from data_api.questions import Plan
from data_api.store.postings import SeriesIndex

# Seconds of one slow CPU, from benchmarks/bench_promql.py and bench_query.py.
LABELS_S: Final = 3e-6  # to make or compare the labels of a series
CELL_S: Final = 2e-8  # a value at a step
COMPARED_S: Final = 1e-6  # a label value and a regex
SAMPLE_S: Final = 3e-8  # to read or look at a sample
NAMED_S: Final = 5e-7  # to look which labels a series has
LISTED_S: Final = 8e-6  # to make its label set, to sort it among others and to write it
INTERVAL_MS: Final = 15_000  # between two samples of a series: a guess


def expected_s(plan: Plan, index: SeriesIndex) -> float:
    """Seconds of CPU that the plan needs, roughly."""
    start_ms, end_ms, step_ms = plan.question.steps
    steps = 1 + (end_ms - start_ms) // max(step_ms, 1)
    passes, windows_ms = _walked(plan.expr, steps)
    widest, seconds = 0, 0.0
    for span in plan.spans:
        series, compared = index.at_most(span.matchers)
        widest = max(widest, series)
        seconds += compared * COMPARED_S
        seconds += series * SAMPLE_S * ((span.end_ms - span.start_ms) / INTERVAL_MS)
    samples = windows_ms / INTERVAL_MS
    return seconds + widest * (passes * (LABELS_S + steps * CELL_S) + samples * SAMPLE_S)


def listed_s(matchers: Sequence[Matcher], index: SeriesIndex, series_s: float) -> float:
    """Seconds of CPU to list the series that match, each `series_s`, roughly."""
    series, compared = index.at_most(matchers)
    return series * series_s + compared * COMPARED_S


def _walked(expr: Expr, steps: int) -> tuple[int, int]:
    """Passes over the labels of all series, and ms of all windows of a series together."""
    passes, windows_ms = 1, 0
    stack = [(expr, steps)]
    while stack:
        node, times = stack.pop()
        passes += isinstance(node, Aggregate | Binary | Call)
        if isinstance(node, Subquery):
            step_ms = node.step_ms or SUBQUERY_STEP_MS
            windows_ms += times * node.range_ms * INTERVAL_MS // step_ms
            times = max(times, node.range_ms // step_ms)
        if isinstance(node, MatrixSelector):
            windows_ms += times * node.range_ms
        elif not isinstance(node, VectorSelector):
            stack += [(child, times) for child in children(node)]
    return passes, windows_ms
