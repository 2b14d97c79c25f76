"""The bodies of teams, attribution and usage by team."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from user_billing.api.bodies import Body, Instant, Unicode, View
from user_billing.teams.rules import RULES_MAX, TEAMS_MAX, Rule, Weights
from user_billing.teams.service import HOURS_AT_ONCE, TeamUsage


class TeamBody(Body):
    """A team to add."""

    name: Unicode


class TeamView(View):
    """A team; archived ones keep what they have."""

    id: UUID
    name: str
    created_at: datetime
    archived_at: datetime | None


class TeamsView(View):
    """Every team, by name."""

    teams: list[TeamView]


class RulesBody(Body):
    """A whole rule set, in order."""

    rules: Annotated[list[Rule], Field(max_length=RULES_MAX)]


class VersionView(View):
    """A rule set. faults: rules that dis could not read, which select nothing."""

    n: int
    rules: list[Rule]
    faults: list[str]
    created_at: datetime
    created_by: str


class VersionsView(View):
    """Rule sets, the one in force first."""

    versions: list[VersionView]


class ByTeamView(View):
    """Usage by step, team and meter. Samples are summed, levels the mean of the step's hours."""

    teams: list[TeamView]
    usage: list[TeamUsage]


class SplitBody(Body):
    """An hour by team; the empty name is what no rule gives to a team."""

    hour: Instant
    revision: Annotated[int, Field(ge=1, lt=2**63)]
    shares: Annotated[dict[str, Weights], Field(max_length=TEAMS_MAX + 1)]


class SplitsBody(Body):
    """Hours of one organisation, split by one version of its rules. faults: what it cannot read."""

    tenant: UUID
    version: Annotated[int, Field(ge=1, lt=2**31)]
    hours: Annotated[list[SplitBody], Field(max_length=HOURS_AT_ONCE)]
    faults: Annotated[
        list[Annotated[Unicode, Field(max_length=300)]], Field(max_length=RULES_MAX)
    ] = Field(default=[])
