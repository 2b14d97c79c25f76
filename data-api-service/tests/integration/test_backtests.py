"""`POST /api/v1/rules/backtest`."""

from conftest import NOW_MS

T = NOW_MS // 1000
BACKTEST = "/api/v1/rules/backtest"
RULE = """
alert: Down
expr: up{job="api"} == 0
for: 1m
annotations: {summary: "{{ $labels.job }} is {{ $value }}"}
"""


async def test_when_an_alert_would_have_fired(das, ingest, tenant):
    """Labels, texts, and intervals in seconds, of the caller's own series."""
    for job in ("api", "db"):
        samples = [(NOW_MS - 600_000 + n * 30_000, float(not 4 <= n < 10)) for n in range(21)]
        await ingest.write(tenant, {"__name__": "up", "job": job}, samples)
    form = {"rule": RULE, "start": T - 600, "end": T, "step": "30s"}
    answer = await das.post(BACKTEST, data=form)
    assert answer.json() == {
        "status": "success",
        "data": {
            "alert": "Down",
            "alerts": [
                {
                    "labels": {"alertname": "Down", "job": "api"},
                    "annotations": {"summary": "api is 0"},
                    "firingSeconds": 120.0,
                    "intervals": [
                        {"state": "pending", "start": T - 480, "end": T - 420, "value": "0"},
                        {"state": "firing", "start": T - 420, "end": T - 300, "value": "0"},
                    ],
                }
            ],
        },
    }


async def test_what_cannot_be_tested_back_is_refused(das):
    """A missing or bad rule, a bad time, too many evaluations."""
    form = {"rule": RULE, "start": T - 600, "end": T, "step": "30s"}
    for change, why in (
        ({"rule": ""}, "YAML of one alerting rule"),
        ({"rule": "alert: A\nexpr: sum("}, "2:7: "),
        ({"rule": "record: a\nexpr: up"}, "only an alerting rule"),
        ({"start": T + 600}, "end timestamp must not be before start time"),
        ({"rule": RULE.replace("1m", "10d")}, "too many evaluations"),
    ):
        answer = await das.post(BACKTEST, data=form | change)
        assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")
        assert why in answer.json()["error"]


async def test_a_rule_that_fails_says_why(das, ingest, tenant):
    """As its evaluation would."""
    await ingest.write(tenant, {"__name__": "up", "job": "a"}, [(NOW_MS, 1.0)])
    await ingest.write(tenant, {"__name__": "up", "job": "b"}, [(NOW_MS, 1.0)])
    rule = "alert: A\nexpr: up\nlabels: {job: one}"
    form = {"rule": rule, "start": T, "end": T, "step": 60}
    answer = await das.post(BACKTEST, data=form)
    assert answer.status_code == 422
    assert "same labelset" in answer.json()["error"]
