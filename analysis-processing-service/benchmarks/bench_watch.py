"""What standing watches cost a minute: 10,000 series in five watches, in a real Postgres.

    .venv/bin/python benchmarks/bench_watch.py [series] [minutes] [hours that are learned from]

Series are a level, a day's wave and noise, one in a hundred shifted in the middle. das and dis are
stand-ins in this process, and what they cost is not counted; Postgres is another process, and its
work is in the wall time only.
"""

import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import numpy as np
import pyarrow as pa

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from embedded_postgres import fresh_database, running_postgres  # noqa: E402  beside the tests
from neighbours import TENANT_A  # noqa: E402
from sqlalchemy import text  # noqa: E402

from analysis_processing import migrate  # noqa: E402
from analysis_processing.analyses import resolved_params  # noqa: E402
from analysis_processing.jobs.database import engine_for  # noqa: E402
from analysis_processing.settings import Settings  # noqa: E402
from analysis_processing.watch import claims, runner, watches  # noqa: E402
from analysis_processing.watch.runner import Runner  # noqa: E402

STEP_MS = 60_000
WATCHES = 5
START = datetime(2026, 1, 5, 12, 0, 15, tzinfo=UTC)


class StandIn:
    """das and dis; what they cost in CPU and wall seconds is in `spent`."""

    service = "stand-in"

    def __init__(self, series: int) -> None:
        self.series = series
        self.spent = np.zeros(2)

    async def post(self, path: str, *, data: dict[str, str] | None = None, **_: object) -> bytes:
        """The columns of a watch, made anew: the same wherever they are asked for."""
        began = np.array([time.process_time(), time.perf_counter()])
        answer = b'{"data": {"result": []}}'
        if data is not None and path.endswith("arrow"):
            first, last = (round(float(data[name])) for name in ("start", "end"))
            steps = np.arange(first // 60, last // 60 + 1)
            wave = 10 * np.sin(steps * (2 * np.pi / 1_440))
            columns = [np.random.default_rng([7, step]).normal(size=self.series) for step in steps]
            values = 50 + wave + np.array(columns).T
            moved = int(START.timestamp()) // 60 + 5
            values[::100, steps >= moved] += 12
            answer = arrow(values, data["query"])
        self.spent += np.array([time.process_time(), time.perf_counter()]) - began
        return answer


def arrow(values: np.ndarray, query: str) -> bytes:
    """The answer of query_range_arrow."""
    labels = [
        [("__name__", query), ("instance", f"host-{row:05d}:9100"), ("job", "node")]
        for row in range(values.shape[0])
    ]
    arrays = [
        pa.array(labels, pa.map_(pa.string(), pa.string())),
        pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]),
    ]
    batch = pa.record_batch(arrays, names=["metric", "values"])
    batch = batch.replace_schema_metadata({"warnings": "[]"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


class Bench:
    """A database, five watches and a runner, on a clock of its own."""

    def __init__(self, url: str, series: int, hours: int) -> None:
        self.engine = engine_for(url)
        address = {f"{name}_url": "http://nowhere" for name in ("ubs", "das", "dis")}
        bounds = {"watch_series_max": series, "watch_remembered_max": series}
        bounds["watch_learn_s"] = hours * 3_600
        self.settings = Settings(database_url=url, service_token="x" * 43, **address, **bounds)
        self.now = START
        self.door = StandIn(series // WATCHES)
        self.runner = self.fresh()
        for number in range(WATCHES):
            wanted = {"name": f"w{number}", "query": f"m{number}", "step_ms": STEP_MS}
            wanted |= {"params": resolved_params("anomaly", {}, STEP_MS), "enabled": True}
            with self.engine.begin() as db:
                watches.make(db, TENANT_A, wanted, created_by="x", now=self.now, count_max=9)

    def fresh(self) -> Runner:
        """A process that remembers nothing."""
        door = lambda _tenant: self.door  # noqa: E731
        return Runner(self.engine, lambda _db: self.now, self.settings, door, door)

    async def run_due(self) -> None:
        """Everything that is due is run."""
        while True:
            with self.engine.begin() as db:
                batch = claims.claim(db, "w", self.now, 600)
            if not batch:
                return
            for claim in batch:
                await self.runner.run(claim)

    def measured(self, what: str) -> None:
        """What is due is run; its cost is printed."""
        self.door.spent[:] = 0
        began = np.array([time.process_time(), time.perf_counter()])
        anyio.run(self.run_due)
        cost = np.array([time.process_time(), time.perf_counter()]) - began - self.door.spent
        print(f"{what:44}{cost[0]:8.2f} CPU s{cost[1]:8.2f} s", flush=True)


def main(series: int, minutes: int, hours: int) -> None:
    """Print what learning, each minute, and a restart cost; what is stored; memory."""
    with running_postgres() as server, fresh_database(server, "bench") as url:
        migrate.upgrade(url)
        bench = Bench(url, series, hours)
        bench.measured(f"learning {hours} h of {series} series")
        for minute in range(minutes):
            bench.now += timedelta(minutes=1)
            bench.measured(f"minute {minute + 1}")
        runner.JOURNAL_STEPS_MAX, usual = 0, runner.JOURNAL_STEPS_MAX
        bench.now += timedelta(minutes=1)
        bench.measured("a minute that stores the whole state")
        runner.JOURNAL_STEPS_MAX, bench.runner = usual, bench.fresh()
        bench.now += timedelta(minutes=1)
        bench.measured("a minute of a new process, memory loaded")
        query = """
            SELECT (SELECT sum(length(payload)) FROM analysis.watch_state),
                   (SELECT sum(length(payload)) FROM analysis.watch_journal),
                   (SELECT count(*) FROM analysis.event),
                   (SELECT string_agg(DISTINCT error, ';') FROM analysis.watch)"""
        with bench.engine.begin() as db:
            state, journal, count, errors = db.execute(text(query)).one()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"state {state / 1e6:.1f} MB, journal {(journal or 0) / 1e6:.2f} MB, {count} events")
        print(f"memory at most {peak} MiB; errors: {errors}")
        bench.engine.dispose()


if __name__ == "__main__":
    main(*(int(one) for one in [*sys.argv[1:], *("10000", "8", "48")[len(sys.argv) - 1 :]]))
