"""Texts of alerts: their templates, with answers to the queries that these ask.

    expand all ─▶ queries without an answer ─ asked at the evaluation's time ─▶ expand again …

Expanding is pure and waits for nothing, so it is done once to learn what is asked. It is a tenant's
program that runs, so never on the event loop.
"""

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import anyio.to_thread

from data_api import gotemplate
from data_api.chassis.kinds import ServiceError
from data_api.gotemplate.errors import CallFailed
from data_api.model import Labels
from data_api.rules.model import AlertingRule, Expand, Vector

ROUNDS_MAX: Final = 3  # of queries that are made of the answers of others
QUERIES_MAX: Final = 50  # of one evaluation of one rule
STEPS_MAX: Final = 1_000_000  # of all texts of one evaluation of one rule: some seconds at most
CHARS_MAX: Final = 2**22  # of the same
LATE: Final = "<error expanding template: no time was left in the evaluation of its rule>"

Ask = Callable[[Sequence[str], int], Awaitable[Sequence[Vector | ServiceError]]]


@dataclass(frozen=True, slots=True)
class Texts:
    """What templates of one rule see besides an alert's labels and value, and what they may do.

    ends_s: when no more texts are expanded (monotonic).
    """

    alert: str
    query: Callable[[str], gotemplate.QueryResult]
    external_labels: Labels = field(default_factory=dict)
    external_url: str = ""
    allowance: gotemplate.Allowance = field(
        default_factory=lambda: gotemplate.Allowance(STEPS_MAX, CHARS_MAX)
    )

    ends_s: float = math.inf

    def expand(self, text: str, labels: Labels, value: float) -> str:
        """The text; what fails is said by it."""
        if time.monotonic() > self.ends_s:
            return LATE
        maps = gotemplate.StringMap(labels), gotemplate.StringMap(self.external_labels)
        data = gotemplate.AlertData(*maps, self.external_url, value)
        return gotemplate.expand_alert(
            text, data, self.query, name=self.alert, allowance=self.allowance
        )


async def prepared(
    rule: AlertingRule,
    vector: Vector,
    at_ms: int,
    *,
    ask: Ask,
    external_url: str,
    external_labels: Labels,
    ends_s: float = math.inf,
) -> Expand:
    """Expands the rule's texts for the series of `vector`; their queries are answered."""
    answers: dict[str, Vector | ServiceError] = {}
    results: dict[str, gotemplate.QueryResult] = {}
    open_queries: dict[str, None] = {}

    def query(text: str) -> gotemplate.QueryResult:
        if text not in answers:
            open_queries[text] = None
            raise CallFailed(f"more than {QUERIES_MAX} queries, or {ROUNDS_MAX} of one another")
        if isinstance(answer := answers[text], ServiceError):
            raise CallFailed(answer.describe())
        if text not in results:
            results[text] = gotemplate.QueryResult.of(answer)
        return results[text]

    texts = Texts(rule.alert, query, external_labels, external_url, ends_s=ends_s)
    asking = [t for t in (*rule.labels.values(), *rule.annotations.values()) if "query" in t]

    def learn() -> None:
        only = replace(texts, allowance=gotemplate.Allowance(STEPS_MAX, CHARS_MAX))
        for labels, value in vector:
            for text in asking:
                only.expand(text, labels, value)

    for _ in range(ROUNDS_MAX if asking else 0):
        await anyio.to_thread.run_sync(learn)
        wanted = list(open_queries)[: QUERIES_MAX - len(answers)]
        open_queries.clear()
        if not wanted:
            break
        answers.update(zip(wanted, await ask(wanted, at_ms), strict=True))
    return texts.expand
