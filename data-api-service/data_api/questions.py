"""What is asked: texts, their trees, the samples that they need, and how they are answered.

`computed` and `listed` are all of a query but its admission: functions of a module, so that a
worker process can be told to do the same.
"""

import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from data_api import promql
from data_api.chassis.kinds import ServiceError
from data_api.errors import BadRequest, QueryError, TooManyMatchers
from data_api.model import Loaded, Matcher, QueryLimits, Result, SelectorSpan
from data_api.promql.nodes import VectorSelector
from data_api.promql.values import stopping_at
from data_api.store.answers import AnswerKey
from data_api.store.reader import MatcherSets, Store

T = TypeVar("T")
A = TypeVar("A")
Render = Callable[[A, QueryLimits], T]
"""Makes the answer of what was read, in the same thread; obeys the limits' checkpoint and bytes."""
Find = Callable[[MatcherSets, QueryLimits], Awaitable[list[A]]]
PARSED_KEPT: Final = 1024  # trees of recent queries
PARSED_CHARS_MAX: Final = 2048  # of a text whose tree is kept
LOOP_CHARS_MAX: Final = 512  # of all texts of a query that the event loop parses: some 10 ms
MATCHERS_MAX: Final = 256  # of one selector: two for each label that a series may have
WARNINGS_MAX: Final = 10
_REPEATING: Final = re.compile(r"\{\d|\\[pPxuU0-7]")  # or an escape of such characters
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
    check_matchers(expr.matchers)
    return expr.matchers


def may_be_large(text: str) -> bool:
    """Whether a short text may name a regex that takes long to compile."""
    return _REPEATING.search(text) is not None


def check_matchers(matchers: Sequence[Matcher]) -> None:
    """A selector has at most MATCHERS_MAX; raises TooManyMatchers."""
    if len(matchers) > MATCHERS_MAX:
        raise TooManyMatchers(needed=len(matchers), limit=MATCHERS_MAX)


@dataclass(frozen=True, slots=True)
class Text(Generic[T]):
    """Texts from a client, of `chars` characters, and what makes a tree or matchers of them."""

    chars: int
    parse: Callable[[], T]
    texts: Sequence[str] = ()

    async def parsed(self, limits: QueryLimits) -> T:
        """The tree or the matchers; a long text does not hold up the event loop."""
        if self.chars <= LOOP_CHARS_MAX and not any(map(may_be_large, self.texts)):
            return self.parse()

        def parsed() -> T:
            with stopping_at(limits.checkpoint):
                return self.parse()

        return await limits.run(parsed)


