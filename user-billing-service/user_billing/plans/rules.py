"""What a plan version says, and what a quantity costs by one of its prices. Pure.

    per_unit    every unit past the included ones costs the same
    package     units past the included ones are sold in whole packages
    graduated   each tier's units cost that tier's price
    volume      all units cost the price of the tier that the quantity ends in

Tiers end at `upto`, included; the last has no end. Source: docs/adr/0037-money-plans-and-rating.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from typing import Final

from user_billing.errors import BadInput
from user_billing.rating.model import Json

SHOWBACK: Final = "showback"
"""The plan of whoever has no subscription: usage is shown, nothing is charged."""


class Model(StrEnum):
    """How a quantity becomes an amount."""

    PER_UNIT = "per_unit"
    PACKAGE = "package"
    GRADUATED = "graduated"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class Tier:
    """upto: the last unit of the tier, None without end. unit: price of one; flat: of entering."""

    upto: Fraction | None
    unit: Fraction
    flat: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one meter, in major units of the plan's currency.

    included: units that are free. package: units of a package. unit: price of a unit or a package.
    """

    meter: str
    model: Model
    included: Fraction = Fraction(0)
    unit: Fraction = Fraction(0)
    package: Fraction = Fraction(1)
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """Version `n` of a plan. recurring, minimum: of a whole period, minor units of the currency."""

    plan: str
    n: int
    name: str
    currency: str
    recurring: int
    minimum: int
    prices: tuple[Price, ...]


def check(version: PlanVersion) -> None:
    """Raises BadInput when the version's prices cannot be computed with."""
    if len({price.meter for price in version.prices}) < len(version.prices):
        raise BadInput(field="prices", needs="one price a meter")
    for price in version.prices:
        has_tiers = price.model in {Model.GRADUATED, Model.VOLUME}
        if has_tiers != bool(price.tiers):
            raise BadInput(field="tiers", meter=price.meter, model=price.model.value)
        if price.package <= 0:
            raise BadInput(field="package", meter=price.meter, needs="a size above 0")
        ends = [tier.upto for tier in price.tiers]
        if has_tiers and (ends[-1] is not None or None in ends[:-1]):
            raise BadInput(field="tiers", meter=price.meter, needs="a last tier without end")
        bounds = [Fraction(0), *(end for end in ends if end is not None)]
        if any(low >= high for low, high in pairwise(bounds)):
            raise BadInput(field="tiers", meter=price.meter, needs="ends that grow")


@dataclass(frozen=True, slots=True)
class Part:
    """A step of a computation: units, or packages, at a price each, and a flat price."""

    units: Fraction
    unit: Fraction
    flat: Fraction = Fraction(0)

    def as_json(self) -> dict[str, Json]:
        """As a derivation has it."""
        return {"units": str(self.units), "unit": str(self.unit), "flat": str(self.flat)}


def parts(price: Price, quantity: Fraction, share: Fraction = Fraction(1)) -> list[Part]:
    """The steps from `quantity` to its amount, in major units: the sum of units × unit + flat.

    share: of a whole period, in which included units, packages' tiers and flat prices are for a
    whole one.
    """
    chargeable = max(quantity - price.included * share, Fraction(0))
    match price.model:
        case Model.PER_UNIT:
            return [Part(chargeable, price.unit)]
        case Model.PACKAGE:
            return [Part(Fraction(-(-chargeable // price.package)), price.unit)]
        case Model.GRADUATED:
            return list(_graduated(price.tiers, chargeable, share))
        case Model.VOLUME:
            tier = next(t for t in price.tiers if t.upto is None or chargeable <= t.upto * share)
            return [Part(chargeable, tier.unit, tier.flat * share if chargeable else Fraction(0))]


def _graduated(tiers: tuple[Tier, ...], units: Fraction, share: Fraction) -> Iterator[Part]:
    low = Fraction(0)
    for tier in tiers:
        if units <= low and low:
            return
        high = units if tier.upto is None else min(units, tier.upto * share)
        yield Part(high - low, tier.unit, tier.flat * share if units > low else Fraction(0))
        low = high if tier.upto is None else tier.upto * share
