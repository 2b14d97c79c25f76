"""Evaluators on a real Postgres: what they write, tell and remember, and who may."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import numpy as np
import pytest
from conftest import make_settings
from rules_world import World, running

from data_api.chassis.clock import Clock
from data_api.chassis.identity import IdentityClient
from data_api.chassis.kinds import Kind, ServiceError
from data_api.model import STALE_BITS
from data_api.rules import __main__ as main
from data_api.rules import leases, parsing
from data_api.rules.__main__ import make_engine
from data_api.rules.acting import Acting
from data_api.rules.evaluator import Evaluator
from data_api.rules.folder import RuleFolder
from data_api.rules.repository import FOLDER, Rules
from data_api.settings import RulesSettings
from data_api.store.catalogue import Database

MINUTE = 60_000
NOW_MS = 1_750_000_000_000  # which the database's clock has passed
RULES = """
name: g
rules:
- record: job:requests:sum
  expr: sum by (job) (requests)
- alert: Many
  expr: job:requests:sum > 5
  for: 1m
  labels: {severity: page}
"""


class Hands(Clock):
    """A clock that a test moves."""

    def __init__(self, now_ms):
        self.at_ms = now_ms

    def now(self):
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=self.at_ms)


class NotNow(ServiceError):
    """Notifications are away"""

    kind = Kind.UNAVAILABLE


class Process:
    """An evaluator in this process, with its own connections, and what it told."""

    def __init__(self, world, objects, clock):
        plain = make_settings(world.database_url, objects)
        of_rules = {
            "dis_url": world.url, "rules_timeout_s": 600.0, "rules_series_max": 100,
            "ui_public_url": "http://ui", "external_labels": '{"cluster": "eu"}',
        }  # fmt: skip
        self.settings = RulesSettings(**plain.model_dump() | of_rules)
        self.clock, self.told, self.deaf = clock, [], False
        self.database = Database(world.database_url, 4)
        self.http = httpx.AsyncClient()
        identity = IdentityClient(world.url, "s" * 43, "das", self.http, clock)
        engine = make_engine(self.settings, self.database, clock, lambda *_: None)
        self.engine = engine
        self.evaluator = Evaluator(
            leases.Leases(self.database, uuid.uuid4()),
            Acting(engine, identity, self.http, world.url, {}),
            self.notify,
            self.settings,
            clock,
        )

    async def notify(self, tenant, alerts):
        if self.deaf:
            raise NotNow
        self.told += [(tenant, alert) for alert in alerts]

    async def turn(self):
        """One turn with a round, and all that it began."""
        self.evaluator._round_s = float("-inf")
        for one in self.evaluator._groups.values():
            one.again_s = 0.0
        await self.evaluator.turn()
        await self.evaluator.settle()

    async def __aenter__(self):
        await self.database.__aenter__()
        return self

    async def __aexit__(self, *_):
        await self.evaluator._leave()
        self.engine.close()
        await self.http.aclose()
        await self.database.__aexit__()


@pytest.fixture
def world(database_url, objects):
    with running(World(database_url, objects)) as world:
        yield world


@pytest.fixture
async def rules(database_url):
    async with Database(database_url, 2) as database:
        yield Rules(database, parsing.Bounds(groups=3))
    connection = await asyncpg.connect(database_url)
    await connection.execute("TRUNCATE rules.rule_group, rules.evaluator")
    await connection.close()


@pytest.fixture
async def process(world, objects):
    async with Process(world, objects, Hands(NOW_MS)) as process:
        yield process


def started(environment, **more):
    """An evaluator as a process."""
    return subprocess.Popen([sys.executable, "-m", "data_api.rules"], env=environment, **more)


def wait_for(is_so):
    while not is_so():
        time.sleep(0.05)


async def put(rules, tenant, text=RULES, namespace="n"):
    group = parsing.parse(text, namespace)[0][0]
    await rules.put(tenant, namespace, [group], whole=False)


async def requests(ingest, tenant, value, at_ms=NOW_MS):
    labels = {"__name__": "requests", "job": "api"}
    await ingest.write(tenant, labels, [(at_ms - MINUTE, value)])


async def only(rules, tenant):
    (shown,) = await rules.shown(tenant)
    return shown


def states(shown):
    return [(one.health, one.last_error) for one in shown.state.rules.values()]


async def test_a_rule_sees_what_the_rules_before_it_wrote(rules, process, world, ingest, tenant):
    """In one evaluation the alert is pending by the record written just before; at the next it
    fires, is told once, and its series are written at the scheduled times.
    """
    await requests(ingest, tenant, 7.0)
    await put(rules, tenant)
    await process.turn()
    first = (await only(rules, tenant)).evaluated_ms
    assert NOW_MS - MINUTE < first <= NOW_MS
    assert world.of(tenant, "job:requests:sum") == {((("job", "api"),), first): [7.0]}
    assert [dict(key)["alertstate"] for key, _ in world.of(tenant, "ALERTS")] == ["pending"]
    assert not process.told
    process.clock.at_ms += MINUTE
    await process.turn()
    await process.turn()  # nothing is due
    ((whose, alert),) = process.told
    assert whose == tenant
    assert alert.labels == {"alertname": "Many", "job": "api", "severity": "page"}
    assert alert.starts_at_ms == first + MINUTE
    assert alert.generator_url == "http://ui/#/explore?q=job%3Arequests%3Asum%20%3E%205"
    assert all(len(values) == 1 for values in world.of(tenant, "ALERTS").values())
    shown = await only(rules, tenant)
    assert states(shown) == [("ok", ""), ("ok", "")]
    assert (shown.evaluated_ms, shown.missed) == (first + MINUTE, 0)


async def test_series_of_rules_that_are_no_more_end(rules, process, world, ingest, tenant):
    """A rule that left its group, and then the group itself: stale markers, and then no row."""
    await requests(ingest, tenant, 7.0)
    await put(rules, tenant)
    await process.turn()
    await put(rules, tenant, "name: g\nrules: [{record: other, expr: '1'}]")
    process.clock.at_ms += MINUTE
    await process.turn()
    ended = world.of(tenant, "job:requests:sum") | world.of(tenant, "ALERTS_FOR_STATE")
    assert sorted(len(values) for values in ended.values()) == [1, 1, 1, 1]
    stale = [v for values in ended.values() for v in values]
    assert sum(np.float64(v).view(np.uint64) == STALE_BITS for v in stale) == 2
    assert await rules.delete(tenant, "n", "g")
    assert await rules.shown(tenant) == []
    process.clock.at_ms += 1000
    await process.turn()
    await process.turn()
    values = [v for some in world.of(tenant, "other").values() for v in some]
    assert [np.float64(v).view(np.uint64) == STALE_BITS for v in values] == [False, True]
    assert (await process.evaluator._leases.renew([], []))[0] == {}


async def test_series_go_on_when_their_group_gets_another_name(rules, process, world, tenant):
    """A stale marker would end them, and alerts on them, until the next evaluation."""
    rule = "rules: [{record: r, expr: '1'}]"
    await put(rules, tenant, f"{{name: before, {rule}}}")
    await process.turn()
    await put(rules, tenant, f"{{name: after, {rule}}}")
    await rules.delete(tenant, "n", "before")
    process.clock.at_ms += MINUTE
    await process.turn()
    await process.turn()
    assert len(process.evaluator._groups) == 1
    assert all(v == [1.0] for v in world.of(tenant, "r").values())


async def test_a_bad_rule_harms_no_other(rules, process, world, tenant):
    """Its error is its own, and it is answered where it stands; what it wrote before stays."""
    await put(
        rules, tenant,
        "name: g\nlimit: 1\nrules:\n- {record: none, expr: 'up or down'}\n"
        "- {record: text, expr: '\"a\"'}\n- {record: ok, expr: '1'}\n- record: many\n"
        "  expr: label_replace(vector(1), 'a', 'b', '', '') or vector(2)\n",
    )  # fmt: skip
    await process.turn()
    shown = states(await only(rules, tenant))
    assert [health for health, _ in shown] == ["ok", "err", "ok", "err"]
    assert shown[1][1] == "rule result is not a vector or scalar"
    assert shown[3][1] == "exceeded limit of 1 with 2 series"
    assert len(world.of(tenant, "ok")) == 1


async def test_what_could_not_be_written_or_told_is_said_and_told_again(
    rules, process, world, ingest, tenant
):
    """When dis refuses, the rule says so; an alert that nobody took is due at the next one."""
    await requests(ingest, tenant, 7.0)
    await put(rules, tenant, "name: g\nrules: [{alert: A, expr: requests}]")
    world.refuse, process.deaf = 400, True
    await process.turn()
    ((health, error),) = states(await only(rules, tenant))
    assert health == "err"
    assert error == "not notified: Notifications are away"
    world.refuse, process.deaf = 0, False
    process.clock.at_ms += MINUTE
    await process.turn()
    assert states(await only(rules, tenant)) == [("ok", "")]
    assert len(process.told) == 1


async def test_plan_limits_hold_and_survive_an_outage_of_ubs(rules, process, world, ingest, tenant):
    """A rule that loads more than its tenant may fails alone; without ubs the known limits hold,
    alerts are still evaluated, and only writing waits.
    """
    await requests(ingest, tenant, 7.0)
    world.limits = {"query_samples": 1}
    counting = "{record: a, expr: 'count_over_time(requests[1h])'}"
    text = f"name: g\nrules: [{counting}, {{alert: B, expr: '1'}}]"
    await ingest.write(
        tenant,
        {"__name__": "requests", "job": "b"},
        [(NOW_MS - n * 1000, 1.0) for n in range(1, 50)],
    )
    await put(rules, tenant, text)
    await process.turn()
    first, second = states(await only(rules, tenant))
    assert first[0] == "err"
    assert "too many samples" in first[1]
    assert second == ("ok", "")
    world.ubs_is_down = True
    process.evaluator._acting.identity._tokens._issued.clear()
    process.clock.at_ms += 2 * MINUTE
    await process.turn()
    shown = await only(rules, tenant)
    assert states(shown)[1][1].startswith("not written: The credential cannot be checked now")
    assert len(process.told) == 2
    assert shown.missed == 1


async def test_tenants_do_not_meet(rules, process, world, ingest):
    """Each group reads and writes as its own tenant, and only that tenant sees it."""
    mine, theirs = uuid.uuid4(), uuid.uuid4()
    await requests(ingest, mine, 1.0)
    await requests(ingest, theirs, 2.0)
    for tenant in (mine, theirs):
        await put(rules, tenant, "name: g\nrules: [{record: r, expr: requests}]")
    await process.turn()
    for tenant, value in ((mine, 1.0), (theirs, 2.0)):
        (values,) = world.of(tenant, "r").values()
        assert values == [value]
        assert len(await rules.shown(tenant)) == 1
    assert await rules.shown(uuid.uuid4()) == []
    assert not await rules.delete(uuid.uuid4(), "n", "g")


async def test_groups_are_shared_and_each_has_one_evaluator(rules, world, objects):
    """Two processes divide the groups; who leaves frees its own at once, and the other one goes on
    where it was.
    """
    tenants = [uuid.uuid4() for _ in range(4)]
    for tenant in tenants:
        await put(rules, tenant, "name: g\nrules: [{record: r, expr: '1'}]")
    clock = Hands(NOW_MS)
    async with Process(world, objects, clock) as one:
        await one.turn()
        async with Process(world, objects, clock) as two:
            for process in (two, one, two, one, two):
                await process.turn()
            assert len(one.evaluator._groups) == len(two.evaluator._groups) == 2
            clock.at_ms += MINUTE
            await asyncio.gather(one.turn(), two.turn())
        clock.at_ms += MINUTE
        await one.turn()
    for tenant in tenants:
        assert [len(v) for v in world.of(tenant, "r").values()] == [1, 1, 1]
        assert (await only(rules, tenant)).missed == 0


async def test_who_lost_a_group_commits_nothing(rules, world, objects, ingest, tenant):
    """One is suspended in the middle of an evaluation, its lease runs out, and another takes over:
    when it goes on, its evaluation is not applied.
    """
    await requests(ingest, tenant, 7.0)
    await put(rules, tenant, "name: g\nrules: [{alert: A, expr: requests}]")
    clock = Hands(NOW_MS)
    async with Process(world, objects, clock) as slow, Process(world, objects, clock) as quick:
        world.hold.clear()
        turning = asyncio.create_task(slow.turn())
        assert await asyncio.to_thread(world.arrived.wait, 10)
        await ingest.connection.execute(
            "UPDATE rules.evaluator SET lease_until = now() - '1s'::interval"
        )
        await quick.evaluator._round()  # before the slow one goes on: until then it is the owner
        world.hold.set()
        await turning
        assert (await only(rules, tenant)).evaluated_ms is None
        await quick.turn()
        shown = await only(rules, tenant)
        assert [len(one.memory.alerts) for one in shown.state.rules.values()] == [1]
        owner = await ingest.connection.fetchval("SELECT owner FROM rules.rule_group")
        assert owner == quick.evaluator._leases._me
        assert not [g for g in slow.evaluator._groups.values() if g.owned.evaluated_ms]


async def test_a_group_that_cannot_be_read_is_no_other_groups_trouble(
    rules, process, ingest, tenant
):
    """As when an older process meets newer rules: others are evaluated, and it is once it can be
    read, or deleted.
    """
    for name in ("bad", "good", "worse"):
        await put(rules, tenant, f"{{name: {name}, rules: [{{record: r, expr: '1'}}]}}")
    await ingest.connection.execute(
        "UPDATE rules.rule_group SET definition = 'rules: [{expr: new()}]' WHERE name <> 'good'"
    )
    await process.turn()
    evaluated = await ingest.connection.fetch(
        "SELECT name FROM rules.rule_group WHERE evaluated_ms IS NOT NULL"
    )
    assert [one["name"] for one in evaluated] == ["good"]
    await put(rules, tenant, "{name: bad, rules: [{record: r, expr: '2'}]}")
    await rules.delete(tenant, "n", "worse")
    await process.turn()
    shown = await rules.shown(tenant)
    assert [(one.group.name, one.evaluated_ms is None) for one in shown] == [
        ("bad", False), ("good", False),
    ]  # fmt: skip


async def test_a_group_that_is_always_late_can_be_changed(rules, process, world, tenant):
    """What changed while it was evaluated is not evaluated once more as it was."""
    await put(rules, tenant, "{name: g, rules: [{record: before, expr: '1'}]}")
    world.hold.clear()
    turning = asyncio.create_task(process.turn())
    assert await asyncio.to_thread(world.arrived.wait, 10)
    await put(rules, tenant, "{name: g, rules: [{record: after, expr: '1'}]}")
    process.evaluator._round_s = float("-inf")
    await process.evaluator.turn()
    process.clock.at_ms += 2 * MINUTE
    world.hold.set()
    await turning
    await process.evaluator.turn()
    await process.evaluator.settle()
    assert len(world.of(tenant, "after")) == 1
    assert len([v for v in world.of(tenant, "before").values() if v == [1.0]]) == 1


async def test_who_waited_for_its_turn_is_evaluated_at_the_latest_slot(
    rules, process, world, tenant
):
    """Not at the one that had come when it began to wait."""
    for name in "abc":
        await put(rules, tenant, f"{{name: {name}, rules: [{{record: {name}, expr: '1'}}]}}")
    world.hold.clear()
    turning = asyncio.create_task(process.turn())
    assert await asyncio.to_thread(world.arrived.wait, 10)
    process.clock.at_ms += 10 * MINUTE
    world.hold.set()
    await turning
    latest = max(one.evaluated_ms for one in await rules.shown(tenant))
    assert latest > NOW_MS + 9 * MINUTE


async def test_an_error_that_nobody_expected_ends_only_its_own_work(monkeypatch):
    """Notifications, backfills and the folder are begun again; rules are evaluated meanwhile."""
    monkeypatch.setattr(main, "ROUND_S", 0.0)
    stop, begun = asyncio.Event(), []

    async def work():
        begun.append(1)
        if len(begun) == 3:
            stop.set()
        raise ValueError

    await main.lasting(work, stop)
    assert len(begun) == 3


async def test_a_killed_evaluator_loses_and_repeats_nothing(
    rules, world, objects, ingest, database_url, tenant
):
    """Kill -9 in the middle of writing an alert that was pending: another process evaluates the
    same slot, the alert goes on from what was committed, and each slot is applied once.
    """
    now_ms = int(time.time() * 1000)
    for minute in range(-3, 15):  # as long as the processes take
        await requests(ingest, tenant, 7.0, now_ms + minute * MINUTE)
    await put(rules, tenant, "name: g\nrules: [{alert: A, expr: requests, for: 1h}]")
    clock = Hands(now_ms - 2 * MINUTE)
    async with Process(world, objects, clock) as before:
        await before.turn()
    pending = await only(rules, tenant)
    environment = os.environ | {
        "DATABASE_URL": database_url, "OBJECT_STORE_URL": objects.as_uri(),
        "UBS_URL": world.url, "DIS_URL": world.url, "SERVICE_TOKEN": "s" * 43,
    }  # fmt: skip
    world.arrived.clear()
    world.hold.clear()
    killed = started(environment)
    try:
        assert await asyncio.to_thread(world.arrived.wait, 600)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    world.hold.set()
    unapplied = await only(rules, tenant)
    assert unapplied.evaluated_ms == pending.evaluated_ms
    await ingest.connection.execute(
        "UPDATE rules.evaluator SET lease_until = now() - '1s'::interval"
    )
    async with Process(world, objects, Clock()) as after:
        await after.turn()
    shown = await only(rules, tenant)
    assert shown.evaluated_ms > pending.evaluated_ms
    assert (shown.evaluated_ms - pending.evaluated_ms) // MINUTE == shown.missed + 1
    (alert,) = next(iter(shown.state.rules.values())).memory.alerts.values()
    assert alert.active_at_ms == pending.evaluated_ms
    for values in world.of(tenant, "ALERTS_FOR_STATE").values():
        assert len(set(values)) == 1


@pytest.mark.parametrize("ahead_ms", [0, 10 * MINUTE])
async def test_a_clock_that_is_ahead_takes_no_slots_from_others(
    rules, world, objects, tenant, ahead_ms
):
    """No slot is marked that the database's time has not reached, so the next evaluator misses
    none; a commit of one is refused whoever asks for it.
    """
    await put(rules, tenant, "name: g\nrules: [{record: r, expr: '1'}]")
    clock = Hands(int(time.time() * 1000) + ahead_ms)
    async with Process(world, objects, clock) as ahead:
        await ahead.turn()
        marked = (await only(rules, tenant)).evaluated_ms
        now_ms = time.time() * 1000
        assert now_ms - 10 * MINUTE < marked <= now_ms
        ((one),) = ahead.evaluator._groups.values()
        late = marked + 20 * MINUTE
        assert not await ahead.evaluator._leases.commit(one.owned, one.owned.state, late, 0)
    assert (await only(rules, tenant)).evaluated_ms == marked
    assert all(at_ms <= now_ms for _, at_ms in world.of(tenant, "r"))


async def test_the_process_ends_at_a_signal_and_frees_its_groups(
    world, objects, database_url, ingest
):
    """SIGTERM: it says that it stopped, exit status 0, and no lease is left."""
    environment = os.environ | {
        "DATABASE_URL": database_url, "OBJECT_STORE_URL": objects.as_uri(), "UBS_URL": world.url,
        "DIS_URL": world.url, "SERVICE_TOKEN": "s" * 43, "DAS_RULES_ALIVE_FILE": f"{objects}.alive",
    }  # fmt: skip
    process = started(environment, stdout=subprocess.PIPE)
    await asyncio.to_thread(process.stdout.readline)
    alive = objects.with_name("objects.alive")
    await asyncio.to_thread(wait_for, lambda: alive.exists() or process.poll() is not None)
    process.terminate()
    lines = (await asyncio.to_thread(process.communicate))[0].splitlines()
    assert process.returncode == 0
    assert b"rules_stopped" in lines[-1]
    assert await ingest.connection.fetchval("SELECT count(*) FROM rules.evaluator") == 0


async def test_files_of_the_operator_are_rules_of_the_home_organisation(rules, tmp_path):
    """`*.yml` are its own, a folder named as a tenant is that tenant's; what changes is followed, a
    file that cannot be read changes nothing, and one that is gone takes its rules with it.
    """
    home, other = uuid.uuid4(), uuid.uuid4()
    known = []

    async def find_home():
        return known[-1] if known else None

    (tmp_path / str(other)).mkdir()
    own, theirs = tmp_path / "a.yml", tmp_path / str(other) / "b.yaml"
    own.write_text("groups: [{name: x, rules: [{record: r, expr: '1'}]}]")
    theirs.write_text("groups: [{name: y, rules: []}]")
    (tmp_path / "notes.txt").write_text("groups: 5")
    folder = RuleFolder(tmp_path, rules, find_home)
    await folder.sync()
    assert (await rules.shown(home), len(await rules.shown(other))) == ([], 1)
    known.append(home)
    await folder.sync()
    (shown,) = await rules.shown(home)
    assert (shown.group.namespace, shown.group.name) == (f"{FOLDER}a.yml", "x")
    own.write_text("groups: [{name: x, rules: [{record: r, expr: '1 +'}]}]")
    await folder.sync()
    assert [one.group for one in await rules.shown(home)] == [shown.group]
    own.write_text("groups: [{name: z}]")
    theirs.unlink()
    await folder.sync()
    assert [one.group.name for one in await rules.shown(home)] == ["z"]
    assert await rules.shown(other) == []
    tmp_path.rename(tmp_path.with_name("unmounted"))
    with pytest.raises(FileNotFoundError):
        await folder.sync()
    assert [one.group.name for one in await rules.shown(home)] == ["z"]


async def test_an_alert_has_its_texts_and_the_answers_to_their_queries(
    rules, process, ingest, tenant
):
    """Templates see the alert's labels and value, and what a query of the tenant answers now."""
    await requests(ingest, tenant, 7.0)
    text = """
name: g
rules:
- alert: Many
  expr: requests > 5
  labels: {team: '{{ $labels.job }}-ops'}
  annotations:
    summary: '{{ $value }} of {{ query "count(requests)" | first | value }}'
    where: '{{ $externalLabels.cluster }}'
"""
    await put(rules, tenant, text)
    await process.turn()
    ((_, alert),) = process.told
    assert alert.labels["team"] == "api-ops"
    assert alert.annotations == {"summary": "7 of 1", "where": "eu"}
