"""What routes ask for, as Annotated aliases."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from analysis_processing.chassis.identity import IdentityClient, Principal
from analysis_processing.chassis.probes import Drain
from analysis_processing.jobs.claims import TimeOf
from analysis_processing.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """The adapters, chosen in app.py; kept in the app's state."""

    settings: Settings
    engine: Engine
    identity: IdentityClient
    now: TimeOf
    drain: Drain


def services(request: Request) -> Services:
    """The app's adapters."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services)]


async def reader(request: Request, held: ServicesDep) -> Principal:
    """The caller, who may read."""
    principal = await held.identity.authenticate(request.headers)
    principal.require("metrics:read")
    return principal


async def analyst(request: Request, held: ServicesDep) -> Principal:
    """The caller, who may run analyses."""
    principal = await held.identity.authenticate(request.headers)
    principal.require("analysis:run")
    return principal


Reader = Annotated[Principal, Depends(reader)]
Analyst = Annotated[Principal, Depends(analyst)]
