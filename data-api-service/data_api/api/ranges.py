"""Several range queries in one request: what a page of charts asks at each refresh.

A request costs a browser more than most of its queries cost this service, and queries of one page
read much the same samples: they are loaded once.
"""

from itertools import starmap
from typing import Final

from fastapi import APIRouter, Depends, Response

from data_api.api.deps import Asked, reader
from data_api.api.params import Params
from data_api.api.rendering import ranges_answer
from data_api.errors import BadRequest
from data_api.questions import Question

QUERIES_MAX: Final = 64  # queries of one request

routes = APIRouter(tags=["prometheus"], dependencies=[Depends(reader)])


@routes.post("/query_ranges")
async def range_queries(ask: Asked) -> Response:
    """What query_range answers to each `query`, in the order asked; `start`, `end` and `step` are
    repeated, one of each for a query. One that fails has its own error, beside the others' data.
    """
    questions = _questions(ask.params, ask.engine.limits.lookback_ms)
    return ask.held(ask.engine.queries(*ask.who, questions, ranges_answer))


def _questions(params: Params, lookback_ms: int) -> list[Question]:
    texts, *bounds = (params.all(name) for name in ("query", "start", "end", "step"))
    if not texts or any(len(bound) != len(texts) for bound in bounds):
        raise BadRequest(detail="each query needs a start, an end and a step")
    if len(texts) > QUERIES_MAX:
        raise BadRequest(detail="too many queries in one request", limit=QUERIES_MAX)

    def question(text: str, start: str, end: str, step: str) -> Question:
        steps = Params([("start", start), ("end", end), ("step", step)]).steps()
        return Question(text, steps, lookback_ms)

    return list(starmap(question, zip(texts, *bounds, strict=True)))
