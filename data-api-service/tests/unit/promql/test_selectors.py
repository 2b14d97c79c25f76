"""What a query needs is known before any of it is read."""

import pytest

from data_api import promql

MINUTE = 60_000


@pytest.mark.parametrize(
    ("query", "spans"),
    [
        ("x", [(600_000 - 300_000, 1_200_000)]),
        ("x offset 1m", [(240_000, 1_140_000)]),
        ("x offset -1m", [(360_000, 1_260_000)]),
        ("x @ 100", [(-200_000, 100_000)]),
        ("x @ start()", [(300_000, 600_000)]),
        ("x @ end() offset 1m", [(840_000, 1_140_000)]),
        ("rate(x[10m])", [(0, 1_200_000)]),
        ("rate(x[10m] @ 100)", [(-500_000, 100_000)]),
        # Inner steps are multiples of a minute after 10 m - 1 h.
        ("max_over_time(rate(x[5m])[1h:1m])", [(-3_240_000, 1_200_000)]),
        ("max_over_time(x[1h:7s] @ 0)", [(-3_598_000 - 300_000, 0)]),
        ("x + x", [(300_000, 1_200_000)]),
        ("x + x offset 1m", [(300_000, 1_200_000), (240_000, 1_140_000)]),
        ("time() + 1", []),
    ],
)
def test_spans(query, spans):
    """Spans are left-open, hold lookback, range, offset, `@` and subqueries, each once."""
    needed = promql.needed(promql.parse(query), 600_000, 1_200_000, MINUTE)
    assert [(span.start_ms, span.end_ms) for span in needed] == spans
