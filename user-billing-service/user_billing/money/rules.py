"""Money: whole minor units of a currency of ISO 4217; amounts are rounded only here. Pure.

    price × quantity ── exact ──▶ round_half_away ── once ──▶ int

Exponents (EUR 2, JPY 0, BHD 3) are those of CLDR, from Babel. Half away from zero is what Postgres'
`round(numeric)` does. Source: docs/adr/0037-money.md.
"""

from collections.abc import Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from fractions import Fraction
from typing import Final

from babel.numbers import get_currency_precision, list_currencies

from user_billing.errors import BadInput

EXACT: Final = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])
"""Products and sums of NUMERIC(38,9) and NUMERIC(20,12) fit without rounding, or it is an error."""
MINOR_MAX: Final = 2**63 - 1
"""The largest amount a BIGINT holds."""
_CURRENCIES: Final = frozenset(list_currencies())


def exponent(currency: str) -> int:
    """Decimals of a currency. Raises BadInput for one that is none."""
    if currency not in _CURRENCIES:
        raise BadInput(field="currency", value=currency, needs="a currency of ISO 4217: EUR")
    return get_currency_precision(currency)


def round_half_away(amount: Fraction) -> int:
    """The nearest whole number; of two as near, the one further from zero."""
    size = (2 * abs(amount.numerator) + amount.denominator) // (2 * amount.denominator)
    return size if amount >= 0 else -size


def parse(amount: Decimal, currency: str) -> int:
    """What somebody wrote, in minor units.

    Raises BadInput beyond `MINOR_MAX`, and for more decimals than the currency has.
    """
    places = exponent(currency)
    minor = amount.scaleb(places, EXACT)
    if abs(minor) > MINOR_MAX:
        raise BadInput(field="amount", max=text(MINOR_MAX, currency), needs="a smaller amount")
    if minor != int(minor):
        raise BadInput(field="amount", value=str(amount), currency=currency, decimals_max=places)
    return int(minor)


def text(minor: int, currency: str) -> str:
    """The amount with all decimals of its currency and a point: -19.00, 1900, 1.900."""
    return f"{Decimal(minor).scaleb(-exponent(currency), EXACT):f}"


def split(total: int, weights: Sequence[Decimal | int | Fraction]) -> list[int]:
    """`total` in shares by weight that sum to it exactly: largest remainder, earlier places first.

    Weights are not negative and have a positive sum. Equal weights differ by one at most. Shares
    of a negative total are those of its opposite, negated.
    """
    parts = [Fraction(weight) for weight in weights]
    whole = sum(parts, Fraction(0))
    assert whole > 0, "weights are checked where they come in"
    assert min(parts) >= 0, "weights are checked where they come in"
    exact = [abs(total) * part / whole for part in parts]
    shares = [int(share) for share in exact]
    order = sorted(range(len(parts)), key=lambda place: (shares[place] - exact[place], place))
    for place in order[: abs(total) - sum(shares)]:
        shares[place] += 1
    return [share if total >= 0 else -share for share in shares]
