"""Recording and alerting rules: Prometheus' rule files, evaluated and written back as series.

    YAML ─ parsing ─▶ Group ─┐                     ┌─▶ samples ─ dis /api/v1/write
    state ── Postgres ───────┴─ evaluation (pure) ─┼─▶ alerts ── notify
                                                   └─▶ state, committed with the evaluation

`model`, `parsing`, `printing`, `alerting`, `recording`, `schedule` and `views` are pure. The
process is `python -m data_api.rules` (docs/adr/0032-rules.md).
"""
