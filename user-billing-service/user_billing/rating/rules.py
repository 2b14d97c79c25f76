"""What a period costs: a pure function of plans, times and usage. The same input, the same bytes.

    period ── cut where the plan changed ──▶ segments ── each by its own plan ──▶ lines

A segment has its share of the period's time. Sums (samples) are charged by what was counted in the
segment, with the share of included units and tiers; levels (series, bytes, members) by the level
in the segment, of which the share is charged. So nothing is charged twice whatever the changes.
Each line is rounded once. Source: docs/adr/0037-money-plans-and-rating.md.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from user_billing.meters.rules import Aggregation, Meter
from user_billing.money import rules as money
from user_billing.plans import rules as plans
from user_billing.plans.rules import PlanVersion, Price
from user_billing.rating.model import Json, Line, LineKind, MeterUsage, Period, Rated

ENGINE: Final = 1
"""Of this computation; a change of any result is a new one."""
SUMS: Final = frozenset({Aggregation.SUM, Aggregation.COUNT})
"""Aggregations whose quantity grows with the time it is taken over: the others are levels."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a period under one plan version, and what was used in it by meter."""

    plan: PlanVersion
    period: Period
    usage: Mapping[str, MeterUsage]


def times(usage: MeterUsage, factor: Fraction) -> MeterUsage:
    """Usage as it would be, to nine decimals; it comes from no hours."""
    quantity = Fraction(usage.quantity) * factor
    return MeterUsage(Decimal(money.round_half_away(quantity * 10**9)).scaleb(-9), 0, "")


def rate(segments: Sequence[Segment], whole: Period, meters: Mapping[str, Meter]) -> Rated:
    """The lines of `segments`: in `whole`, in order, without overlap, and of one currency.

    meters: all that the plans name; usage that has no price is free.
    """
    lengths = [_seconds(segment.period) for segment in segments]
    rest = _seconds(whole) - sum(lengths)
    lines: list[Line] = []
    for place, segment in enumerate(segments):
        share = Fraction(lengths[place], _seconds(whole))
        plan, of_segment = segment.plan, list[Line]()
        if plan.recurring:
            amount = money.split(plan.recurring, [*lengths, rest])[place]
            kind = LineKind.PLAN if share == 1 else LineKind.PRORATION
            facts: dict[str, Json] = {"rule": "recurring", "price": plan.recurring}
            of_segment.append(_of_plan(segment, kind, amount, share, facts))
        for price in plan.prices:
            usage = segment.usage.get(price.meter)
            if usage is not None:
                of_segment.append(_used(segment, price, usage, meters[price.meter], share))
        minimum = money.split(plan.minimum, [*lengths, rest])[place]
        missing = minimum - sum(line.amount for line in of_segment)
        if missing > 0:
            facts = {"rule": "minimum", "minimum": plan.minimum}
            of_segment.append(_of_plan(segment, LineKind.MINIMUM, missing, share, facts))
        lines += of_segment
    currency = segments[0].plan.currency
    assert all(segment.plan.currency == currency for segment in segments), "checked at a change"
    return Rated(currency, tuple(lines), input_hash(segments, whole))


def _of_plan(
    segment: Segment, kind: LineKind, amount: int, share: Fraction, facts: dict[str, Json]
) -> Line:
    """A line of the plan itself, which is no meter's; its derivation also says `facts`."""
    derivation: dict[str, Json] = {
        "engine": ENGINE, "plan": segment.plan.plan, "version": segment.plan.n,
        "share": str(share), "amount": amount, **facts,
    }  # fmt: skip
    name = f"{segment.plan.name}: minimum" if kind is LineKind.MINIMUM else segment.plan.name
    return Line(kind, name, None, segment.period, Decimal(1), "period", amount, derivation)


def _used(segment: Segment, price: Price, usage: MeterUsage, meter: Meter, share: Fraction) -> Line:
    quantity = Fraction(usage.quantity)
    is_sum = meter.aggregation in SUMS
    allowance, charged = (share, Fraction(1)) if is_sum else (Fraction(1), share)
    parts = plans.parts(price, quantity, allowance)
    derivation: dict[str, Json] = {
        "engine": ENGINE, "rule": price.model.value, "plan": segment.plan.plan,
        "version": segment.plan.n, "currency": segment.plan.currency, "meter": meter.code,
        "quantity": str(usage.quantity), "hours": usage.hours, "hours_digest": usage.digest,
        "included": str(price.included * allowance), "package": str(price.package),
        "share": str(charged), "parts": [part.as_json() for part in parts],
        "rounding": "once, half away from zero",
    }  # fmt: skip
    return Line(
        LineKind.USAGE, meter.code.replace("_", " "), meter.code, segment.period, usage.quantity,
        meter.unit, recompute(derivation), derivation,
    )  # fmt: skip


def recompute(derivation: Mapping[str, Any]) -> int:
    """The amount of a line from its derivation alone, in minor units."""
    if "amount" in derivation:
        return int(derivation["amount"])
    parts = [{name: Fraction(text) for name, text in part.items()} for part in derivation["parts"]]
    exact = sum((part["units"] * part["unit"] + part["flat"] for part in parts), Fraction(0))
    exponent = money.exponent(derivation["currency"])
    return money.round_half_away(exact * Fraction(derivation["share"]) * 10**exponent)


def input_hash(segments: Iterable[Segment], whole: Period) -> str:
    """SHA-256, as hex, of all that `rate` reads."""
    facts = {"engine": ENGINE, "whole": asdict(whole), "segments": [asdict(s) for s in segments]}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=_text)
    return hashlib.sha256(text.encode()).hexdigest()


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _seconds(period: Period) -> int:
    return int((period.end - period.start).total_seconds())
