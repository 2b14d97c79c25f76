"""What a proof makes of stored hours is what meters make of them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from user_billing.invoices import hours
from user_billing.rating.model import Period

START = datetime(2026, 5, 1, tzinfo=UTC)
rows = st.lists(
    st.tuples(st.decimals(0, 10**6, places=9), st.integers(1, 60), st.lists(st.integers(0, 99))),
    min_size=1, max_size=20,
)  # fmt: skip


def stored(given_rows):
    return "\n".join(
        f"{int((START + timedelta(hours=n)).timestamp())} dis {amount:f} {readings}"
        f" {','.join(map(str, minutes))}"
        for n, (amount, readings, minutes) in enumerate(given_rows)
    )


@given(rows)
def test_totals_are_those_of_the_rows(given_rows):
    """Sum, largest, last and nearest rank; a part of the period has the rows that begin in it."""
    text = stored(given_rows)
    of = hours.totals("samples", text)
    amounts = [amount for amount, _, _ in given_rows]
    assert (of.sum, of.max, of.latest, of.rows) == (
        sum(amounts), max(amounts), amounts[-1], len(amounts),
    )  # fmt: skip
    minutes = sorted(n for _, _, numbers in given_rows for n in numbers)
    rank = ceil(Decimal(95 * len(minutes)) / 100)
    assert of.p95 == (minutes[rank - 1] if minutes else 0)
    half = Period(START, START + timedelta(hours=len(amounts) // 2))
    assert hours.within(text, half) == stored(given_rows[: len(amounts) // 2])
    assert hours.within(text, Period(START, START + timedelta(hours=len(amounts)))) == text
