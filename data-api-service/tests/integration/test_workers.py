"""Heavy queries in processes of their own: the same answers, the same bounds, and an end to each."""

import asyncio
import os
import uuid
from contextlib import asynccontextmanager

import pytest
from conftest import NOW_MS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


NOT_THE_SAME = ()
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
    byte."""
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
        max_examples=80,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(text=queries, step=st.sampled_from([0, 15, 60]))
    def compare(text, step):
        asyncio.run_coroutine_threadsafe(ask(text, step), loop).result(60)

    await asyncio.to_thread(compare)
    assert engine._workers.processes


@pytest.mark.parametrize(
    "url",
    [
        "labels", "labels?match[]=m0", "label/host/values", "label/host/values?match[]=m1&limit=2",
        f"series?match[]=m0&start={T - 60}&end={T}", "series?match[]=m0{", "series?match[]={a=''}",
        "cardinality", "status/tsdb", "query?query=m0&limit=1", "query?query=" + "1%2B" * 2000 + "1",
        "query?query=m0{" + "n!~'x.*'," * 900 + "}",
    ],
)  # fmt: skip
async def test_a_worker_lists_as_the_service_does(both, url):
    """Names, series, counts, long texts and errors are the same from a worker."""
    here, there, _ = both
    one, other = [await client.get(f"/api/v1/{url}") for client in (here, there)]
    assert (one.status_code, one.content) == (other.status_code, other.content)
