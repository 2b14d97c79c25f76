"""The queue and what came of jobs as metrics, read from the database when they are scraped.

Every replica of the web process shows the same numbers; scale workers on `max`, not `sum`. Jobs are
deleted and run again, so their ends are gauges of the last hour, not counters.
"""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, text

from analysis_processing.chassis.kinds import ServiceError
from analysis_processing.jobs.database import transaction

UNFINISHED = text("""
SELECT state, count(*), extract(epoch FROM clock_timestamp() - min(run_after))
FROM analysis.job WHERE state IN ('queued', 'running') GROUP BY state
""")
ENDED = text("""
SELECT kind, state, count(*) AS jobs FROM analysis.job
WHERE finished_at > clock_timestamp() - interval '1 hour' GROUP BY kind, state ORDER BY kind, state
""")


class QueueMetrics(Collector):
    """Unfinished jobs, the oldest queued one's wait, and ends by kind and state."""

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
                ended = db.execute(ENDED).all()
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
        for row in ended:
            ends.add_metric([row.kind, row.state], row.jobs)
        yield ends
