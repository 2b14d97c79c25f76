"""A world in which watches run: series by formula, and a clock that the scenario moves."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from urllib.parse import parse_qs

import anyio
import httpx
import numpy as np
import pyarrow as pa
from neighbours import TENANT_A, Neighbours
from sqlalchemy import text

from analysis_processing.analyses import resolved_params
from analysis_processing.clients.http import Door
from analysis_processing.frames import series_name
from analysis_processing.watch import claims, events, watches
from analysis_processing.watch.defaults import Seeder
from analysis_processing.watch.runner import Runner

STEP_MS = 60_000
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
START = NOON + timedelta(seconds=15)
"""Each watch is due a few seconds after its column has settled."""


class Killed(BaseException):
    """The process ends here, as by kill -9."""


@cache
def noise(i: int, seed: int = 0) -> float:
    """The noise of a moment is the same whenever it is asked for."""
    return float(np.random.default_rng([seed, i % 100_000]).normal())


def steady(ms: int) -> float:
    """A level with noise."""
    return 50 + noise(ms // STEP_MS)


def shifted(after_ms: int, until_ms: int = 2**60, by: float = 25.0) -> Callable[[int], float]:
    """The level, moved by so much from a time on, until another."""
    return lambda ms: steady(ms) + (by if after_ms <= ms < until_ms else 0)


class World(Neighbours):
    """das, dis and ubs; `now` is moved by the scenario. late: a sample's delay in ms, by its time.

    killed_at: paths at which whoever asks is killed, once each. found: what an instant query has.
    """

    def __init__(self, settings, engine):
        super().__init__()
        self.settings = settings.model_copy(
            update={"watch_learn_s": 86_400.0, "watch_settle_s": 60.0}
        )
        self.engine = engine
        self.now = START
        self.late: Callable[[int], int] = lambda _: 0
        self.killed_at: list[str] = []
        self.found: list[dict[str, str]] = []
        self.tenants: list[str] = []

    def answer(self, request):
        path = request.url.path
        if path in self.killed_at:
            self.killed_at.remove(path)
            raise Killed
        if self.refuse.get(path):
            return self.refuse[path].pop(0)
        match path:
            case "/api/v1/query_range_arrow":
                return httpx.Response(200, content=self._arrow(request))
            case "/api/v1/query":
                result = [{"metric": labels, "value": [0, "1"]} for labels in self.found]
                return httpx.Response(200, json={"data": {"result": result}})
        return super().answer(request)

    def _arrow(self, request):
        form = {name: one[0] for name, one in parse_qs(request.content.decode()).items()}
        start, end, step = (round(float(form[name]) * 1000) for name in ("start", "end", "step"))
        times, now_ms = range(start, end + 1, step), int(self.now.timestamp() * 1000)
        assert end <= now_ms, "nobody asks for what has not come"
        rows = {
            series_name(labels): [at(ms) if ms + self.late(ms) <= now_ms else None for ms in times]
            for labels, at in self.series
        }
        rows = {name: row for name, row in rows.items() if any(one is not None for one in row)}
        arrays = [
            pa.array(
                [list(json.loads(name).items()) for name in rows],
                pa.map_(pa.string(), pa.string()),
            ),
            pa.array(list(rows.values()), pa.list_(pa.float64(), len(times))),
        ]
        schema = pa.schema(
            [("metric", arrays[0].type), ("values", arrays[1].type)],
            {"start_ms": str(start), "steps": str(len(times)), "warnings": "[]"},
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.record_batch(arrays, schema=schema))
        return sink.getvalue().to_pybytes()

    def door(self, tenant):
        async def token():
            return f"for {tenant}"

        async def rest(_seconds):
            """No time passes between two tries."""

        return Door("neighbour", "http://neighbour", self.client(), token, rest)

    def runner(self):
        """A process that has just started: it remembers nothing."""
        return Runner(self.engine, lambda _: self.now, self.settings, self.door, self.door)

    def seeder(self):
        """Whoever makes default watches."""
        return Seeder(self.engine, lambda _: self.now, self, self.door, self.settings)

    async def ask(self, _method, _path, *, params):
        """ubs, as the seeder asks it."""
        assert params == {}
        return {"tenants": self.tenants, "next": None}

    def watch(self, tenant=TENANT_A, name="cpu", count_max=9, **more):
        """A new watch."""
        wanted = {"name": name, "query": "cpu", "step_ms": STEP_MS, "enabled": True}
        wanted |= {"params": resolved_params("anomaly", {}, STEP_MS)} | more
        with self.engine.begin() as db:
            made = {"created_by": "key:x", "now": self.now, "count_max": count_max}
            return watches.make(db, tenant, wanted, **made)

    def read(self, watch):
        """The watch as it stands."""
        with self.engine.begin() as db:
            return watches.get(db, watch.tenant_id, watch.id)

    def watches(self, tenant):
        """The tenant's watches by name."""
        with self.engine.begin() as db:
            return watches.of_tenant(db, tenant)

    def change(self, watch, **changed):
        """The watch, with something else."""
        names = ("name", "query", "step_ms", "params", "enabled")
        wanted = {name: getattr(watch, name) for name in names} | changed
        with self.engine.begin() as db:
            watches.change(db, watch.tenant_id, watch.id, wanted, self.now)

    def delete(self, watch):
        """The watch is gone."""
        with self.engine.begin() as db:
            watches.delete(db, watch.tenant_id, watch.id)

    def feed(self, tenant=TENANT_A, **filters):
        """The tenant's feed."""
        none = dict.fromkeys(("kind", "watch", "since_ms", "until_ms", "q"))
        asked = {**none, "state": "all", "silenced": False, **filters}
        with self.engine.begin() as db:
            return events.feed(db, tenant, asked, after=None, limit=50, now=self.now)

    def claim(self):
        """What a worker takes next."""
        with self.engine.begin() as db:
            return claims.claim(db, "w", self.now, 15)

    def run_due(self, runner_of):
        """What is due is run, and what was killed after its lease again; how many runs that took.

        runner_of: the runner for a watch.
        """
        runs = 0
        while batch := self.claim():
            for claim in batch:
                runs += 1
                try:
                    anyio.run(runner_of(claim.watch).run, claim)
                except Killed:
                    self.now += timedelta(seconds=16)
        return runs

    def live(self, minutes, runner_of=None):
        """So many minutes pass, and what becomes due in each is run."""
        runner = self.runner()
        for _ in range(minutes):
            self.now += timedelta(minutes=1)
            self.run_due(runner_of or (lambda _: runner))

    def events(self, watch=None):
        """All events as rows, oldest first."""
        query = "SELECT * FROM analysis.event ORDER BY start_ms, labels::text, tenant_id"
        with self.engine.begin() as db:
            rows = db.execute(text(query)).mappings().all()
        return [row for row in rows if watch is None or row["watch_id"] == watch.id]

    def alarms(self, **labels):
        """Samples of the alarm series with those labels by time."""
        samples = {}
        for names, own in self.written.items():
            if dict(names) == {"__name__": "cloudopshub_anomaly_alarm", **labels}:
                samples |= own
        return samples
