"""Reading a tenant's series from data-api-service, a window of the range at a time.

`query_range` answers at most 11,000 points a series; windows also shrink with the number of series,
so that one answer stays a few megabytes of JSON.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis_processing.clients.http import Door
from analysis_processing.errors import Refused
from analysis_processing.frames import Sampled
from analysis_processing.model import Request

WINDOW_STEPS_MAX = 11_000
WINDOW_STEPS_MIN = 50
FIRST_WINDOW_STEPS = 500
ANSWER_POINTS = 200_000
PROMQL = "PromQL "
"""How warnings about the query begin; any other is about missing samples, as of a corrupt block."""


@dataclass(frozen=True, slots=True)
class Window:
    """Steps [first, last] of the range, and what the query had there."""

    first: int
    last: int
    answer: list[Sampled]


def window_steps(series: int | None) -> int:
    """Steps to ask for next, knowing how many series the last window had; None: nothing yet."""
    if series is None:
        return FIRST_WINDOW_STEPS
    return max(WINDOW_STEPS_MIN, min(WINDOW_STEPS_MAX, ANSWER_POINTS // max(series, 1)))


@dataclass(frozen=True, slots=True)
class DataApi:
    """A tenant's view of data-api-service."""

    door: Door

    async def windows(self, request: Request) -> AsyncIterator[Window]:
        """The whole range in order, no step twice; raises Refused or Unreachable."""
        first, series = 0, None
        while first < request.steps:
            last = min(first + window_steps(series), request.steps) - 1
            answer = await self._query_range(request, first, last)
            series = max(series or 0, len(answer))
            yield Window(first, last, answer)
            first = last + 1

    async def _query_range(self, request: Request, first: int, last: int) -> list[Sampled]:
        form = {
            "query": request.query,
            "start": seconds(request.start_ms + first * request.step_ms),
            "end": seconds(request.start_ms + last * request.step_ms),
            "step": seconds(request.step_ms),
        }
        body = await self.door.post("/api/v1/query_range", data=form)
        try:
            said = json.loads(body)
            data = said["data"]
            if data["resultType"] != "matrix":
                raise Refused(
                    service=self.door.service, detail=f"a {data['resultType']}, no matrix"
                )
            partial = [one for one in said.get("warnings", ()) if not one.startswith(PROMQL)]
            if partial:
                raise Refused(service=self.door.service, detail=f"a partial answer: {partial[0]}")
            return [sampled(series) for series in data["result"] if series.get("values")]
        except (ValueError, KeyError, TypeError) as exc:
            shown = body[:80].decode(errors="replace")
            raise Refused(service=self.door.service, detail=f"not a matrix: {shown}") from exc


def sampled(series: dict[str, Any]) -> Sampled:
    """Labels, timestamps in ms and values of one series of a matrix."""
    pairs = series["values"]
    timestamps_ms = np.array([round(at * 1000) for at, _ in pairs], dtype=np.int64)
    values = np.array([float(value) for _, value in pairs], dtype=np.float64)
    return dict(series["metric"]), timestamps_ms, values


def seconds(ms: int) -> str:
    """Milliseconds as Prometheus's decimal seconds, exactly."""
    return f"{ms // 1000}.{ms % 1000:03d}"
