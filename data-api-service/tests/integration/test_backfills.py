"""Recording rules over history."""

import struct
import uuid

import pytest
from asgi_lifespan import LifespanManager
from conftest import NOW_MS, FixedClock, make_settings

from data_api.app import create_app
from data_api.chassis.identity import Limits
from data_api.errors import NotWritten
from data_api.rules import backfill, recording, vectors
from data_api.rules.acting import Acting
from data_api.rules.alerting import AlertState
from data_api.rules.model import RecordingRule

T = NOW_MS // 1000
MINUTE = 60_000
BACKFILLS = "/api/v1/rules/backfills"
RULE = "record: job:up:sum\nexpr: sum by (job) (up)\nlabels: {from: history}\n"
FORM = {"rule": RULE, "start": T - 1200, "end": T, "step": "1m"}


@pytest.fixture
async def services(database_url, objects):
    """The service's own parts, with a store that the tests fill."""
    app = create_app(make_settings(database_url, objects), clock=FixedClock())
    async with LifespanManager(app):
        services = app.state.services
        async with services.backfills._database.acquire() as connection:
            await connection.execute("TRUNCATE rules.backfill")
        yield services


class Dis(Acting):
    """Queries of the real engine; `written` is what arrived, `refusal` what is answered then."""

    __slots__ = ("refusal", "written")

    async def plan(self, _):
        return self.limits.get("plan", Limits())

    async def write(self, _, samples, _ends_s):
        self.written.extend(samples)
        if self.refusal:
            raise self.refusal[0]


@pytest.fixture
def dis(services):
    acting = Dis(services.engine, services.identity, None, "http://dis", {})
    object.__setattr__(acting, "written", [])
    object.__setattr__(acting, "refusal", [])
    return acting


@pytest.fixture
async def filled(services, ingest, tenant):
    """Two jobs, of which one ends after eleven minutes and comes again."""
    minutes = range(21)
    await ingest.write(
        tenant, {"__name__": "up", "job": "a"}, [(NOW_MS - m * MINUTE, 1.0) for m in minutes]
    )
    gone = [(NOW_MS - m * MINUTE, 1.0) for m in minutes if not 3 <= m <= 9]
    await ingest.write(tenant, {"__name__": "up", "job": "b"}, gone)
    return services


def vector_of(result, _):
    return tuple(vectors.of_instant(result))


async def one_by_one(tenant, dis):
    """What evaluations at each minute would have written."""
    rule = RecordingRule("job:up:sum", "sum by (job) (up)", {"from": "history"})
    samples, state = [], AlertState()
    for at_ms in range(NOW_MS - 1_200_000, NOW_MS + 1, MINUTE):
        vector = await dis.over(tenant, rule.expr, (at_ms, at_ms, 0), vector_of, 1e12)
        state, new = recording.record(rule, state, vector, at_ms)
        samples += new
    return samples


async def start(services, tenant, rule=RULE):
    return await services.backfills.start(
        tenant, rule, (NOW_MS - 1_200_000, NOW_MS, MINUTE), NOW_MS
    )


async def sql(services, statement):
    async with services.backfills._database.acquire() as connection:
        return await connection.fetch(statement)


def bits(samples):
    """NaNs compared by what they are."""
    return sorted((key, at_ms, struct.pack("<d", value)) for key, at_ms, value in samples)


@pytest.mark.parametrize(("chunk", "samples"), [(1, 50), (2, 50), (7, 50), (500, 50), (500, 3)])
async def test_a_job_writes_what_evaluations_would_have_written(
    filled, dis, tenant, chunk, samples, monkeypatch
):
    """Stale markers too, wherever a chunk ends, which it does after so many samples."""
    monkeypatch.setattr(backfill, "CHUNK_SAMPLES", samples)
    job = await start(filled, tenant)
    await sql(filled, f"UPDATE rules.backfill SET chunk = {chunk}")
    while await filled.backfills.run_once(dis):
        pass
    wanted = await one_by_one(tenant, dis)
    assert bits(dis.written) == bits(wanted)
    assert any(value != value for _, _, value in wanted)  # noqa: PLR0124 - a stale marker is a NaN
    (after,) = await filled.backfills.listed(tenant)
    assert (after.backfill_id, after.status, after.progress) == (job.backfill_id, "done", 1.0)
    assert after.samples == len(wanted)


