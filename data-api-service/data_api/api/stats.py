"""What a query cost, in Prometheus's words. Source: Prometheus `util/stats/query_stats.go`."""

import orjson

from data_api.model import Stats


def stats_json(asked_s: float, by_step: bool, stats: Stats) -> bytes:
    """The object `stats` of an answer; `asked_s`: when the query came, on the monotonic clock.

    What Prometheus calls preparation is here parsing and loading all samples.
    """
    waited_s, prepared_s = stats.begun_s - asked_s, stats.loaded_s - stats.begun_s
    evaluated_s = stats.evaluated_s - stats.loaded_s
    samples = {
        "totalQueryableSamples": int(stats.looked_at.sum()),
        "peakSamples": stats.peak,
    }
    steps = zip((stats.steps_ms / 1000).tolist(), stats.looked_at.tolist(), strict=True)
    return orjson.dumps(
        {
            "timings": {
                "evalTotalTime": prepared_s + evaluated_s,
                "resultSortTime": 0,
                "queryPreparationTime": prepared_s,
                "innerEvalTime": evaluated_s,
                "execQueueTime": waited_s,
                "execTotalTime": waited_s + prepared_s + evaluated_s,
            },
            "samples": {
                **({"totalQueryableSamplesPerStep": list(steps)} if by_step else {}),
                **samples,
            },
        }
    )