@dataclass(frozen=True, slots=True)
class Selectors(Text[MatcherSets]):
    """The selectors of `match[]`."""

    def spans(self, start_ms: int, end_ms: int) -> Text[Sequence[SelectorSpan]]:
        """What each of them selects in [start_ms, end_ms]."""
        return Text(
            self.chars,
            lambda: [SelectorSpan(tuple(one), start_ms - 1, end_ms) for one in self.parse()],
            self.texts,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """A query and its times: (start, end, step) in ms, the end inclusive; a step of 0 asks for the
    value at one time. counts_samples: the result has stats. is_new: no earlier answer will do.
    """

    text: str
    steps: tuple[int, int, int]
    lookback_ms: int
    counts_samples: bool = False
    is_new: bool = False

    def planned(self) -> "Plan":
        """Its tree, and the samples that its selectors need."""
        begun_s = time.monotonic()
        start_ms, end_ms, step_ms = self.steps
        times = promql.QueryTimes(step_ms, end_ms - start_ms)
        expr = parse(self.text, times)
        spans = promql.needed(expr, *self.steps, self.lookback_ms)
        for span in spans:
            check_matchers(span.matchers)
        return Plan(self, expr, spans, begun_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """A question that was read; `begun_s` is when that began, on the monotonic clock."""

    question: Question
    expr: promql.Expr
    spans: Sequence[SelectorSpan]
    begun_s: float = 0.0

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


def planned(
    questions: Sequence[Question], limits: QueryLimits
) -> list[Plan | BadRequest | QueryError]:
    """The plan of each question; its error where the text cannot be read or names too much."""
    plans: list[Plan | BadRequest | QueryError] = []
    for question in questions:
        limits.checkpoint()
        try:
            plans.append(question.planned())
        except (BadRequest, QueryError) as exc:
            plans.append(exc)
    return plans


def answered(
    plan: Plan | BadRequest | QueryError,
    loaded: Mapping[SelectorSpan, Loaded],
    limits: QueryLimits,
    partly: Sequence[str],
) -> Result | ServiceError:
    """What is answered to one of several; its error where it cannot be."""
    if not isinstance(plan, Plan):
        return plan
    try:
        return plan.evaluated(loaded, limits, partly)
    except (BadRequest, QueryError) as exc:
        return exc


async def computed(
    store: Store,
    tenant: UUID,
    questions: Sequence[Question],
    render: Render[Iterator[Result | ServiceError], T],
    limits: QueryLimits,
) -> T:
    """What `render` makes of the answers; samples that several of them need are loaded once."""
    texts = [question.text for question in questions]
    plans = await Text(sum(map(len, texts)), partial(planned, questions, limits), texts).parsed(
        limits
    )
    spans = [s for one in plans if isinstance(one, Plan) for s in one.spans]
    is_new = any(question.is_new or question.counts_samples for question in questions)
    bounds = limits.samples_max, limits.answer_bytes_max
    key = AnswerKey((tenant, tuple(questions), bounds), render)

    async def answer(wanted: Mapping[SelectorSpan, SelectorSpan]) -> T:
        partly: list[str] = []
        needed = [*dict.fromkeys(wanted.values())]
        opened = await store.opened(tenant, needed, replace(limits, warn=partly.append))
        again: Any = None if is_new else store.answers.again(key, opened.made_of, limits.cost)
        if again is not None:
            return again  # type: ignore[no-any-return] # what `render` made
        is_whole = True

        def answers(samples: Sequence[Loaded]) -> Iterator[Result | ServiceError]:
            nonlocal is_whole
            of = dict(zip(needed, samples, strict=True))
            loaded = {span: of[wanted[span]] for span in spans}
            for one in plans:
                result = answered(one, loaded, limits, partly)
                is_whole &= not isinstance(result, ServiceError)
                yield result

        def evaluated() -> T:
            samples = opened.load()
            limits.cost.series = sum(len(columns.labels) for columns in samples)
            limits.cost.samples = sum(columns.samples for columns in samples)
            return render(answers(samples), limits)

        made = await limits.run(evaluated)  # one change of threads, not one for each step
        if is_whole and not partly and not is_new:
            store.answers.keep(key, opened.made_of, made, limits.cost)
        return made

    with contextlib.suppress(promql.InexactRollup):
        return await answer({span: span for span in spans})
    return await answer({span: replace(span, rolled=None) for span in spans})


def first(
    render: Render[Result, T], results: Iterator[Result | ServiceError], limits: QueryLimits
) -> T:
    """What `render` makes of the only answer; raises the error that it is."""
    result = next(results)
    if isinstance(result, ServiceError):
        raise result
    return render(result, limits)


async def listed(
    selectors: Selectors, find: Find[A], render: Render[list[A], T], limits: QueryLimits
) -> T:
    """What `render` makes of the names or series that `find` reads from the store."""
    names = await find(await selectors.parsed(limits), limits)
    limits.cost.series = len(names)
    return await limits.run(partial(render, names, limits))


def shortened(warnings: Sequence[str]) -> list[str]:
    """Each of them once, at most WARNINGS_MAX, and how many more there are."""
    once = list(dict.fromkeys(warnings))
    more = len(once) - WARNINGS_MAX
    return [*once[:WARNINGS_MAX], f"and {more} more like these"] if more > 0 else once
