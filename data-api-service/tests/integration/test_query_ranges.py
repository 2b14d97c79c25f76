"""Several range queries in one request."""

import pytest
from conftest import NOW_MS
from prometheus_client import REGISTRY

T = NOW_MS // 1000
RANGES = "/api/v1/query_ranges"


@pytest.fixture
async def filled(das, ingest, tenant):
    """A counter of two jobs, each 15 s for ten minutes."""
    for job in ("api", "db"):
        samples = [(NOW_MS - 600_000 + n * 15_000, n * 30.0) for n in range(41)]
        await ingest.write(tenant, {"__name__": "requests_total", "job": job}, samples)
    return das


def form(*queries, start=T - 300, step=15):
    return {
        "query": [*queries],
        "start": [str(start)] * len(queries),
        "end": [str(T)] * len(queries),
        "step": [str(step)] * len(queries),
    }


async def test_several_are_answered_what_each_query_alone_is_answered(filled):
    """The answers stand in the order of the queries, whatever becomes of their neighbours."""
    queries = ["sum(rate(requests_total[1m]))", "requests_total", "nothing_of_the_kind", "1"]
    answers = (await filled.post(RANGES, data=form(*queries))).json()
    alone = [
        (await filled.post("/api/v1/query_range", data=form(query))).json() for query in queries
    ]
    assert answers == {"status": "success", "data": alone}


@pytest.mark.parametrize(
    ("broken", "kind"),
    [("sum(", "bad_data"), ("requests_total * on () requests_total", "execution")],
    ids=["syntax", "execution"],
)
async def test_one_of_several_fails_alone(filled, broken, kind):
    """It has the error that it would have alone; the others have their data."""
    alone = (await filled.post("/api/v1/query_range", data=form(broken))).json()
    assert alone["errorType"] == kind
    before, failed, after = (
        await filled.post(RANGES, data=form("requests_total", broken, "requests_total"))
    ).json()["data"]
    assert failed == alone
    assert before == after
    assert len(after["data"]["result"]) == 2


async def test_several_share_their_samples(filled):
    """Samples that several queries need are loaded once."""

    async def loaded(*queries):
        before = REGISTRY.get_sample_value("cloudopshub_query_samples_total")
        assert (await filled.post(RANGES, data=form(*queries))).status_code == 200
        return REGISTRY.get_sample_value("cloudopshub_query_samples_total") - before

    alone = await loaded("requests_total")
    assert alone > 0
    assert await loaded("requests_total", "sum(requests_total)", "max(requests_total)") == alone


@pytest.mark.parametrize(
    "body",
    [
        {},
        {**form("a", "b"), "start": ["0"]},
        form(*["up"] * 65),
        form("up", step=0),
        form("up", start=T + 1),
    ],
    ids=["nothing", "a start is missing", "too many", "no step", "ends before it starts"],
)
async def test_several_that_cannot_be_read_are_refused(das, body):
    """Each query has its own start, end and step, and there are not too many of them."""
    answer = await das.post(RANGES, data=body)
    assert answer.status_code == 400
    assert answer.json()["errorType"] == "bad_data"
