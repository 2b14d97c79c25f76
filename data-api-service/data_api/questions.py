"""What is asked: texts, their trees, and the samples that they need."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final, Generic, TypeVar

from data_api import promql
from data_api.chassis.kinds import ServiceError
from data_api.errors import BadRequest, QueryError
from data_api.model import Loaded, Matcher, QueryLimits, Result, SelectorSpan
from data_api.promql.nodes import VectorSelector
from data_api.store.reader import MatcherSets

T = TypeVar("T")
PARSED_KEPT: Final = 1024  # trees of recent queries
PARSED_CHARS_MAX: Final = 2048  # of a text whose tree is kept, and that the event loop may parse
WARNINGS_MAX: Final = 10
_OF_TIMES: Final = re.compile(r"(?i)\b(?:step|range)\b")


_parse_short: Final = lru_cache(maxsize=PARSED_KEPT)(promql.parse)


def parse(text: str, times: promql.QueryTimes | None = None) -> promql.Expr:
    """The tree of a query; trees are frozen, so dashboards that repeat themselves share one.

    times: of the query, which only a duration such as `step()` depends on.
    """
    if _OF_TIMES.search(text) is None:
        times = None
    parsed = _parse_short if len(text) <= PARSED_CHARS_MAX else promql.parse
    return parsed(text, times)


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """The matchers of `name{…}`, as `match[]` takes it; any other expression is a ParseError."""
    expr = parse(text)
    if not isinstance(expr, VectorSelector) or expr.offset_ms or expr.at is not None:
        raise promql.ParseError(reason="expected a metric selector", where="1:1: ")
    return expr.matchers


@dataclass(frozen=True, slots=True)
class Text(Generic[T]):
    """A text of `chars` characters from a client, and what makes a tree or matchers of it."""

    chars: int
    parse: Callable[[], T]

    async def parsed(self, limits: QueryLimits) -> T:
        """The tree or the matchers; a long text does not hold up the event loop."""
        return self.parse() if self.chars <= PARSED_CHARS_MAX else await limits.run(self.parse)


@dataclass(frozen=True, slots=True)
class Selectors(Text[MatcherSets]):
    """The selectors of `match[]`."""

    def spans(self, start_ms: int, end_ms: int) -> Text[Sequence[SelectorSpan]]:
        """What each of them selects in [start_ms, end_ms]."""
        return Text(
            self.chars,
            lambda: [SelectorSpan(tuple(one), start_ms - 1, end_ms) for one in self.parse()],
        )


@dataclass(frozen=True, slots=True)
class Question:
    """A query and its times: (start, end, step) in ms, the end inclusive; a step of 0 asks for the
    value at one time. counts_samples: the result has stats.
    """

    text: str
    steps: tuple[int, int, int]
    lookback_ms: int
    counts_samples: bool = False

    async def planned(self, limits: QueryLimits) -> "Plan":
        """Its tree, and the samples that its selectors need."""
        begun_s = time.monotonic()
        start_ms, end_ms, step_ms = self.steps
        times = promql.QueryTimes(step_ms, end_ms - start_ms)
        expr = await Text(len(self.text), partial(parse, self.text, times)).parsed(limits)
        spans = promql.needed(expr, *self.steps, self.lookback_ms)
        return Plan(self, expr, spans, begun_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """A question that was read; `begun_s` is when that began, on the monotonic clock."""

    question: Question
    expr: promql.Expr
    spans: Sequence[SelectorSpan]
    begun_s: float

    def evaluated(
        self, loaded: Mapping[SelectorSpan, Loaded], limits: QueryLimits, partly: Sequence[str]
    ) -> Result:
        """Its values; `partly` says why what was loaded is not all."""
        loaded_s = time.monotonic()
        start_ms, end_ms, step_ms = self.question.steps
        result = promql.evaluate(
            self.expr,
            {span: loaded[span] for span in self.spans},
            start_ms,
            end_ms,
            max(step_ms, 1),
            self.question.lookback_ms,
            limits,
            promql.Options(counts_samples=self.question.counts_samples),
            text=self.question.text,
            instant=step_ms == 0,
        )
        if (stats := result.stats) is not None:
            stats = replace(
                stats,
                begun_s=self.begun_s,
                loaded_s=loaded_s,
                evaluated_s=time.monotonic(),
            )
        warnings = (*result.warnings, *shortened(partly))
        return replace(result, warnings=warnings, stats=stats)


async def planned(question: Question, limits: QueryLimits) -> Plan | BadRequest:
    """The plan of a question; its error where the text cannot be read."""
    try:
        return await question.planned(limits)
    except BadRequest as exc:
        return exc


def answered(
    plan: Plan | BadRequest,
    loaded: Mapping[SelectorSpan, Loaded],
    limits: QueryLimits,
    partly: Sequence[str],
) -> Result | ServiceError:
    """What is answered to one of several; its error where it cannot be."""
    if isinstance(plan, BadRequest):
        return plan
    try:
        return plan.evaluated(loaded, limits, partly)
    except (BadRequest, QueryError) as exc:
        return exc


def shortened(warnings: Sequence[str]) -> list[str]:
    """Each of them once, at most WARNINGS_MAX, and how many more there are."""
    once = list(dict.fromkeys(warnings))
    more = len(once) - WARNINGS_MAX
    return [*once[:WARNINGS_MAX], f"and {more} more like these"] if more > 0 else once
