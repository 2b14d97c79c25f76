"""Acting for a tenant: its expressions are answered by an engine of this process, within its plan's
limits, and its samples are written by data-ingest-service, as any sender's are.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import anyio.to_thread
import httpx
import jwt

from data_api.chassis.identity import IdentityClient, IdentityUnavailable, Limits
from data_api.chassis.kinds import ServiceError
from data_api.engine import Engine
from data_api.errors import NotWritten, QueryError, QueryTimeout, SamplesHeld, StoreError
from data_api.model import InstantVector, QueryLimits, Result
from data_api.questions import Question, Render
from data_api.rules import remote_write, vectors
from data_api.rules.alerting import RuleError
from data_api.rules.evaluation import Answer
from data_api.rules.model import Sample, Vector

T = TypeVar("T")
PROMQL: Final = "PromQL "
"""How warnings about the expression begin; any other is about samples that could not be read."""
REQUEST_TIMEOUT_S: Final = 5.0
BACK_OFF_S: Final = 0.25
BACK_OFF_MAX_S: Final = 4.0
NO_ANSWER: Final = 0
REFUSED_IN_PART: Final = 400  # what is right of a request is stored
TOO_FAST: Final = 429  # for the tenant's plan: a matter of seconds, or of its money
AWAY: Final = frozenset({NO_ANSWER, 502, 503, 504})
AWAY_S: Final = 10.0
"""So long nobody waits for data-ingest-service again, once a write waited for it in vain; then one
request shows whether it is back. Else every evaluation would wait, and alerts come late.
"""
ERROR_CHARACTERS_MAX: Final = 300
TENANTS_MAX: Final = 10_000  # whose limits are remembered
STAGE_RULES_SERIES: Final = 10  # times the series of a rule: what the answers of a stage may have


@dataclass(frozen=True, slots=True)
class Acting:
    """What evaluations of all tenants share. http: the way to data-ingest-service. away: until when
    (monotonic) it is not asked, by whoever waited in vain: a tenant, or all when it gave no answer.
    """

    engine: Engine
    identity: IdentityClient
    http: httpx.AsyncClient
    dis_url: str
    limits: dict[UUID, Limits]
    series_max: int = 10_000  # of one answer
    away: dict[UUID | None, float] = field(default_factory=dict)

    async def ask(
        self, tenant: UUID, expressions: Sequence[str], at_ms: int, ends_s: float
    ) -> Sequence[Answer]:
        """Each expression's answer at `at_ms`, or its error; at `ends_s` (monotonic) at the latest.

        They are one query. One that loads too much for its tenant spoils no other.
        """
        try:
            plan = await self.plan(tenant)
            return await self._together(tenant, plan, expressions, at_ms, ends_s)
        except ServiceError as exc:
            is_one_rules_fault = isinstance(exc, QueryError | SamplesHeld | StoreError)
            if len(expressions) == 1 or not is_one_rules_fault:
                return [Answer(exc)] * len(expressions)
        answers: list[Answer] = []
        for expression in expressions:
            answers += await self.ask(tenant, [expression], at_ms, ends_s)
        return answers

    async def over(
        self,
        tenant: UUID,
        expression: str,
        steps: tuple[int, int, int],
        render: Render[Result, T],
        ends_s: float,
    ) -> T:
        """What `render` makes of the expression over `steps` = (start, end, step) in ms."""
        plan = await self.plan(tenant)
        left_s = max(0.001, ends_s - time.monotonic())
        async with self.engine.query(
            tenant, plan, expression, steps, render, timeout_s=left_s
        ) as made:
            return made

    async def write(
        self, tenant: UUID, samples: Sequence[Sample], ends_s: float, *, waits: bool = True
    ) -> None:
        """The samples are durable; tried again, until `ends_s`, where that may help. Without
        `waits` that is so only if dis was not away lately.

        Raises NotWritten and IdentityUnavailable. Of samples that are refused for what they are,
        the others are written, and it is raised at the end.
        """
        refused = ""
        bodies = remote_write.requests(samples)
        while body := await anyio.to_thread.run_sync(next, bodies, b""):
            refused = await self._deliver(tenant, body, ends_s, waits=waits) or refused
        if refused:
            raise NotWritten(detail=refused)

    async def _deliver(self, tenant: UUID, body: bytes, ends_s: float, *, waits: bool) -> str:
        """Why dis refused some of it; "" when it took all. Raises NotWritten where it took none."""
        began_s, pause_s = time.monotonic(), BACK_OFF_S
        until_s = None if waits else self.away.get(None, self.away.get(tenant))
        if until_s is not None and began_s < until_s:
            raise NotWritten(detail="it was away a moment ago")
        status, trouble = None, "there was no time left"
        while time.monotonic() < ends_s:
            status, trouble = await self._send(tenant, body)
            if status != NO_ANSWER:
                self.away.pop(None, None)
            if status not in AWAY and status != TOO_FAST:
                self.away.pop(tenant, None)
                if trouble and status != REFUSED_IN_PART:
                    break
                return trouble
            if until_s is not None:
                break
            if status == TOO_FAST:
                ends_s = min(ends_s, began_s + BACK_OFF_MAX_S)
            await asyncio.sleep(min(pause_s, max(0.0, ends_s - time.monotonic())))
            pause_s = min(2 * pause_s, BACK_OFF_MAX_S)
        now_s = time.monotonic()
        if status in AWAY and (until_s is not None or now_s - began_s >= BACK_OFF_MAX_S):
            if len(self.away) >= TENANTS_MAX:
                self.away.clear()
            self.away[None if status == NO_ANSWER else tenant] = now_s + AWAY_S
        raise NotWritten(detail=trouble)

    async def _send(self, tenant: UUID, body: bytes) -> tuple[int, str]:
        """The status, or NO_ANSWER, and what was wrong; "" when it was taken."""
        token = await self._token(tenant)
        headers = {**remote_write.HEADERS, "Authorization": f"Bearer {token}"}
        url = f"{self.dis_url.rstrip('/')}/api/v1/write"
        try:
            answer = await self.http.post(
                url, content=body, headers=headers, timeout=REQUEST_TIMEOUT_S
            )
        except httpx.TransportError as exc:
            return NO_ANSWER, type(exc).__name__
        if answer.is_success:
            return answer.status_code, ""
        return answer.status_code, f"{answer.status_code} {answer.text[:ERROR_CHARACTERS_MAX]}"

    async def _token(self, tenant: UUID) -> str:
        return await self.identity.service_token_for(tenant, "dis", ["metrics:write"])

    async def plan(self, tenant: UUID) -> Limits:
        """Of the tenant's plan, which tokens carry; the last ones while ubs does not answer."""
        try:
            token = await self._token(tenant)
        except IdentityUnavailable:
            if tenant not in self.limits:
                raise
            return self.limits[tenant]
        # ubs handed it over itself: whose it is needs no proof.
        claims = jwt.decode(token, options={"verify_signature": False})
        if tenant not in self.limits and len(self.limits) >= TENANTS_MAX:
            self.limits.clear()
        limits = self.limits[tenant] = Limits.from_json(claims.get("limits"))
        return limits

    async def _together(
        self, tenant: UUID, plan: Limits, expressions: Sequence[str], at_ms: int, ends_s: float
    ) -> Sequence[Answer]:
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            raise QueryTimeout(timeout_s=0)
        lookback_ms = self.engine.limits.lookback_ms
        questions = [Question(text, (at_ms, at_ms, 0), lookback_ms) for text in expressions]
        render = partial(_answers, self.series_max)
        opened = self.engine.queries(tenant, plan, questions, render, left_s)
        async with opened as answers:
            return answers


