"""Teams and attribution of the caller's organisation; dis asks what to split, and says how."""

from uuid import UUID

from fastapi import APIRouter, status

from user_billing.api.bodies import Instant
from user_billing.api.deps import AdminCaller, BillingReader, MetricStore, ServicesDep
from user_billing.teams.service import Due
from user_billing.teams.views import (
    ByTeamView,
    RulesBody,
    SplitsBody,
    TeamBody,
    TeamsView,
    VersionsView,
)
from user_billing.usage.rules import Step

router = APIRouter(tags=["teams"])


@router.get("/api/v1/teams")
def list_teams(caller: BillingReader, services: ServicesDep) -> TeamsView:
    """Every team, also archived ones."""
    return TeamsView.model_validate({"teams": services.teams.all(caller.tenant)})


@router.post("/api/v1/teams", status_code=status.HTTP_201_CREATED)
def add_team(body: TeamBody, caller: AdminCaller, services: ServicesDep) -> dict[str, UUID]:
    """A further team; a second one of the same name is a conflict."""
    return {"id": services.teams.add(caller, body.name)}


@router.delete("/api/v1/teams/{team_id}", status_code=status.HTTP_204_NO_CONTENT)
def archive_team(team_id: UUID, caller: AdminCaller, services: ServicesDep) -> None:
    """The team is archived: no new rule set names it, and what it has stays."""
    services.teams.archive(caller, team_id)


@router.get("/api/v1/attribution")
def read_rules(caller: BillingReader, services: ServicesDep) -> VersionsView:
    """Rule sets, the one in force first."""
    return VersionsView.model_validate({"versions": services.teams.versions(caller.tenant)})


@router.put("/api/v1/attribution")
def put_rules(body: RulesBody, caller: AdminCaller, services: ServicesDep) -> dict[str, int]:
    """This rule set is in force; hours of the open period follow within minutes."""
    return {"version": services.teams.put_rules(caller, body.rules)}


@router.get("/api/v1/usage/by-team")
def read_by_team(
    caller: BillingReader,
    services: ServicesDep,
    start: Instant,
    end: Instant,
    step: Step = Step.DAY,
) -> ByTeamView:
    """The caller's organisation, by step, team and meter."""
    usage = services.teams.by_team(caller.tenant, start, end, step)
    return ByTeamView.model_validate({"teams": services.teams.all(caller.tenant), "usage": usage})


@router.get("/internal/attribution", tags=["internal"], dependencies=[MetricStore])
def read_due(services: ServicesDep) -> Due | None:
    """Hours of one organisation that are to be split; null when none are."""
    return services.teams.due()


@router.put("/internal/attribution", tags=["internal"], dependencies=[MetricStore])
def put_split(body: SplitsBody, services: ServicesDep) -> dict[str, int]:
    """Hours are split like this; one of a closed period stays as it was."""
    split = [(one.hour, one.revision, one.shares) for one in body.hours]
    return {"hours": services.teams.put_shares(body.tenant, body.version, split, body.faults)}
