"""Heavy queries in processes of their own: the same answers and bounds, and an end to each."""

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import worker_jobs as jobs
from conftest import NOW_MS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from data_api import engine as engines
from data_api import heaviness
from data_api.chassis.identity import Limits
from data_api.errors import TooMuchMemory, WorkerEnded

T = NOW_MS // 1000
SERIES = 40


@asynccontextmanager
async def _served(serve, hub, tenant, light_s, **more):
    client = await serve(**more)
    client.headers["X-API-Key"] = hub.key(tenant, query_concurrency=50)
    engine = client._transport.app.state.services.engine
    engine._weights.light_s = light_s
    yield client, engine


@pytest.fixture
async def both(serve, hub, ingest, tenant):
    """A client whose queries are all computed in the service, and one whose all are in workers."""
    for n in range(SERIES):
        labels = {"__name__": f"m{n % 2}", "host": f"h{n // 4}", "n": str(n), "le": str(n % 4)}
        await ingest.write(tenant, labels, [(NOW_MS - at * 15_000, n + at % 7) for at in range(40)])
    async with (
        _served(serve, hub, tenant, float("inf"), query_workers=0) as (here, _),
        _served(serve, hub, tenant, -1.0) as (there, engine),
    ):
        yield here, there, engine


PIECES = {
    "vector": ["m0", 'm1{host=~"h[1-3]"}', '{__name__=~"m.*"}', "nothing", "vector(1)", "m0{n=''}"],
    "around": [
        "{}", "sum by (host) ({})", "topk(3, {})", "quantile(0.5, {})", "-{}", "({}) * on (n) m0",
        'label_replace({}, "a", "$1-$1", "host", "(.*)")', "sort({})", "count_values('v', {})",
        'label_join({}, "le", "-", "host", "n")', 'label_replace({}, "n", "x", "n", ".*")',
        "({}) / ignoring (le) group_left () m1", "histogram_quantile(0.9, {})", "absent({})",
        "max_over_time(({})[2m:15s])", "({}) and m1", "sort_by_label({}, 'n')", "{} +", "no({})",
        'label_replace({}, "a", "x", "host", "(")', 'label_replace({}, "", "x", "host", ".*")',
    ],
}  # fmt: skip
queries = st.recursive(
    st.sampled_from(PIECES["vector"]),
    lambda inner: st.builds(lambda around, one: around.replace("{}", one, 1),
                            st.sampled_from(PIECES["around"]), inner),
    max_leaves=3,
)  # fmt: skip


async def test_a_worker_answers_as_the_service_does(both):
    """Whatever is asked, status, body and error of a worker are those of the service, byte for
    byte.
    """
    here, there, engine = both
    loop = asyncio.get_running_loop()

    async def ask(text, step):
        span = {"start": T - 600, "end": T, "step": step} if step else {"time": T}
        path = "/api/v1/query_range" if step else "/api/v1/query"
        first, second = [
            await one.get(path, params={"query": text, **span}) for one in (here, there)
        ]
        assert (first.status_code, first.content) == (second.status_code, second.content), text

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(text=queries, step=st.sampled_from([0, 15, 60]))
    def compare(text, step):
        asyncio.run_coroutine_threadsafe(ask(text, step), loop).result()

    await asyncio.to_thread(compare)
    assert engine._workers.processes


LISTS = [
    "labels", "labels?match[]=m0", "label/host/values", "label/host/values?match[]=m1&limit=2",
    f"series?match[]=m0&start={T - 60}&end={T}", "series?match[]=m0{", "series?match[]={a=''}",
    "cardinality", "status/tsdb", "query?query=m0&limit=1", "query?query=" + "1%2B" * 2000 + "1",
    "query?query=m0{" + "n!~'x.*'," * 200 + "}", "query?query=m0{" + "n!~'x.*'," * 900 + "}",
]  # fmt: skip


async def test_a_worker_lists_as_the_service_does(both):
    """Names, series, counts, long texts and errors are the same from a worker."""
    here, there, _ = both
    for url in LISTS:
        one, other = [await client.get(f"/api/v1/{url}") for client in (here, there)]
        assert (one.status_code, one.content) == (other.status_code, other.content), url


