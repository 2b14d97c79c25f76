"""Twenty jobs while everything around them fails at random: do they end as in quiet times?

    .venv/bin/python benchmarks/bench_faults.py [--seed 1] [--faults 40]

Every kind runs over 300 series, first undisturbed, then again by two workers of which processes are
killed, while Postgres crashes and data-api-service answers 503, half a body, or half a stream. The
job's state, summary and each series of its result must be equal; nothing is there twice.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from embedded_postgres import own_postgres  # noqa: E402  beside the tests
from neighbours import TENANT_A, Neighbours, Port  # noqa: E402

from analysis_processing import migrate  # noqa: E402
from analysis_processing.analyses import ANALYSES, resolved_params  # noqa: E402
from analysis_processing.chassis.kinds import ServiceError  # noqa: E402
from analysis_processing.jobs import repository  # noqa: E402
from analysis_processing.jobs.database import engine_for, transaction  # noqa: E402
from analysis_processing.model import Request  # noqa: E402

SERIES, STEPS, STEP_MS, JOBS = 300, 100, 60_000, 20
END_MS = 1_760_000_040_000
FUNCTION = "def run(frame, params):\n    return frame.rolling(5).mean()"


class Failing(Neighbours):
    """Das, of whose answers the share `rate` are broken."""

    def __init__(self) -> None:
        super().__init__()
        self.rate, self.count = 0.0, Counter[str]()

    def answer(self, request: httpx.Request) -> httpx.Response:
        """As in quiet times, or broken in one of three ways."""
        whole = super().answer(request)
        if "query_range" not in request.url.path or random.random() >= self.rate:
            return whole
        way = random.choice(["503", "broken connection", "half a stream"])
        self.count[way] += 1
        if way == "503":
            return httpx.Response(503)
        half = httpx.Response(200, content=whole.content[: len(whole.content) // 2])
        if way == "broken connection":
            half.headers["content-length"] = str(len(whole.content))
        return half


def sample(ms: int, n: int) -> float:
    """A wave with noise; every third series steps up at two thirds of the range."""
    step = (ms - END_MS) // STEP_MS + STEPS
    noise = (step * 2_654_435_761 + n * 40_503) % 9_973 / 9_973
    return step % 60 / 30 + noise + (4.0 if n % 3 == 0 and step > STEPS * 2 // 3 else 0.0)


def submit(engine: Engine) -> None:
    """Every kind is asked for, again and again with another query, until there are JOBS."""
    kinds = list(ANALYSES)
    for n in range(JOBS):
        kind = kinds[n % len(kinds)]
        given = {"target": '{"n": "001"}'} if kind == "correlation" else {}
        params = resolved_params(kind, given, STEP_MS)
        start_ms = END_MS - (STEPS - 1) * STEP_MS
        request = Request(kind, f"q{n}", start_ms, END_MS, STEP_MS, params)
        with transaction(engine) as db:
            now = datetime.now(UTC)
            repository.submit(
                db, TENANT_A, request, "key:x", now=now, unfinished_max=JOBS, force=True
            )


def results(engine: Engine) -> dict[str, Any]:
    """State, summary and series, sorted by labels, of each job."""
    with transaction(engine) as db:
        rows = db.exec_driver_sql("""
            SELECT j.query, j.kind, j.state, j.error, j.summary, coalesce((
              SELECT jsonb_agg(jsonb_build_array(s.labels, s.score, s.detail, s.note)
                               ORDER BY s.labels::text)
              FROM analysis.series s WHERE s.job_id = j.id), '[]') AS series
            FROM analysis.job j""").mappings()
        return {row["query"]: dict(row) for row in rows}


def unfinished(engine: Engine) -> int:
    """Jobs that have not ended; those that wait for another attempt wait no longer."""
    try:
        with transaction(engine) as db:
            db.exec_driver_sql("UPDATE analysis.job SET run_after = now() WHERE state = 'queued'")
            count = "SELECT count(*) FROM analysis.job WHERE finished_at IS NULL"
            return int(db.exec_driver_sql(count).scalar() or 0)
    except ServiceError:
        return JOBS


def crash(engine: Engine) -> None:
    """Postgres ends every session and recovers, as it does when one of its processes is killed."""
    try:
        with engine.connect() as db:
            pid = int(db.exec_driver_sql("SELECT pg_backend_pid()").scalar() or 0)
            os.kill(pid, signal.SIGKILL)
            db.exec_driver_sql("SELECT 1")
    except SQLAlchemyError:
        engine.dispose()


def disturb(engine: Engine, workers: list[Any], start: Any, count: Counter[str]) -> None:
    """One thing fails."""
    way = random.choice(["child", "child", "worker", "Postgres"])
    count[way] += 1
    place = random.randrange(len(workers))
    pid = workers[place].pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    if way == "Postgres":
        crash(engine)
    elif way == "child" and children:
        os.kill(int(random.choice(children)), signal.SIGKILL)
    elif way == "worker":
        workers[place].kill()
        workers[place].wait()
        workers[place] = start()


def main() -> None:
    """Print what failed, how jobs ended, and what differs; exit 1 when anything does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=40)
    options = parser.parse_args()
    random.seed(options.seed)
    das, count = Failing(), Counter[str]()
    das.series = [({"n": f"{n:03}"}, lambda ms, n=n: sample(ms, n)) for n in range(SERIES)]
    with own_postgres() as url, Port(das) as port, tempfile.TemporaryDirectory() as folder:
        Path(folder, "mine.py").write_text(FUNCTION, encoding="utf-8")
        migrate.upgrade(url)
        engine = engine_for(url)
        urls = {f"{name}_URL": port.url for name in ("UBS", "DAS", "DIS")}
        ours = {"DATABASE_URL": url, "SERVICE_TOKEN": "t" * 43, "APS_OWN_ANALYSES": folder}
        bounds = {"APS_WORKER_LEASE_S": "2", "APS_ATTEMPTS_MAX": "50", "LOG_LEVEL": "error"}

        def start() -> Any:
            command = [sys.executable, "-m", "analysis_processing.worker"]
            env = {**os.environ, **urls, **ours, **bounds}
            return subprocess.Popen(command, cwd=HERE.parent, env=env)

        workers = [start(), start()]
        try:
            began_s = time.monotonic()
            submit(engine)
            while unfinished(engine):
                time.sleep(0.5)
            quiet, written = results(engine), dict(das.written)
            states = Counter(one["state"] for one in quiet.values())
            print(f"{time.monotonic() - began_s:.0f} s without faults: {dict(states)}", flush=True)
            das.written.clear()
            submit(engine)
            das.rate, began_s = 0.25, time.monotonic()
            while unfinished(engine):
                if count.total() < options.faults:
                    disturb(engine, workers, start, count)
                time.sleep(random.uniform(0.5, 2.0))
            with transaction(engine) as db:
                attempts = "SELECT attempts FROM analysis.job ORDER BY 1"
                print("attempts", *db.exec_driver_sql(attempts).scalars())
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()
        loud = results(engine)
        engine.dispose()
    print(f"{time.monotonic() - began_s:.0f} s;", dict(count), "das:", dict(das.count))
    wrong = [
        (query, loud[query]["kind"], name, json.dumps(loud[query][name])[:300])
        for query in quiet
        for name in quiet[query]
        if loud[query][name] != quiet[query][name]
    ]
    print(f"{len(wrong)} differences in {len(quiet)} jobs", *wrong, sep="\n  ")
    print("states", dict(Counter(one["state"] for one in loud.values())))
    print("what was written back is", "equal" if das.written == written else "DIFFERENT")
    sys.exit(bool(wrong) or das.written != written)


if __name__ == "__main__":
    main()
