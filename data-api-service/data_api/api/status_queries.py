"""What the caller's queries are doing and have cost: to find the panel that is too dear."""

import orjson
from fastapi import APIRouter, Depends, Response

from data_api.api.deps import Caller, EngineDep, reader
from data_api.api.rendering import envelope
from data_api.api.routing import readable

routes = APIRouter(tags=["status"], dependencies=[Depends(reader)])


@readable(routes, "/status/queries", post=False)
async def status_queries(caller: Caller, engine: EngineDep) -> Response:
    """The caller's own queries of this process since its start: `active`, `costliest` by CPU,
    `slow` (1 s and more) and `failed`, at most 20 of each list, texts to 1,024 characters.
    """
    body = envelope(orjson.dumps(engine.log.shown(caller.tenant)))
    return Response(body, media_type="application/json")