async def test_bounds_are_the_same_in_a_worker(serve, hub, ingest, tenant):
    """Samples, answer bytes, matchers and memory of the process refuse a worker's query by the
    same name, number and limit.
    """
    labels = {"__name__": "m0", "job": "a-name-of-some-length"}
    await ingest.write(tenant, labels, [(NOW_MS - n * 1000, 1.0) for n in range(50)])
    async with _served(serve, hub, tenant, 0.1) as (client, engine):
        wide, pool = engine.limits, engine.pool
        for bounds, held, query in (
            ({"samples_max": 20}, 1000, "m0[1m]"),
            ({}, 30, "m0[1m]"),
            ({"answer_bytes_max": 300}, 1000, "m0[1m]"),
            ({}, 1000, "m0{" + "n!='x'," * 257 + "}"),
        ):
            engine.limits, pool.samples_max = replace(wide, **bounds), held
            answers = []
            for light_s, where in ((float("inf"), "process"), (-1.0, "worker")):
                engine._weights.light_s = light_s
                answer = await client.get("/api/v1/query", params={"query": query, "time": T})
                answers.append((answer.status_code, answer.json()["error"]))
                failed = engine.log.shown(tenant)["failed"][0]
                assert len(query) > 1000 or failed["where"] == where
            assert answers[0] == answers[1], answers
            assert answers[0][0] in {422, 503}
            assert "limit=" in answers[0][1]


@pytest.fixture(autouse=True)
def jobs_are_known_to_workers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(jobs.__file__).parent))


async def _busy(engine):
    """Returns when a worker computes."""
    while not engine._workers._busy:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


def _elsewhere(engine, tenant, work):
    return engine.reading(tenant, Limits(), work, expected_s=float("inf"))


async def _run(engine, tenant, work):
    async with _elsewhere(engine, tenant, work) as answer:
        return answer


async def test_a_query_that_is_left_ends_in_its_worker(serve, hub, tenant):
    """A cancelled query's worker is free again, or dead when it does not stop; the next query is
    answered, and no tenant waits for an abandoned one.
    """
    async with _served(serve, hub, tenant, 0.1) as (_, engine), asyncio.timeout(600):
        first = await _run(engine, tenant, jobs.pid)
        for work, survives in ((jobs.endless, True), (jobs.stuck, False)):
            running = asyncio.create_task(_run(engine, tenant, work))
            await _busy(engine)
            running.cancel()
            await asyncio.wait([running])
            await asyncio.gather(*engine._workers._stopping)
            assert engine._workers.processes == [first] * survives
            assert await _run(engine, tenant, jobs.pid) in engine._workers.processes
        assert engine.log.shown(tenant)["failed"][0]["outcome"] == "canceled"


async def test_a_workers_end_is_told_and_mended(serve, hub, tenant):
    """A query that takes too much memory is refused with the limit, one whose process is killed is
    503; the next is answered by another process, beside which none is left over.
    """
    more = {"worker_bytes_max": 512 * 2**20}
    async with _served(serve, hub, tenant, 0.1, **more) as (_, engine), asyncio.timeout(600):
        with pytest.raises(TooMuchMemory, match=f"limit_bytes={512 * 2**20}"):
            await _run(engine, tenant, jobs.greedy)
        with pytest.raises(WorkerEnded):
            await _run(engine, tenant, jobs.dies)
        assert await _run(engine, tenant, jobs.pid) in engine._workers.processes
        assert len(engine._workers.processes) <= 2


async def test_no_process_is_left_when_nobody_asks(serve, hub, tenant):
    """None is there before the first heavy query; after the last, when it was idle for a while,
    the nursery is gone as well, and the next heavy query is answered.
    """
    async with _served(serve, hub, tenant, 600.0) as (client, engine), asyncio.timeout(600):
        workers = engine._workers
        assert (await client.get("/api/v1/query?query=vector(1)")).status_code == 200
        assert workers._nursery is None
        workers._idle_s = 0
        for _ in range(2):
            await _run(engine, tenant, jobs.pid)
            nursery = workers._nursery
            while workers.processes:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            assert workers._nursery is None
            assert nursery.poll() is not None


