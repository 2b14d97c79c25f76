"""Jobs that write a recording rule's history.

GET    /api/v1/rules/backfills        the tenant's jobs          metrics:read
POST   /api/v1/rules/backfills        starts one                 admin
DELETE /api/v1/rules/backfills/{id}   stops it where it is       admin
"""

from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Request, Response

from data_api.api.deps import Caller, NowMs, Query, Services, reader
from data_api.api.rendering import envelope
from data_api.errors import InvalidParameter, NotFound
from data_api.rules.backfill import Backfills, Job

routes = APIRouter(prefix="/rules/backfills", tags=["rules"], dependencies=[Depends(reader)])


def _backfills(request: Request) -> Backfills:
    services: Services = request.app.state.services
    return services.backfills


@routes.get("")
async def jobs(request: Request, caller: Caller) -> Response:
    """The jobs of 30 days, the newest first, with their progress."""
    listed = await _backfills(request).listed(caller.tenant)
    return _answer([_view(job) for job in listed])


@routes.post("")
async def start(request: Request, caller: Caller, params: Query, now_ms: NowMs) -> Response:
    """`rule` (YAML of one recording rule) is written from `start` to `end` every `step`."""
    caller.require("admin")
    if not (rule := params.get("rule")):
        raise InvalidParameter(name="rule", reason="it must be the YAML of one recording rule")
    times = params.times()
    return _answer(_view(await _backfills(request).start(caller.tenant, rule, times, now_ms)), 202)


@routes.delete("/{backfill_id}")
async def cancel(request: Request, backfill_id: str, caller: Caller) -> Response:
    """The job goes no further; what it wrote stays."""
    caller.require("admin")
    try:
        is_stopped = await _backfills(request).cancel(caller.tenant, UUID(backfill_id))
    except ValueError:
        is_stopped = False
    if not is_stopped:
        raise NotFound(backfill=backfill_id)
    return _answer(None, 202)


def _view(job: Job) -> dict[str, Any]:
    return {
        "id": str(job.backfill_id),
        "record": job.record,
        "rule": job.rule,
        "start": job.start_ms / 1000,
        "end": job.end_ms / 1000,
        "step": job.step_ms / 1000,
        "status": job.status,
        "progress": job.progress,
        "samples": job.samples,
        "error": job.error,
    }


def _answer(data: Any, status: int = 200) -> Response:
    return Response(envelope(orjson.dumps(data)), status, media_type="application/json")
