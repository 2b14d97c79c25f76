"""Background work of the web process, round by round."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from analysis_processing.chassis.kinds import ServiceError

ROUND_S = 60.0
log = structlog.get_logger()


async def for_ever(event: str, act: Callable[[], Awaitable[object]]) -> None:
    """`act` each ROUND_S until cancelled; a service that is away is logged as `event`."""
    while True:
        try:
            await act()
        except ServiceError as error:
            log.warning(event, reason=str(error))
        await asyncio.sleep(ROUND_S)
