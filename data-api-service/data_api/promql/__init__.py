"""PromQL: text and sample columns in, columns out; no IO, no clock.

    parse(text) ─▶ needed(…) ─▶ [SelectorSpan] ─ store.load ─▶ loaded ─▶ evaluate(…) ─▶ Result

An instant query is a query of one step. Importing this package does not import numba: the
evaluator and its kernels are loaded by the first `evaluate`, or by `warm_up`
(docs/adr/0005-promql-engine.md).
"""

from threading import Event
from typing import TYPE_CHECKING, Final

from data_api.model import SelectorSpan
from data_api.promql import selectors
from data_api.promql.context import LOOKBACK_MS, Options
from data_api.promql.cursor import QueryTimes
from data_api.promql.errors import EvaluationError, InexactRollup, ParseError
from data_api.promql.functions import ValueType
from data_api.promql.nodes import Expr
from data_api.promql.parser import parse
from data_api.promql.printer import to_text

if TYPE_CHECKING:
    from data_api.promql.evaluator import evaluate

__all__ = [
    "EvaluationError",
    "Expr",
    "InexactRollup",
    "Options",
    "ParseError",
    "QueryTimes",
    "ValueType",
    "evaluate",
    "is_warm",
    "needed",
    "parse",
    "to_text",
    "warm_up",
]


_WARM: Final = Event()


def needed(
    expr: Expr,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    lookback_ms: int = LOOKBACK_MS,
) -> list[SelectorSpan]:
    """Every selector's matchers and time span, each once, known before any IO."""
    step_ms = max(step_ms, 1)
    spans = selectors.spans(expr, start_ms, end_ms, step_ms, lookback_ms)
    return list(dict.fromkeys(spans.values()))


def __getattr__(name: str) -> object:
    """`evaluate`, imported when it is first asked for: numba costs memory that an idle service can
    do without.
    """
    if name != "evaluate":
        raise AttributeError(name)
    from data_api.promql.evaluator import evaluate  # noqa: PLC0415 - as above

    return evaluate


def is_warm() -> bool:
    """Whether kernels are loaded: a query that loads them takes seconds of CPU."""
    return _WARM.is_set()


def warm_up() -> None:
    """Kernels are loaded: the first query does not wait for them."""
    from data_api.promql import evaluator  # noqa: F401, PLC0415 - the import is the effect

    _WARM.set()
