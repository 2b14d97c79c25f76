"""Routes that answer GET and form POST alike, with their parameters in the OpenAPI document."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import orjson
from fastapi import APIRouter, Response

from data_api.api.rendering import envelope

F = TypeVar("F", bound=Callable[..., Any])

PARAMETERS: Final = {
    "query": "A PromQL expression.",
    "time": "Evaluation time: float seconds or RFC 3339; default now.",
    "start": "First time, inclusive: float seconds or RFC 3339.",
    "end": "Last time, inclusive: float seconds or RFC 3339.",
    "step": "Resolution: float seconds or a duration such as 1m.",
    "timeout": "Lowers the server's own bound: float seconds or a duration.",
    "lookback_delta": "How old the newest sample may be: float seconds or a duration.",
    "limit": "How many series or names to answer; 0 or absent = all.",
    "match[]": "A series selector; repeatable, a series must match one of them.",
    "metric": "A metric name.",
    "limit_per_metric": "How many descriptions of a metric; there is one.",
    "stats": "Whatever is given: the answer has timings and samples; `all`: samples by step, too.",
    "nocache": "1: the answer is made anew, even where an earlier one would be the same.",
    "resolution": "The step at which an expression is evaluated within a bucket.",
    "state": "active, dropped or any.",
    "scrapePool": "The name of a scrape job.",
    "format": "json (one line a series), csv or arrow.",
    "type": "alert or record.",
    "rule_name[]": "The name of a rule; repeatable.",
    "rule_group[]": "The name of a group; repeatable.",
    "file[]": "A namespace; repeatable.",
    "exclude_alerts": "true leaves out the alerts of rules.",
    "group_limit": "How many groups to answer; 0 or absent = all.",
    "group_next_token": "`groupNextToken` of the page before.",
}
REPEATABLE: Final = frozenset({"match[]", "rule_name[]", "rule_group[]", "file[]"})


def answer(data: Any, status: int = 200) -> Response:
    """Small `data` in Prometheus's envelope."""
    return Response(envelope(orjson.dumps(data)), status, media_type="application/json")


def document(names: tuple[str, ...]) -> dict[str, Any]:
    """The OpenAPI form of query parameters."""
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "description": PARAMETERS[name],
                "required": False,
                "schema": {"type": "array", "items": {"type": "string"}}
                if name in REPEATABLE
                else {"type": "string"},
            }
            for name in names
        ]
    }


def readable(routes: APIRouter, path: str, *names: str, post: bool = True) -> Callable[[F], F]:
    """Registers a route for GET, and for POST with the same parameters as a form."""

    def register(route: F) -> F:
        extra = document(names)
        routes.get(path, openapi_extra=extra)(route)
        if post:
            routes.post(path, openapi_extra=extra)(route)
        return route

    return register
