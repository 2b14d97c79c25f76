"""Jobs that write a recording rule's history.

GET    /api/v1/rules/backfills        the tenant's jobs          metrics:read
POST   /api/v1/rules/backfills        starts one                 admin
DELETE /api/v1/rules/backfills/{id}   stops it where it is       admin
"""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from data_api.api.deps import Asked, reader, services
from data_api.api.routing import answer
from data_api.errors import InvalidParameter, NotFound
from data_api.rules.backfill import Job

routes = APIRouter(prefix="/rules/backfills", tags=["rules"], dependencies=[Depends(reader)])


@routes.get("")
async def listed(ask: Asked) -> Response:
    """The jobs of 30 days, the newest first, with their progress."""
    jobs = await services(ask.request).backfills.listed(ask.caller.tenant)
    return answer([_view(job) for job in jobs])


@routes.post("")
async def start(ask: Asked) -> Response:
    """`rule` (YAML of one recording rule) is written from `start` to `end` every `step`."""
    ask.caller.require("admin")
    if not (rule := ask.params.get("rule")):
        raise InvalidParameter(name="rule", reason="it must be the YAML of one recording rule")
    times, tenant = ask.params.times(), ask.caller.tenant
    job = await services(ask.request).backfills.start(tenant, rule, times, ask.now_ms)
    return answer(_view(job), 202)


@routes.delete("/{backfill_id}")
async def cancel(ask: Asked, backfill_id: str) -> Response:
    """The job goes no further; what it wrote stays."""
    ask.caller.require("admin")
    try:
        is_stopped = await services(ask.request).backfills.cancel(
            ask.caller.tenant, UUID(backfill_id)
        )
    except ValueError:
        is_stopped = False
    if not is_stopped:
        raise NotFound(backfill=backfill_id)
    return answer(None, 202)


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
