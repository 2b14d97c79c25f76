"""PromQL: text and sample columns in, columns out; no IO, no clock.

    parse(text) ─▶ needed(…) ─▶ [SelectorSpan] ─ store.load ─▶ loaded ─▶ evaluate(…) ─▶ Result

An instant query is a query of one step. Importing this package does not import numba: the
evaluator and its kernels are loaded by the first `evaluate`, or by `warm_up`
(docs/adr/0005-promql-engine.md).
"""

from collections.abc import Mapping
from threading import Event
from typing import Final

from data_api.model import Loaded, QueryLimits, Result, SelectorSpan
from data_api.promql import selectors
from data_api.promql.context import LOOKBACK_MS, Options
from data_api.promql.cursor import QueryTimes
from data_api.promql.errors import InexactRollup, ParseError, UnsupportedFeature
from data_api.promql.functions import ValueType
from data_api.promql.nodes import Expr
from data_api.promql.parser import parse
from data_api.promql.printer import to_text

__all__ = [
    "Expr",
    "InexactRollup",
    "Options",
    "ParseError",
    "QueryTimes",
    "UnsupportedFeature",
    "ValueType",
    "evaluate",
    "is_warm",
    "needed",
    "parse",
    "to_text",
    "warm_up",
]


_WARM: Final = Event()


def needed(  # noqa: PLR0917 - times in the order that all of Prometheus uses
    expr: Expr,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    lookback_ms: int = LOOKBACK_MS,
    options: Options = Options(),  # noqa: B008 - frozen
) -> list[SelectorSpan]:
    """Every selector's matchers and time span, each once, known before any IO."""
    step_ms = max(step_ms, 1)
    spans = selectors.spans(expr, start_ms, end_ms, step_ms, lookback_ms, options.subquery_step_ms)
    return list(dict.fromkeys(spans.values()))


def evaluate(  # noqa: PLR0917 - as `needed`
    expr: Expr,
    loaded: Mapping[SelectorSpan, Loaded],
    start_ms: int,
    end_ms: int,
    step_ms: int,
    lookback_ms: int = LOOKBACK_MS,
    limits: QueryLimits = QueryLimits(),  # noqa: B008 - frozen
    options: Options = Options(),  # noqa: B008 - frozen
    *,
    text: str = "",
    instant: bool = False,
) -> Result:
    """The value of `expr` at `start_ms`, `start_ms + step_ms`, … up to `end_ms`.

    expr: as `parse` made it (places in the text tell its selectors apart). loaded: the samples of
    each span of `needed` for the same times. text: the query as written, for the line and column of
    warnings. instant: one step, answered as Scalar, String, InstantVector or Columns; otherwise the
    answer is a RangeMatrix with rows ordered by labels.
    Raises EvaluationError, TooManySamples, and InexactRollup where `loaded` has buckets.
    """
    from data_api.promql import evaluator  # noqa: PLC0415 - numba costs memory that an idle service can do without

    return evaluator.evaluate(
        text,
        expr,
        loaded,
        start_ms,
        end_ms,
        step_ms,
        lookback_ms,
        limits,
        options,
        instant=instant,
    )


def is_warm() -> bool:
    """Whether kernels are loaded: a query that loads them takes seconds of CPU."""
    return _WARM.is_set()


def warm_up() -> None:
    """Kernels are loaded: the first query does not wait for them."""
    from data_api.promql import evaluator  # noqa: F401, PLC0415 - the import is the effect

    _WARM.set()
