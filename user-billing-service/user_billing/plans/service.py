"""The catalogue of plans, which the operator keeps."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from user_billing.audit import service as audit
from user_billing.db.session import BoundSession, Room, within
from user_billing.errors import BadInput, NotFound
from user_billing.model import Principal
from user_billing.organisations import rules as organisations_rules
from user_billing.plans import rules, sql

_CODE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Plans(Room):
    """Versions of plans."""

    def all(self, *, retired: bool = False) -> Sequence[Row[Any]]:
        """Every version that is sold, and on wish those that no longer are."""
        with self._database.directory() as session:
            return sql.all_versions(session, retired=retired)

    def add(self, operator: Principal, code: str, facts: Mapping[str, Any]) -> int:
        """The number of the plan's new version; those who have an earlier one keep it.

        facts: name, currency, recurring and minimum (minor units), prices (JSON, numbers as text).
        Raises BadInput.
        """
        if code == rules.SHOWBACK or not _CODE.fullmatch(code):
            raise BadInput(field="code", value=code, needs="a-z, 0-9 and -, not showback, <= 32")
        name = organisations_rules.normalise_name(facts["name"], field="name")
        rules.check(sql.version_of({**facts, "plan": code, "n": 1}))
        now = self._clock.now()
        stored = {key: facts[key] for key in ("currency", "recurring", "minimum", "prices")}
        with self._database.directory() as session:
            n = sql.add(session, code, name, stored, now)
            _record(session, operator, "plan.version_added", code, n=n, now=now)
        return n

    def retire(self, operator: Principal, code: str, n: int) -> None:
        """The version is no longer sold. Raises NotFound when it is not."""
        now = self._clock.now()
        with self._database.directory() as session:
            if not sql.retire(session, code, n, now):
                raise NotFound(plan=code, version=n)
            _record(session, operator, "plan.version_retired", code, n=n, now=now)


def _record(
    session: BoundSession, operator: Principal, action: str, code: str, *, n: int, now: datetime
) -> None:
    org = operator.tenant
    with within(session, org):
        audit.record(session, org, operator.actor, action, f"plan:{code}", now=now, version=n)
