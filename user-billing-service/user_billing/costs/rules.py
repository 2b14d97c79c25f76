"""How a cost is split: exactly, by any weights, with a row for what nobody can be named for. Pure.

    weight of a part = sum over meters of  the meter's weight × part's usage / all usage
    amounts          = the pool by these weights, largest remainder; they sum to it

Source: docs/adr/0040-teams-and-costs.md.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final
from uuid import UUID

from user_billing.errors import BadInput
from user_billing.meters.rules import BY_NAME
from user_billing.money import rules as money

POOLS_MAX: Final = 1_000
DAYS_MAX: Final = 400
"""Of a pool; so many hours are read to split it."""
NOBODY: Final = ""
"""The part of what no rule gives to a team."""
FOCUS_COLUMNS: Final = (
    "BilledCost", "BillingCurrency", "BillingPeriodStart", "BillingPeriodEnd", "ChargeCategory",
    "ChargeDescription", "ChargePeriodStart", "ChargePeriodEnd", "EffectiveCost",
    "ProviderName", "ServiceName", "SubAccountId", "SubAccountName",
)  # fmt: skip


class Over(StrEnum):
    """Who the parts are."""

    TEAMS = "teams"
    ORGANISATIONS = "organisations"


@dataclass(frozen=True, slots=True)
class Pool:
    """A cost. weights: by meter's name in hourly rows; none: equal parts.

    spread: what nobody can be named for is borne by the others, else it is a part of its own.
    """

    name: str
    over: Over
    start: datetime
    end: datetime
    amount: int
    currency: str
    weights: Mapping[str, Fraction]
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """What a part bears, in minor units. part: an id, or NOBODY."""

    part: str
    amount: int


@dataclass(frozen=True, slots=True)
class Bearer:
    """A share as it is shown. id: None when nobody can be named; amount: decimal text."""

    id: UUID | None
    name: str
    amount: str


@dataclass(frozen=True, slots=True)
class Split:
    """A pool, who bears what, and what the parts are called. closed_at: None while it follows."""

    id: UUID
    pool: Pool
    shares: Sequence[Share]
    names: Mapping[str, str]
    closed_at: datetime | None = None

    @property
    def bearers(self) -> list[Bearer]:
        """The shares as they are shown; a part that is gone has its id for a name."""
        return [
            Bearer(
                UUID(share.part) if share.part else None,
                self.names.get(share.part, share.part) or "unattributed",
                money.text(share.amount, self.pool.currency),
            )
            for share in self.shares
        ]


def check(pool: Pool) -> None:
    """Raises BadInput for a pool that cannot be split."""
    money.exponent(pool.currency)
    if not pool.start < pool.end or (pool.end - pool.start).days > DAYS_MAX:
        raise BadInput(field="end", needs="a time after start", days_max=DAYS_MAX)
    if unknown := set(pool.weights) - set(BY_NAME):
        raise BadInput(field="weights", unknown=sorted(unknown), known=sorted(BY_NAME))
    if pool.weights and sum(pool.weights.values()) <= 0:
        raise BadInput(field="weights", needs="one weight above 0")


def split(
    pool: Pool, parts: Sequence[str], usage: Mapping[tuple[str, str], Decimal]
) -> list[Share]:
    """The pool over `parts`, in order, and NOBODY, last, where it bears something.

    usage: (part, meter) → quantity, also of NOBODY. A meter without usage has no say; where none
    has, it is all nobody's, or equal parts where that is spread.
    """
    everybody = [*parts, NOBODY]
    if not pool.weights:
        weights = [Fraction(1)] * len(parts) + [Fraction(0 if parts else 1)]
    else:
        weights = [_weight(pool, part, usage) for part in everybody]
    if pool.spread and parts:
        weights[-1] = Fraction(0)
        if not any(weights):
            weights = [Fraction(1)] * len(parts) + [Fraction(0)]
    if not any(weights):
        weights[-1] = Fraction(1)
    amounts = money.split(pool.amount, weights)
    shares = [Share(part, amount) for part, amount in zip(everybody, amounts, strict=True)]
    return shares if shares[-1].amount else shares[:-1]


def _weight(pool: Pool, part: str, usage: Mapping[tuple[str, str], Decimal]) -> Fraction:
    weight = Fraction(0)
    for meter, of_meter in pool.weights.items():
        total = sum(q for (_, m), q in usage.items() if m == meter)
        if total:
            weight += of_meter * Fraction(usage.get((part, meter), Decimal(0))) / Fraction(total)
    return weight


def chargeback(pool: Pool, bearers: Sequence[Bearer]) -> str:
    """A CSV of who bears what."""
    head = [pool.over.value.removesuffix("s"), "id", "amount", "currency"]
    return _csv(head, [[of.name, str(of.id or ""), of.amount, pool.currency] for of in bearers])


def focus(pool: Pool, bearers: Sequence[Bearer]) -> str:
    """A CSV in the columns of FOCUS 1.x that are known here."""
    time = [at.astimezone(UTC).isoformat().replace("+00:00", "Z") for at in (pool.start, pool.end)]
    rows = [
        [
            of.amount, pool.currency, *time, "Usage", pool.name, *time, of.amount,
            "CloudOpsHub", "CloudOpsHub", str(of.id or ""), of.name,
        ]
        for of in bearers
    ]  # fmt: skip
    return _csv(FOCUS_COLUMNS, rows)


def _csv(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(head)
    writer.writerows([[safe(cell) for cell in row] for row in rows])
    return out.getvalue()


def safe(cell: str) -> str:
    """No program that opens the file takes the cell for a formula; numbers stay numbers."""
    is_number = cell.removeprefix("-").replace(".", "", 1).isdigit()
    return f"'{cell}" if cell[:1] in set("=+-@\t\r") and not is_number else cell
