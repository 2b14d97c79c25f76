"""Teams, the rules that give them series, and usage by team."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from user_billing import access
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db import rows
from user_billing.db.session import Database
from user_billing.errors import BadInput, Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.meters.rules import BY_NAME, Number
from user_billing.model import Principal
from user_billing.organisations import rules as organisations_rules
from user_billing.organisations import sql as organisations_sql
from user_billing.teams import rules, sql
from user_billing.teams import tables as t
from user_billing.teams.rules import DueHour, Rule, Shares
from user_billing.usage import rules as usage_rules
from user_billing.usage.rules import Step

VERSIONS: Final = 50
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
OPEN_FOR: Final = timedelta(days=62)
"""Hours older than that are not split anew."""
HOURS_AT_ONCE: Final = 24


@dataclass(frozen=True, slots=True)
class Due:
    """What dis is to split: the organisation, its rules in order, and the hours."""

    tenant: UUID
    version: int
    rules: list[Rule]
    hours: list[DueHour]


@dataclass(frozen=True, slots=True)
class TeamUsage:
    """What a team used of a meter in the step that begins at `start`; team None: nobody's."""

    start: datetime
    team: UUID | None
    meter: str
    unit: str
    quantity: Number


class Teams:
    """The teams of all organisations."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        invoiced_until: Callable[[Session, UUID], datetime | None],
    ) -> None:
        """invoiced_until: the end of the organisation's last period with a final invoice."""
        self._database = database
        self._clock = clock
        self._invoiced_until = invoiced_until
        self._last_due = UUID(int=0)

    def all(self, org: UUID) -> Sequence[Row[Any]]:
        """Every team, by name."""
        with self._database.organisation(org) as session:
            return sql.teams(session, org)

    def add(self, caller: Principal, name: str) -> UUID:
        """A further team. Raises Conflict when a living one has the name."""
        name = organisations_rules.normalise_name(name, field="name")
        org, now, team = caller.tenant, self._clock.now(), new_id()
        with self._database.organisation(org) as session:
            organisations_sql.lock(session, org)
            if len(sql.teams(session, org)) >= rules.TEAMS_MAX:
                raise BadInput(field="teams", max=rules.TEAMS_MAX, needs="fewer teams")
            if not rows.add_new(session, t.team, org, id=team, name=name, created_at=now):
                raise Conflict(detail="a team has this name", name=name)
            audit.record(
                session, org, caller.actor, "team.added", f"team:{team}", now=now, name=name
            )
        return team

    def archive(self, caller: Principal, team: UUID) -> None:
        """The team gets nothing more by new rule sets; what it has stays. Raises NotFound."""
        org, now = caller.tenant, self._clock.now()
        with self._database.organisation(org) as session:
            living = {"id": team, "archived_at": None}
            archived = rows.changed(session, t.team, org, living, archived_at=now)
            if not archived:
                raise NotFound(team=team)
            audit.record(
                session, org, caller.actor, "team.archived", f"team:{team}", now=now,
                name=archived[0].name,
            )  # fmt: skip

    def versions(self, org: UUID) -> Sequence[Row[Any]]:
        """The latest rule sets, the one in force first."""
        with self._database.organisation(org) as session:
            return sql.versions(session, org, VERSIONS)

    def put_rules(self, caller: Principal, wanted: Sequence[Rule]) -> int:
        """The version of the rule set in force, which is `wanted`.

        Hours whose period is open follow. Raises BadInput for a team that is not a living one.
        """
        org, now = caller.tenant, self._clock.now()
        access.require_fresh(caller, now)
        with self._database.organisation(org) as session:
            organisations_sql.lock(session, org)
            living = {row.id for row in sql.teams(session, org) if row.archived_at is None}
            for place, rule in enumerate(wanted):
                if rule.team not in living:
                    raise BadInput(field=f"rules[{place}].team", needs="a team that is there")
            n, before = sql.newest(session, org)
            if before == wanted:
                return n
            rows.add_one(
                session, t.attribution_version, org, n=n + 1, rules=sql.stored(wanted),
                faults=[], created_at=now, created_by=caller.actor.subject,
            )  # fmt: skip
            audit.record(
                session, org, caller.actor, "attribution.changed", f"attribution:{n + 1}", now=now,
                rules=len(wanted),
            )  # fmt: skip
        return n + 1

    def due(self) -> Due | None:
        """What dis is to split next, the newest hours of one organisation; None when all is.

        Organisations take turns: one that cannot be split does not hold up the others.
        """
        now = self._clock.now()
        with self._database.directory() as session:
            organisations = sql.with_rules(session)
        behind = bisect_right(organisations, self._last_due)
        for org in organisations[behind:] + organisations[:behind]:
            with self._database.organisation(org) as session:
                n, in_force = sql.newest(session, org)
                since = max(now - OPEN_FOR, self._open_since(session, org))
                hours = sql.due(session, org, since=since, version=n, now=now, most=HOURS_AT_ONCE)
            if hours:
                self._last_due = org
                return Due(org, n, in_force, hours)
        return None

    def put_shares(
        self,
        org: UUID,
        version: int,
        split: Sequence[tuple[datetime, int, Shares]],
        faults: Sequence[str] = (),
    ) -> int:
        """How many of the hours, at their revisions, are split like this: those that are open.

        faults: the version's rules that could not be read, and why.
        """
        with self._database.organisation(org) as session:
            if organisations_sql.organisation(session, org) is None:
                raise NotFound(organisation=org)
            rows.changed(session, t.attribution_version, org, {"n": version}, faults=list(faults))
            since = self._open_since(session, org)
            open_hours = [one for one in split if one[0] >= since]
            for hour, revision, shares in open_hours:
                sql.put_shares(session, org, hour, shares, version=version, revision=revision)
        return len(open_hours)

    def by_team(self, org: UUID, start: datetime, end: datetime, step: Step) -> list[TeamUsage]:
        """The usage of [start, end) by step and team: sums of samples, means of levels by hour."""
        usage_rules.check_range(start, end, step)
        with self._database.organisation(org) as session:
            hours = sql.hours(session, org, start, end, step.value)
            shares = sql.shares(session, org, start, end)
        usage = []
        for began, group in groupby(hours, key=lambda pair: pair[0]):
            of_step = [hour for _, hour in group]
            means = rules.means(of_step, rules.by_team(of_step, shares))
            for (team, meter), quantity in sorted(means.items()):
                unit = BY_NAME[meter].unit if meter in BY_NAME else ""
                of = UUID(team) if team else None
                usage.append(TeamUsage(began, of, meter, unit, quantity))
        return usage

    def _open_since(self, session: Session, org: UUID) -> datetime:
        return self._invoiced_until(session, org) or EPOCH