async def test_who_dies_between_writing_and_noting_is_replaced(filled, dis, tenant):
    """The chunk is written again, the same, and counted once."""
    await start(filled, tenant)
    await sql(filled, "UPDATE rules.backfill SET chunk = 7")
    dis.refusal.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await filled.backfills.run_once(dis)
    dis.refusal.clear()
    assert not await filled.backfills.run_once(dis)  # it may still be alive
    await sql(filled, "UPDATE rules.backfill SET due_at = now()")
    while await filled.backfills.run_once(dis):
        pass
    wanted = await one_by_one(tenant, dis)
    assert set(bits(dis.written)) == set(bits(wanted))
    assert len(dis.written) > len(wanted)
    (after,) = await filled.backfills.listed(tenant)
    assert (after.status, after.samples) == ("done", len(wanted))


async def test_a_chunk_that_fails_is_tried_again_smaller_and_not_for_ever(filled, dis, tenant):
    """Half as many evaluations each time; the reason is shown; after twelve it has failed."""
    await start(filled, tenant)
    dis.refusal.append(NotWritten(detail="429 too fast"))
    chunks = []
    for _ in range(12):
        await sql(filled, "UPDATE rules.backfill SET due_at = now()")
        assert await filled.backfills.run_once(dis)
        chunks += [row["chunk"] for row in await sql(filled, "SELECT chunk FROM rules.backfill")]
    assert chunks == [250, 125, 62, 31, 15, 7, 3, 1, 1, 1, 1, 1]
    (job,) = await filled.backfills.listed(tenant)
    assert (job.status, job.samples, job.progress) == ("failed", 0, 0.0)
    assert "429 too fast" in job.error
    await sql(filled, "UPDATE rules.backfill SET due_at = now()")
    assert not await filled.backfills.run_once(dis)


async def test_chunks_grow_again(filled, dis, tenant):
    """A trouble that is over does not make the rest of a job slow."""
    await start(filled, tenant)
    await sql(filled, "UPDATE rules.backfill SET chunk = 1")
    chunks = []
    for _ in range(4):
        assert await filled.backfills.run_once(dis)
        chunks += [row["chunk"] for row in await sql(filled, "SELECT chunk FROM rules.backfill")]
    assert chunks == [2, 3, 4, 5]


async def test_a_rule_that_fails_ends_its_job_at_once(filled, dis, tenant):
    """With its reason: trying again cannot help."""
    await start(filled, tenant, "record: one\nexpr: up\nlabels: {job: same}\n")
    assert await filled.backfills.run_once(dis)
    (job,) = await filled.backfills.listed(tenant)
    assert job.status == "failed"
    assert "same labelset" in job.error


async def test_a_job_leaves_the_plan_to_the_senders(filled, dis, tenant):
    """It writes half of what is taken at once, and then waits as long as that takes twice."""
    dis.limits["plan"] = Limits(samples_per_s=4, burst_samples=8)
    await start(filled, tenant)
    assert await filled.backfills.run_once(dis)
    assert len(dis.written) == 4
    (row,) = await sql(
        filled, "SELECT extract(epoch FROM due_at - now())::float8 AS wait_s FROM rules.backfill"
    )
    assert 0 < row["wait_s"] <= 2
    assert not await filled.backfills.run_once(dis)


async def test_whatever_a_job_does_others_go_on(filled, dis, tenant):
    """An error that nobody thought of is the job's, not the end of the process."""
    await start(filled, tenant)
    dis.refusal.append(ValueError("a\0b"))
    assert await filled.backfills.run_once(dis)
    (job,) = await filled.backfills.listed(tenant)
    assert "ValueError" in job.error


