"""The queue and what came of jobs as metrics, read from the database when they are scraped.

Every replica of the web process shows the same numbers; scale workers on `max`, not `sum`. Jobs are
deleted and run again, so their ends are gauges of the last hour, not counters.
"""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, text

from analysis_processing.chassis.kinds import ServiceError
from analysis_processing.jobs.database import transaction

UNFINISHED = text("""
SELECT state, count(*), extract(epoch FROM clock_timestamp() - min(run_after))
FROM analysis.job WHERE state IN ('queued', 'running') GROUP BY state
""")
DURATIONS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)
ENDED = text("""
SELECT kind, state, width_bucket(seconds, :bounds) AS bucket,
       count(*) AS jobs, sum(seconds) AS total_s
FROM (SELECT kind, state, extract(epoch FROM finished_at - started_at)::float8 AS seconds
      FROM analysis.job WHERE finished_at > clock_timestamp() - interval '1 hour') AS ended
GROUP BY kind, state, bucket
""")


class QueueMetrics(Collector):
    """Unfinished jobs, the oldest queued one's wait, ends by kind and state, and durations."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> list[Metric]:
        """Nothing is read when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges; none while the database is away, since 0 would be a lie."""
        try:
            with transaction(self._engine) as db:
                unfinished = {
                    state: (count, age_s) for state, count, age_s in db.execute(UNFINISHED)
                }
                ended = db.execute(ENDED, {"bounds": list(DURATIONS_S)}).all()
        except ServiceError:
            return
        jobs = GaugeMetricFamily(
            "cloudopshub_analysis_jobs", "Unfinished analysis jobs.", labels=["state"]
        )
        for state in ("queued", "running"):
            jobs.add_metric([state], unfinished.get(state, (0, 0))[0])
        yield jobs
        waited_s = float(unfinished.get("queued", (0, 0))[1])
        yield GaugeMetricFamily(
            "cloudopshub_analysis_oldest_queued_seconds",
            "How long the oldest job that may run has waited.",
            value=max(waited_s, 0.0),
        )
        ends = GaugeMetricFamily(
            "cloudopshub_analysis_jobs_ended",
            "Jobs that ended within the last hour.",
            labels=["kind", "state"],
        )
        for kind, state in sorted({(row.kind, row.state) for row in ended}):
            same = [row.jobs for row in ended if (row.kind, row.state) == (kind, state)]
            ends.add_metric([kind, state], sum(same))
        yield ends
        durations = GaugeHistogramMetricFamily(
            "cloudopshub_analysis_job_duration_seconds",
            "Time from the start to the end of the jobs that ended within the last hour.",
            labels=["kind"],
        )
        timed = [row for row in ended if row.bucket is not None]
        for kind in sorted({row.kind for row in timed}):
            counts = [0] * (len(DURATIONS_S) + 1)
            for row in timed:
                counts[row.bucket] += row.jobs if row.kind == kind else 0
            bounds = [*map(str, DURATIONS_S), "+Inf"]
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            total_s = sum(row.total_s for row in timed if row.kind == kind)
            durations.add_metric([kind], buckets, total_s)
        yield durations