async def test_no_tenant_has_the_last_worker(serve, hub, tenant):
    """However many heavy queries one tenant has, another's is computed at once."""
    async with _served(serve, hub, tenant, 0.1, query_workers=2) as (_, engine):
        async with asyncio.timeout(600):
            hostile = [asyncio.create_task(_run(engine, tenant, jobs.endless)) for _ in range(5)]
            await _busy(engine)
            assert await _run(engine, uuid.uuid4(), jobs.pid) in engine._workers.processes
            for task in hostile:
                task.cancel()
            await asyncio.wait(hostile)


async def test_what_a_worker_counts_is_in_the_metrics_of_its_service(serve, hub, ingest, tenant):
    """CPU, and what its caches had to make, on top of what was counted here."""

    def counted():
        lookups = {"cache": "block_chunk", "outcome": "miss"}
        cpu_s = REGISTRY.get_sample_value(
            "cloudopshub_query_cpu_seconds_total", {"where": "worker"}
        )
        return (
            cpu_s,
            REGISTRY.get_sample_value("cloudopshub_cache_lookups_total", lookups) or 0,
            REGISTRY.get_sample_value("cloudopshub_query_samples_total"),
        )

    await ingest.write(tenant, {"__name__": "m0"}, [(NOW_MS, 1.0)])
    await ingest.compact(tenant)
    async with _served(serve, hub, tenant, -1.0) as (client, _):
        for misses in (1, 0):
            before = counted()
            answer = await client.get(f"/api/v1/query?query=m0&time={T}")
            assert len(answer.json()["data"]["result"]) == 1
            cpu_s, lookups, samples = counted()
            assert cpu_s > before[0]
            assert (lookups, samples) == (before[1] + misses, before[2] + 1)


async def test_a_query_that_proves_heavy_moves(serve, hub, ingest, tenant, monkeypatch):
    """One that takes more than it may here is answered by a worker, this time and at once the next
    time; one that cannot be sent stays and is answered as well.
    """
    await ingest.write(tenant, {"__name__": "m0"}, [(NOW_MS, 1.0)])
    async with _served(serve, hub, tenant, 0.0) as (client, engine), asyncio.timeout(600):
        monkeypatch.setattr(heaviness, "UNKNOWN_S", 0.0)
        monkeypatch.setattr(engines, "ON_LOOP_S", -1.0)
        engine._weights.takes(uuid.uuid4(), "m0", heaviness.NEVER)
        for _ in range(2):
            answer = await client.get(f"/api/v1/query?query=m0&time={T}")
            assert len(answer.json()["data"]["result"]) == 1
            assert engine.log.shown(tenant)["costliest"][0]["where"] == "worker"
            assert engine._weights._least_s[tenant, hash("m0")] == heaviness.NEVER
        step = (NOW_MS, NOW_MS, 0)
        async with engine.query(tenant, Limits(), "m0 * 2", step, lambda result, _: result) as one:
            assert one.value.values.tolist() == [2.0]


async def test_a_tenant_sees_its_own_queries(serve, hub, ingest, tenant):
    """Each with text, cost, duration and how it ended; another tenant's are not shown."""
    await ingest.write(tenant, {"__name__": "m0"}, [(NOW_MS - n, 1.0) for n in range(3)])
    client = await serve()
    client.headers["X-API-Key"] = hub.key(tenant)
    await client.get("/api/v1/query", params={"query": "m0[1m]", "time": T})
    await client.get("/api/v1/query", params={"query": "m0 +", "time": T})
    shown = (await client.get("/api/v1/status/queries")).json()["data"]
    assert set(shown) == {"active", "costliest", "slow", "failed"}
    by_text = {one["text"]: one for one in shown["costliest"]}
    good = by_text["m0[1m]"]
    assert (good["outcome"], good["series"], good["samples"]) == ("answered", 1, 3)
    assert good["cpu_s"] > 0
    assert good["peak_bytes"] >= 48
    assert [(one["text"], one["outcome"]) for one in shown["failed"]] == [("m0 +", "bad_data")]
    other = await client.get("/api/v1/status/queries", headers={"X-API-Key": hub.key(uuid.uuid4())})
    assert not any(other.json()["data"].values())
