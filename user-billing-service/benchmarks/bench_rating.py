"""How long rating takes: `PYTHONPATH=. python benchmarks/bench_rating.py [ORGANISATIONS]`.

Each organisation has a month of six meters under a plan with a recurring price, two graduated
prices and a minimum. Prints seconds, and lines a second.
"""

import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from user_billing.meters.rules import Aggregation, own
from user_billing.plans.rules import Model, PlanVersion, Price, Tier
from user_billing.rating.model import MeterUsage, Period
from user_billing.rating.rules import Segment, rate

MONTH = Period(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))
TIERS = (
    Tier(Fraction(2 * 10**9), Fraction("0.00000009")),
    Tier(Fraction(252 * 10**9), Fraction("0.000000035")),
    Tier(None, Fraction("0.000000016")),
)
METERS = [f"meter_{n}" for n in range(6)]
PLAN = PlanVersion(
    "bench", 1, "Bench", "EUR", 1900, 2500,
    tuple(
        Price(code, Model.GRADUATED, Fraction(1000), tiers=TIERS)
        if n < 2
        else Price(code, Model.PER_UNIT, Fraction(10), Fraction("0.0065"))
        for n, code in enumerate(METERS)
    ),
)  # fmt: skip


def main() -> None:
    """Rates and prints."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    kinds = (Aggregation.P95, Aggregation.SUM)
    meters = {code: own(code, "units", kinds[n % 2], "") for n, code in enumerate(METERS)}
    began, lines = time.perf_counter(), 0
    for org in range(count):
        usage = {
            code: MeterUsage(Decimal(org * 977_351 + n), 744, "0" * 64)
            for n, code in enumerate(METERS)
        }
        lines += len(rate([Segment(PLAN, MONTH, usage)], MONTH, meters).lines)
    took = time.perf_counter() - began
    sys.stdout.write(f"{count} organisations in {took:.1f} s, {lines / took:.0f} lines a second\n")


if __name__ == "__main__":
    main()
