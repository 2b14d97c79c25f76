"""Hours as an invoice keeps them: text, a line each, and what a meter makes of them. Pure.

1777636800 dis 500.000000000 1 <numbers by minute> <SHA-256 of distinct values>
"""

import hashlib
import zlib
from decimal import Decimal
from fractions import Fraction

from user_billing.meters.rules import Totals, quantity
from user_billing.rating.model import Period


def digest(text: str) -> str:
    """SHA-256 as hex: what rating read."""
    return hashlib.sha256(text.encode()).hexdigest()


def pack(text: str) -> bytes:
    """The text as it is stored: some 20 bytes a row that is read by minute."""
    return zlib.compress(text.encode(), 9)


def unpack(packed: bytes) -> str:
    """The text that was stored."""
    return zlib.decompress(packed).decode()


def within(text: str, period: Period) -> str:
    """The hours that begin in the period."""
    start, end = period.start.timestamp(), period.end.timestamp()
    return "\n".join(row for row in text.split("\n") if start <= int(row.split(" ")[0]) < end)


def totals(meter: str, text: str) -> Totals:
    """What all aggregations make of the hours; unique 0, since values are no more than a digest.

    The slow way in Python of what Postgres answered, so that one checks the other.
    """
    rows = [line.split(" ") for line in text.split("\n")]
    amounts = [Decimal(row[2]) for row in rows]
    minutes = sorted(int(n) for row in rows for n in row[4].split(",") if n)
    last_hour = max(int(row[0]) for row in rows)
    return Totals(
        meter=meter,
        sum=sum(amounts, Decimal(0)),
        max=max(amounts),
        latest=next(a for a, row in zip(amounts, rows, strict=True) if int(row[0]) == last_hour),
        mean=sum((quantity(Fraction(row[2]) / int(row[3])) for row in rows), Decimal(0)),
        p95=minutes[-(-95 * len(minutes) // 100) - 1] if minutes else 0,
        unique=0,
        rows=len(rows),
        digest=digest(text),
    )