def _answers(
    series_max: int, results: Iterator[Result | ServiceError], limits: QueryLimits
) -> tuple[Answer, ...]:
    """Each result as a vector, with the time that its evaluation took; loading is everybody's.

    One of more than `series_max` is an error, and so is what is beyond STAGE_RULES_SERIES times as
    many in all.
    """
    answers, left = [], STAGE_RULES_SERIES * series_max
    began_s = time.perf_counter()
    for result in results:
        limits.checkpoint()
        try:
            vector: Vector | ServiceError = _vector(result, min(left, series_max))
        except RuleError as exc:
            vector = exc
        else:
            left -= 0 if isinstance(vector, ServiceError) else len(vector)
        now_s = time.perf_counter()
        answers.append(Answer(vector, now_s - began_s))
        began_s = now_s
    return tuple(answers)


def _vector(result: Result | ServiceError, series_max: int) -> Vector | ServiceError:
    """Raises RuleError for what no rule can use, and where samples could not be read: an alert must
    not end because a block is corrupt.
    """
    if isinstance(result, ServiceError):
        return result
    if partial := [one for one in result.warnings if not one.startswith(PROMQL)]:
        raise RuleError(reason=f"not all samples could be read: {partial[0]}")
    if isinstance(result.value, InstantVector) and len(result.value.labels) > series_max:
        number = len(result.value.labels)
        raise RuleError(reason=f"exceeded limit of {series_max} with {number} series")
    return vectors.of_instant(result)
