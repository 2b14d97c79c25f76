"""Who sells, at which taxes, and what customers said of themselves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import Row
from sqlalchemy.orm import Session

from user_billing.audit import service as audit
from user_billing.db import rows
from user_billing.db.session import Room, within
from user_billing.errors import BadInput, Conflict, NotFound
from user_billing.invoices import rules, sql
from user_billing.invoices import tables as t
from user_billing.invoices.rules import Rate
from user_billing.model import Actor
from user_billing.money import rules as money
from user_billing.organisations import sql as organisations_sql

_SERIES: Final = re.compile(r"[A-Z0-9][A-Z0-9/-]{0,15}")
ALL_FACTS: Final = ("legal_name", "address", "country", "vat_id", "email", "exempt")
NEEDED: Final = ("legal_name", "address", "country")
TAX_RATES_MAX: Final = 500


def confirmed(session: Session) -> Row[Any]:
    """The seller. Raises Conflict before the operator confirmed it: nothing is invoiced then."""
    seller = sql.seller(session)
    if seller is None or seller.confirmed_at is None:
        raise Conflict(detail="the operator has not confirmed the seller: nothing is invoiced")
    return seller


def customer_of(row: Row[Any] | None, seller: Row[Any]) -> rules.Customer:
    """What decides about tax; who said nothing is taken to be in the seller's country."""
    if row is None or not row.country:
        return rules.Customer(seller.country, exempt=row.exempt if row else "")
    return rules.Customer(row.country, row.vat_id, row.exempt)


class Sellers(Room):
    """The seller, its tax rates, and the customers' facts."""

    def seller(self) -> Row[Any]:
        """Raises NotFound before the operator entered it."""
        with self._database.directory() as session:
            row = sql.seller(session)
        if row is None:
            raise NotFound(detail="the operator has entered no seller")
        return row

    def put_seller(self, facts: Mapping[str, Any], home: UUID, actor: Actor) -> Row[Any]:
        """The seller has these facts, and is to be confirmed again when they changed."""
        checked = {**facts, **_of_tax(facts)}
        money.exponent(facts["currency"])
        for name in ("series", "credit_series"):
            if not _SERIES.fullmatch(facts[name]):
                raise BadInput(field=name, value=facts[name], needs="like INV: A-Z, 0-9, / and -")
        if facts["series"] == facts["credit_series"]:
            raise BadInput(field="credit_series", needs="another one than series")
        with self._database.directory() as session:
            before = sql.seller(session)
            if before is None or any(getattr(before, name) != checked[name] for name in checked):
                rows.put(session, t.seller, {"only": True}, {**checked, "confirmed_at": None})
                self._record(session, home, actor, "seller.changed", checked["legal_name"])
        return self.seller()

    def confirm(self, home: UUID, actor: Actor) -> Row[Any]:
        """Invoices may be made. Raises NotFound, BadInput for a seller that is not complete."""
        row = self.seller()
        for name in NEEDED:
            if not getattr(row, name):
                raise BadInput(field=name, needs="a value before the seller is confirmed")
        if not row.tax_number and not row.vat_id:
            raise BadInput(field="tax_number, vat_id", needs="one of them on every invoice")
        with self._database.directory() as session:
            if row.confirmed_at is None:
                rows.change(session, t.seller, {}, confirmed_at=self._clock.now())
                self._record(session, home, actor, "seller.confirmed", row.legal_name)
        return self.seller()

    def rates(self) -> Sequence[Rate]:
        """All tax rates, by country and date."""
        with self._database.directory() as session:
            return sql.rates(session)

    def put_rate(self, rate: Rate, home: UUID, actor: Actor) -> Sequence[Rate]:
        """The rate holds from its first day. Raises BadInput for one that overlaps another."""
        rules.country(rate.country)
        with self._database.directory() as session:
            others = [
                other
                for other in sql.rates(session)
                if (other.country, other.valid_from) != (rate.country, rate.valid_from)
            ]
            rules.check_rate(rate, others)
            if len(others) >= TAX_RATES_MAX:
                raise BadInput(field="tax_rates", max=TAX_RATES_MAX)
            values = asdict(rate)
            key = {name: values.pop(name) for name in ("country", "valid_from")}
            rows.put(session, t.tax_rate, key, values)
            target = f"{rate.country} {rate.percent} % from {rate.valid_from}"
            self._record(session, home, actor, "tax_rate.changed", target)
        return self.rates()

    def customer(self, org: UUID) -> Row[Any] | None:
        """What the organisation said of itself."""
        with self._database.organisation(org) as session:
            return rows.one(session, t.customer, org)

    def put_customer(self, org: UUID, facts: Mapping[str, str], actor: Actor) -> Row[Any] | None:
        """The next documents name these facts. Raises BadInput."""
        try:
            email = validate_email(facts["email"], check_deliverability=False).normalized
        except EmailNotValidError as exc:
            raise BadInput(field="email", value=facts["email"], detail=str(exc)) from exc
        checked = {**facts, **_of_tax(facts), "email": email}
        return self._put_customer(org, checked, actor, "billing_details.changed")

    def exempt(self, org: UUID, reason: str, actor: Actor) -> Row[Any] | None:
        """No tax is taken of the organisation for that reason; an empty one ends it."""
        return self._put_customer(org, {"exempt": reason}, actor, "tax_exemption.changed")

    def _put_customer(
        self, org: UUID, values: Mapping[str, str], actor: Actor, action: str
    ) -> Row[Any] | None:
        with self._database.organisation(org) as session:
            if organisations_sql.organisation(session, org) is None:
                raise NotFound(organisation=org)
            before = rows.one(session, t.customer, org)
            whole = {name: getattr(before, name, "") for name in ALL_FACTS} | dict(values)
            rows.put(session, t.customer, {"org_id": org}, whole)
            audit.record(session, org, actor, action, f"organisation:{org}", now=self._clock.now())
            return rows.one(session, t.customer, org)

    def _record(self, session: Any, home: UUID, actor: Actor, action: str, target: str) -> None:
        with within(session, home):
            audit.record(session, home, actor, action, target, now=self._clock.now())


def _of_tax(facts: Mapping[str, Any]) -> dict[str, str]:
    """Country and VAT id, checked. Raises BadInput."""
    country = rules.country(facts["country"])
    return {"country": country, "vat_id": rules.vat_id(facts["vat_id"], country)}