async def test_tenants_take_turns(filled, dis, tenant):
    """However many jobs one of them has."""
    other = uuid.uuid4()
    for _ in range(4):
        await start(filled, tenant)
    await start(filled, other)
    await sql(filled, "UPDATE rules.backfill SET chunk = 1")
    for _ in range(6):
        assert await filled.backfills.run_once(dis)
    (job,) = await filled.backfills.listed(other)
    assert job.next_ms > job.start_ms + MINUTE


async def test_jobs_that_are_over_are_bounded(filled, tenant, monkeypatch):
    """Who starts and stops jobs without end fills no table."""
    monkeypatch.setattr(backfill, "SHOWN_MAX", 3)
    for _ in range(6):
        job = await start(filled, tenant)
        assert await filled.backfills.cancel(tenant, job.backfill_id)
    assert len(await sql(filled, "SELECT 1 FROM rules.backfill")) == 4


async def test_jobs_take_turns(filled, dis, tenant):
    """A long job does not hold up the next one."""
    await start(filled, tenant)
    await start(filled, tenant, RULE.replace("job:up:sum", "second"))
    await sql(filled, "UPDATE rules.backfill SET chunk = 2")
    for _ in range(4):
        assert await filled.backfills.run_once(dis)
    assert {job.next_ms for job in await filled.backfills.listed(tenant)} == {
        NOW_MS - 1_200_000 + (2 + 3) * MINUTE
    }


async def test_a_job_is_started_listed_and_stopped(serve, hub, tenant):
    """By an administrator; by its own tenant alone."""
    client = await serve()
    admin = {"X-API-Key": hub.key(tenant, scopes=("metrics:read", "admin"))}
    reader = {"X-API-Key": hub.key(tenant)}
    other = {"X-API-Key": hub.key(uuid.uuid4(), scopes=("metrics:read", "admin"))}
    assert (await client.post(BACKFILLS, data=FORM, headers=reader)).status_code == 403
    answer = await client.post(BACKFILLS, data=FORM, headers=admin)
    assert answer.status_code == 202
    job = answer.json()["data"]
    assert {name: job[name] for name in ("record", "start", "end", "step", "status")} == {
        "record": "job:up:sum", "start": T - 1200, "end": T, "step": 60, "status": "running",
    }  # fmt: skip
    assert (await client.get(BACKFILLS, headers=reader)).json()["data"] == [job]
    assert (await client.get(BACKFILLS, headers=other)).json()["data"] == []
    one = f"{BACKFILLS}/{job['id']}"
    assert (await client.delete(one, headers=reader)).status_code == 403
    assert (await client.delete(one, headers=other)).status_code == 404
    assert (await client.delete(one, headers=admin)).status_code == 202
    assert (await client.delete(one, headers=admin)).status_code == 404
    (after,) = (await client.get(BACKFILLS, headers=reader)).json()["data"]
    assert after["status"] == "cancelled"


async def test_what_cannot_be_filled_back_is_refused(serve, hub, tenant):
    """A bad rule, an alert, the future, too long a time, too many jobs."""
    client = await serve()
    admin = {"X-API-Key": hub.key(tenant, scopes=("metrics:read", "admin"))}
    for change, why in (
        ({"rule": ""}, "YAML of one recording rule"),
        ({"rule": "record: a\nexpr: sum("}, "2:7: "),
        ({"rule": "record: a\nexpr: up\n#" + "x" * 70_000}, "too long"),
        ({"rule": "alert: a\nexpr: up"}, "only a recording rule"),
        ({"end": T + 60}, "future"),
        ({"start": T - 10_000_000, "step": 1}, "too many evaluations"),
        ({"step": 0}, "zero or negative"),
    ):
        answer = await client.post(BACKFILLS, data=FORM | change, headers=admin)
        assert answer.status_code == 400
        assert why in answer.json()["error"]
    for _ in range(10):
        assert (await client.post(BACKFILLS, data=FORM, headers=admin)).status_code == 202
    answer = await client.post(BACKFILLS, data=FORM, headers=admin)
    assert "too many jobs" in answer.json()["error"]
