"""Reading a tenant's series from data-api-service (das) as Arrow, straight into a job's block.

    first window ─▶ how many series ─▶ windows of about ANSWER_POINTS, READERS at once ─▶ Grid

Beside the block there are a few answers in memory, whatever the range. A window that das finds too
large is asked for again at half its length, as are all later ones: how many samples stand behind a
point only das knows.
"""

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import anyio.to_thread
import numpy as np
import pyarrow as pa

from analysis_processing.clients.http import Door
from analysis_processing.clients.together import together
from analysis_processing.errors import Refused, Unreachable
from analysis_processing.frames import F64, Grid
from analysis_processing.model import Labels, Request

ANSWER_POINTS = 4_000_000
"""32 MiB of values; das answers at most 128 MiB by default."""
FIRST_WINDOW_STEPS = 512
WINDOW_STEPS_MIN = 8
READERS = 3
TOO_MUCH = frozenset({413, 422})
PROMQL = "PromQL "
"""How warnings about the query begin; any other is about missing samples, as of a corrupt block."""

END = b"\xff\xff\xff\xff\0\0\0\0"
"""Ends an Arrow stream; without it, what came last may be any batch."""
Batch = tuple[list[Labels], F64]
"""Some series of an answer, and their values (series, steps)."""


def window_steps(series: int) -> int:
    """Steps to ask for next, with so many series so far; 0: nothing was asked yet."""
    if series == 0:
        return FIRST_WINDOW_STEPS
    return max(WINDOW_STEPS_MIN, ANSWER_POINTS // series)


@dataclass(frozen=True, slots=True)
class DataApi:
    """A tenant's view of data-api-service."""

    door: Door

    async def read(
        self, request: Request, grid: Grid, report: Callable[[int], Awaitable[None]]
    ) -> None:
        """The whole range stands in the grid; `report` is given the steps read so far.

        Raises Refused or Unreachable, and what the grid raises.
        """
        asked_for = steps_read = 0
        largest = request.steps

        async def read_next() -> None:
            nonlocal asked_for, largest, steps_read
            first = asked_for
            steps = min(window_steps(len(grid.rows)), largest)
            last = asked_for = min(first + steps, request.steps)
            while first < last:
                steps = min(largest, last - first)
                try:
                    await self._window(request, grid, first, steps)
                except Refused as error:
                    if error.facts.get("status") not in TOO_MUCH or steps <= WINDOW_STEPS_MIN:
                        raise
                    largest = min(largest, steps // 2)
                else:
                    first += steps
                    steps_read += steps
                    await report(steps_read)

        async def read_all() -> None:
            while asked_for < request.steps:
                await read_next()

        await read_next()
        await together([read_all] * READERS)

    async def types(self) -> dict[str, str]:
        """The types of the tenant's metrics by name, `counter` among them, where das has them."""
        try:
            data = json.loads(await self.door.get("/api/v1/metadata"))["data"]
            return {str(name): str(entries[0]["type"]) for name, entries in data.items()}
        except (Refused, ValueError, KeyError, IndexError, TypeError, AttributeError):
            return {}

    async def _window(self, request: Request, grid: Grid, first: int, steps: int) -> None:
        def pour(batches: Iterator[Batch]) -> None:
            for labels, values in batches:
                grid.add(first, labels, values)

        start_ms = request.start_ms + first * request.step_ms
        batches = await matrix(self.door, request.query, start_ms, request.step_ms, steps)
        await anyio.to_thread.run_sync(pour, batches)


async def matrix(das: Door, query: str, start_ms: int, step_ms: int, steps: int) -> Iterator[Batch]:
    """The answer to a range query in batches, NaN where there is no sample; read as it is used.

    Raises Refused, also for what is no whole matrix of these steps, or Unreachable, also for an
    answer that was cut off.
    """
    form = {
        "query": query,
        "start": seconds(start_ms),
        "end": seconds(start_ms + (steps - 1) * step_ms),
        "step": seconds(step_ms),
    }
    body = await das.post("/api/v1/query_range_arrow", data=form)

    def refusal(detail: str) -> Refused:
        return Refused(service=das.service, detail=detail)

    def batches() -> Iterator[Batch]:
        try:
            with pa.ipc.open_stream(body) as stream:
                facts = {key: value.decode() for key, value in stream.schema.metadata.items()}
                if not body.endswith(END):
                    raise Unreachable(service=das.service, detail="its answer was cut off")
                if (int(facts[b"start_ms"]), int(facts[b"steps"])) != (start_ms, steps):
                    raise refusal("other steps than those asked for")
                for warning in json.loads(facts.get(b"warnings", "[]")):
                    if not warning.startswith(PROMQL):
                        raise refusal(f"a partial answer: {warning}")
                for batch in stream:
                    labels = [dict(pairs) for pairs in batch.column("metric").to_pylist()]
                    flat = batch.column("values").flatten().to_numpy(zero_copy_only=False)
                    yield labels, flat.astype(np.float64, copy=False).reshape(len(labels), steps)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise refusal(f"not a matrix: {body[:80].decode(errors='replace')}") from exc

    return batches()


def seconds(ms: int) -> str:
    """Milliseconds as Prometheus's decimal seconds, exactly."""
    return f"{ms // 1000}.{ms % 1000:03d}"
