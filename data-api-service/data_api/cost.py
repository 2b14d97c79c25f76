"""What a query will cost before anything is read: its text and the sizes of the index.

    series × (labels × functions that make labels + steps × nodes) + values × regexes

Only its order of magnitude counts: it says which queries are computed in a process of their own
(docs/adr/0036-queries-in-processes.md). A wrong one is neither refused nor answered differently.
"""

from collections.abc import Iterator, Sequence
from typing import Final

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

# Seconds of one CPU, from benchmarks/bench_promql.py and bench_query.py on a slow one.
LABELS_S: Final = 3e-6  # to make or compare the labels of a series
CELL_S: Final = 2e-8  # a value at a step
COMPARED_S: Final = 1e-6  # a label value and a regex
SAMPLE_S: Final = 3e-8  # to read or look at a sample
INTERVAL_MS: Final = 15_000  # between two samples of a series: a guess

LABELED: Final = frozenset(
    {"label_replace", "label_join", "sort_by_label", "sort_by_label_desc", "info"}
)


def expected_s(plans: Sequence[Plan], index: SeriesIndex) -> float:
    """Seconds of CPU that the plans need, roughly."""
    return sum(_one(plan, index) for plan in plans)


def _one(plan: Plan, index: SeriesIndex) -> float:
    start_ms, end_ms, step_ms = plan.question.steps
    steps = 1 + (end_ms - start_ms) // max(step_ms, 1)
    passes, windows_ms = _walked(plan.expr, steps, step_ms)
    widest, seconds = 0, 0.0
    for span in plan.spans:
        series, compared = index.at_most(span.matchers)
        widest = max(widest, series)
        seconds += compared * COMPARED_S
        seconds += series * SAMPLE_S * ((span.end_ms - span.start_ms) / INTERVAL_MS)
    cells = steps * (1 + passes)
    looked_at = windows_ms / INTERVAL_MS
    return seconds + widest * (LABELS_S * (1 + passes) + cells * CELL_S + looked_at * SAMPLE_S)


def _walked(expr: Expr, steps: int, step_ms: int) -> tuple[int, int]:
    """Passes over the labels of all series, and ms of all windows of a series together."""
    passes = windows_ms = 0
    for node, times in _nodes(expr, steps):
        match node:
            case Call(name=name):
                passes += 1 + (name in LABELED)
            case Aggregate() | Binary():
                passes += 1
            case MatrixSelector(range_ms=range_ms):
                windows_ms += times * max(range_ms, step_ms)
    return passes, windows_ms


def _nodes(expr: Expr, steps: int) -> Iterator[tuple[Expr, int]]:
    """Each node, and at how many times it is evaluated."""
    stack = [(expr, steps)]
    while stack:
        node, times = stack.pop()
        yield node, times
        if isinstance(node, Subquery):
            times = max(times, node.range_ms // (node.step_ms or SUBQUERY_STEP_MS))
        if not isinstance(node, MatrixSelector | VectorSelector):
            stack += [(child, times) for child in children(node)]
