"""The stand-in's answers about usage, limits and invoices."""

from __future__ import annotations

import time
from typing import Any

from contract import iso

MONTH_START = time.strftime("%Y-%m-01T00:00:00Z", time.gmtime())
PERIOD = {"start": MONTH_START, "end": iso(time.time() + 86_400)}
FORECAST = {
    "period": PERIOD,
    "method": "linear",
    "used": "800",
    "quantity": "1200",
    "low": "1000",
    "high": "1400",
    "reached_at": None,
}
ANSWERS: dict[str, dict[str, Any]] = {
    "/api/v1/subscriptions/current": {
        "plan": "team",
        "period": PERIOD,
        "accrued": {
            "currency": "EUR",
            "lines": [
                {
                    "description": "Samples stored",
                    "quantity": "800",
                    "unit": "sample",
                    "amount": "8.00",
                }
            ],
            "total": "8.00",
        },
    },
    "/api/v1/wallets": {
        "wallets": [{"currency": "EUR", "balance": "25.00", "next_expiry": iso(2**31)}]
    },
    "/api/v1/quotas": {
        "period": PERIOD,
        "quotas": [
            {
                "quota": {"meter": "samples", "action": "warn", "limit": "1000"},
                "forecast": FORECAST,
                "percent": 80,
                "days_left": 1,
                "fired": [],
            }
        ],
        "cap": None,
    },
    "/api/v1/usage": {
        "complete_through": iso(0),
        "usage": [
            {
                "start": MONTH_START,
                "meter": "samples",
                "unit": "sample",
                "sum": "800",
                "max": "400",
                "mean": "33",
                "p95": None,
            }
        ],
    },
    "/api/v1/usage/forecast": FORECAST,
    "/api/v1/usage/by-team": {
        "teams": [{"id": "t", "name": "Otters"}],
        "usage": [
            {
                "start": MONTH_START,
                "team": team,
                "meter": "samples",
                "unit": "sample",
                "quantity": "400",
            }
            for team in ("t", None)
        ],
    },
    "/api/v1/invoices": {
        "invoices": [
            {
                "id": state,
                "number": number,
                "state": state,
                "period_start": iso(0),
                "issued_on": number and "1970-02-01",
                "total": "9.52",
                "currency": "EUR",
            }
            for state, number in (("draft", None), ("final", "INV-000001"))
        ]
    },
}
