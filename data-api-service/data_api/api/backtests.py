"""`POST /api/v1/rules/backtest`: when an alerting rule would have fired, drawn from one query."""

from functools import partial
from typing import Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, Depends, Response

from data_api.api.deps import Asked, reader
from data_api.api.rendering import enveloped
from data_api.errors import AnswerTooLarge, InvalidParameter
from data_api.model import QueryLimits, Result
from data_api.promql.numerals import format_sample
from data_api.rules import backtest
from data_api.rules.alerting import Phase
from data_api.rules.model import AlertingRule
from data_api.rules.single import read_rule

routes = APIRouter(tags=["rules"], dependencies=[Depends(reader)])


@routes.post("/rules/backtest")
async def backtest_rule(ask: Asked) -> Response:
    """The alerts of `rule` (YAML of one alerting rule), evaluated from `start` to `end` every
    `step`, with the intervals in which each was pending and firing. It is one query to the limits.
    """
    if not (text := ask.params.get("rule")):
        raise InvalidParameter(name="rule", reason="it must be the YAML of one alerting rule")
    start_ms, end_ms, step_ms = ask.params.steps()
    rule = await anyio.to_thread.run_sync(read_rule, text, AlertingRule)
    opened = ask.engine.query(
        *ask.who,
        rule.expr,
        backtest.steps(rule, start_ms, end_ms, step_ms),
        partial(_answer, rule, start_ms),
        timeout_s=ask.params.timeout_s(),
    )
    return ask.held(opened)


def _answer(rule: AlertingRule, start_ms: int, result: Result, limits: QueryLimits) -> list[bytes]:
    alerts = [_alert(one) for one in backtest.histories(rule, result, start_ms, limits)]
    data = orjson.dumps({"alert": rule.alert, "alerts": alerts})
    if len(data) > limits.answer_bytes_max:
        raise AnswerTooLarge(bytes=len(data), limit=limits.answer_bytes_max)
    return enveloped([data], result.warnings, result.infos)


def _alert(history: backtest.History) -> dict[str, Any]:
    firing_ms = sum(
        one.end_ms - one.start_ms for one in history.intervals if one.phase is Phase.FIRING
    )
    return {
        "labels": dict(history.labels),
        "annotations": dict(history.annotations),
        "firingSeconds": firing_ms / 1000,
        "intervals": [
            {
                "state": str(one.phase),
                "start": one.start_ms / 1000,
                "end": one.end_ms / 1000,
                "value": format_sample(one.value),
            }
            for one in history.intervals
        ],
    }
