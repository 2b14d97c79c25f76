"""Meters of organisations, made and removed."""

from uuid import UUID

from user_billing.audit import service as audit
from user_billing.db import rows
from user_billing.db.session import Room
from user_billing.errors import Conflict
from user_billing.meters import rules, sql
from user_billing.meters.rules import Meter
from user_billing.meters.tables import meter as table
from user_billing.model import Actor
from user_billing.usage import sql as usage_sql


class Meters(Room):
    """The meters of all organisations."""

    def all(self, org: UUID) -> list[Meter]:
        """Those that every organisation has, then its own by code."""
        with self._database.organisation(org) as session:
            return sql.every_meter(session, org)

    def create(self, org: UUID, meter: Meter, actor: Actor) -> Meter:
        """The organisation has this meter; one that is there already may be made again.

        Raises BadInput; Conflict when the code means something else, or there are too many.
        """
        rules.check(meter)
        now = self._clock.now()
        with self._database.organisation(org) as session:
            usage_sql.lock(session, org)
            own = {one.code: one for one in sql.own_meters(session, org)}
            if own.get(meter.code) == meter:
                return meter
            if meter.code in own:
                raise Conflict(detail="a meter never changes: choose another code", code=meter.code)
            if len(own) >= rules.OWN_MAX:
                raise Conflict(detail="too many meters", meters_max=rules.OWN_MAX)
            rows.add_one(
                session, table, org, code=meter.code, unit=meter.unit, rule=meter.rule,
                aggregation=meter.aggregation.value, created_at=now,
            )  # fmt: skip
            audit.record(
                session, org, actor, "meter.create", meter.code, now=now,
                aggregation=meter.aggregation.value, unit=meter.unit,
            )  # fmt: skip
        return meter

    def remove(self, org: UUID, code: str, actor: Actor) -> None:
        """The meter is gone. Raises NotFound; Conflict when something was counted by it."""
        now = self._clock.now()
        with self._database.organisation(org) as session:
            usage_sql.lock(session, org)
            rows.require(session, table, org, code=code)
            if sql.is_used(session, org, code):
                raise Conflict(detail="the meter has usage and stays", code=code)
            rows.remove(session, table, org, code=code)
            audit.record(session, org, actor, "meter.remove", code, now=now)
