"""The bodies of teams, attribution and usage by team."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from user_billing.api.bodies import Body, Instant, Unicode
from user_billing.meters.rules import BY_NAME
from user_billing.teams.rules import RULES_MAX, TEAMS_MAX, UNATTRIBUTED, Rule, Weights
from user_billing.teams.service import HOURS_AT_ONCE, Due, TeamUsage
from user_billing.usage.views import text

Whole = Annotated[int, Field(ge=0, lt=2**63)]


class View(BaseModel):
    """What is shown, read from the attributes of what the service gives."""

    model_config = ConfigDict(from_attributes=True)


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


class RuleBody(Body):
    """Series that the selector selects, and no earlier rule, are the team's."""

    team: UUID
    selector: Annotated[Unicode, Field(min_length=1, max_length=2_000)]


class RulesBody(Body):
    """A whole rule set, in order."""

    rules: Annotated[list[RuleBody], Field(max_length=RULES_MAX)]

    def wanted(self) -> list[Rule]:
        """As the service takes it."""
        return [Rule(str(rule.team), rule.selector) for rule in self.rules]


class VersionView(View):
    """A rule set. faults: rules that dis could not read, which select nothing."""

    n: int
    rules: list[RuleBody]
    faults: list[str]
    created_at: datetime
    created_by: str


class VersionsView(View):
    """Rule sets, the one in force first."""

    versions: list[VersionView]


class NewVersionView(BaseModel):
    """The rule set in force."""

    version: int


class TeamBucketView(BaseModel):
    """One meter of one team in one step; team null: no rule gives it to a team."""

    start: datetime
    team: UUID | None
    meter: str
    unit: str
    quantity: str


class ByTeamView(BaseModel):
    """Usage by step, team and meter. Samples are summed, levels the mean of the step's hours."""

    teams: list[TeamView]
    usage: list[TeamBucketView]

    @classmethod
    def of(cls, teams: Iterable[object], steps: Iterable[TeamUsage]) -> Self:
        """As JSON shows it."""
        buckets = [
            TeamBucketView(
                start=step.start, team=None if team == UNATTRIBUTED else UUID(team), meter=meter,
                unit=BY_NAME[meter].unit if meter in BY_NAME else "", quantity=text(quantity),
            )
            for step in steps
            for (team, meter), quantity in sorted(step.quantities.items())
        ]  # fmt: skip
        return cls(teams=[TeamView.model_validate(team) for team in teams], usage=buckets)


class HourView(BaseModel):
    """An hour to split, and the revision it is at."""

    hour: datetime
    revision: int


class DueView(BaseModel):
    """What dis is to split: the organisation, its rules in order, and the hours."""

    tenant: UUID
    version: int
    rules: list[RuleBody]
    hours: list[HourView]

    @classmethod
    def of(cls, due: Due) -> Self:
        """As JSON shows it."""
        return cls(
            tenant=due.organisation_id,
            version=due.version,
            rules=[RuleBody(team=UUID(rule.team), selector=rule.selector) for rule in due.rules],
            hours=[HourView(hour=hour, revision=revision) for hour, revision in due.hours],
        )


class WeightsBody(Body):
    """What a team has of an hour."""

    samples: Whole
    series: Whole

    def weights(self) -> Weights:
        """As the rules take it."""
        return Weights(self.samples, self.series)


class SplitBody(Body):
    """An hour by team; the empty name is what no rule gives to a team."""

    hour: Instant
    revision: Annotated[int, Field(ge=1, lt=2**63)]
    shares: Annotated[dict[str, WeightsBody], Field(max_length=TEAMS_MAX + 1)]


class SplitsBody(Body):
    """Hours of one organisation, split by one version of its rules. faults: what it cannot read."""

    tenant: UUID
    version: Annotated[int, Field(ge=1, lt=2**31)]
    hours: Annotated[list[SplitBody], Field(max_length=HOURS_AT_ONCE)]
    faults: Annotated[
        list[Annotated[Unicode, Field(max_length=300)]], Field(max_length=RULES_MAX)
    ] = Field(default=[])
