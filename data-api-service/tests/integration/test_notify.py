"""Alerts become notifications: each told once, under one id, whatever dies in between."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from receivers import HttpReceiver, MailServer, MovedClock
from rules_world import World, running

from data_api.chassis.clock import Clock
from data_api.chassis.guard import parse_networks
from data_api.notify.compiled import Configurations
from data_api.notify.dispatcher import ATTEMPTS_MAX, Dispatcher
from data_api.notify.receive import receive
from data_api.notify.seal import Sealer
from data_api.notify.sending import Sender
from data_api.notify.store import NotifyStore
from data_api.rules.model import Alert
from data_api.rules.parsing import Bounds, parse
from data_api.rules.repository import Rules
from data_api.store.catalogue import Database

START = 1_800_000_000_000
SECRET = "x" * 20
ROOT = Path(__file__).parents[2]
FIRES = 86_400_000


@pytest.fixture
async def database(database_url):
    async with Database(database_url, 10) as database:
        async with database.acquire() as connection:
            await connection.execute("UPDATE rules.notify_tenant SET due_ms = 9e18::bigint")
        yield database


@pytest.fixture
def clock():
    return MovedClock(START)


@pytest.fixture
async def sender():
    sender = Sender(parse_networks("127.0.0.0/8"))
    yield sender
    await sender.close()


@pytest.fixture
async def hook():
    async with HttpReceiver().listening() as receiver:
        yield receiver


def dispatcher_of(database, sender, clock, store=None):
    configurations = Configurations(Sealer(SECRET))
    return Dispatcher(store or NotifyStore(database), configurations, sender, clock, "http://hub")


@pytest.fixture
def dispatcher(database, sender, clock):
    return dispatcher_of(database, sender, clock)


async def configure(database, tenant, text):
    await NotifyStore(database).set_config(tenant, Sealer(SECRET).seal(tenant, text), START)


def webhook(hook, more=""):
    return (
        "route: {receiver: a, group_by: [alertname], group_wait: 0s}\n"
        f"receivers: [{{name: a, webhook_configs: [{{url: '{hook.url}/in'{more}}}]}}]"
    )


def alert(name="Up", ends=FIRES, updated=0, **labels):
    return Alert(
        {"alertname": name, **labels},
        {"summary": "it is down"},
        START,
        START + ends,
        START + updated,
        "http://hub/graph",
    )


async def deliveries(database, tenant):
    rows = await NotifyStore(database).deliveries(tenant, 100)
    return [(row["integration"], row["result"], row["attempt"], row["status"]) for row in rows]


async def test_an_alert_is_told_and_its_end_too(database, dispatcher, clock, hook, tenant):
    """Alertmanager's body arrives, once; the end comes with the next interval; nothing is left."""
    await configure(database, tenant, webhook(hook))
    await receive(database, tenant, [alert(severity="page")], START)
    await dispatcher.turn()
    (request,) = hook.requests
    body = request.json
    assert body["status"] == "firing"
    assert body["groupLabels"] == {"alertname": "Up"}
    assert body["alerts"][0]["annotations"] == {"summary": "it is down"}
    assert body["externalURL"] == "http://hub"
    clock.move(minutes=1)
    await receive(database, tenant, [alert(severity="page", updated=60_000)], START + 60_000)
    await dispatcher.turn()
    await receive(database, tenant, [alert(severity="page", ends=90_000, updated=90_000)], START)
    clock.move(minutes=5)
    await dispatcher.turn()
    assert [one.json["status"] for one in hook.requests] == ["firing", "resolved"]
    assert hook.requests[1].json["alerts"][0]["endsAt"] == "2027-01-15T08:01:30.000Z"
    state = await NotifyStore(database).load(tenant)
    assert (list(state.alerts), state.groups, state.sent) == ([], {}, {})
    assert await dispatcher.turn() == 0


async def test_the_same_alert_again_changes_only_its_times(database, tenant):
    """A repeated alert is one row that keeps its start; an older one changes nothing; after its
    end, a new start counts.
    """
    for one in (alert(), alert(updated=5, ends=7), alert(updated=1, ends=9)):
        await receive(database, tenant, [one, one], START)
    (row,) = (await NotifyStore(database).load(tenant)).alerts
    assert (row.alert.starts_at_ms, row.alert.ends_at_ms, row.received) == (START, START + 7, 2)
    again = Alert(row.alert.labels, {}, START + 100, START + 200, START + 100)
    await receive(database, tenant, [again], START)
    (row,) = (await NotifyStore(database).load(tenant)).alerts
    assert row.alert.starts_at_ms == START + 100


async def test_a_signature_is_standard_webhooks(database, dispatcher, hook, tenant):
    """`v1,` and the HMAC-SHA256 of id, timestamp and body under the secret's bytes."""
    key = b"0123456789abcdef"
    secret = f", secret: whsec_{base64.b64encode(key).decode()}"
    await configure(database, tenant, webhook(hook, secret))
    await receive(database, tenant, [alert()], START)
    await dispatcher.turn()
    request = hook.requests[0]
    signed = f"{request.headers['webhook-id']}.{START // 1000}.".encode() + request.body
    digest = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert request.headers["webhook-signature"] == f"v1,{digest}"


async def test_a_failed_attempt_is_made_again_under_its_id(
    database, dispatcher, clock, hook, tenant
):
    """5xx and 429 are retried with growing pauses; body and webhook-id stay; then it is done."""
    hook.statuses = [500, 429]
    await configure(database, tenant, webhook(hook))
    await receive(database, tenant, [alert()], START)
    for seconds in (0, 1, 5, 1, 10):
        clock.move(seconds=seconds)
        await dispatcher.turn()
    assert len(hook.requests) == 3
    assert len({one.headers["webhook-id"] for one in hook.requests}) == 1
    assert len({one.body for one in hook.requests}) == 1
    rows = await deliveries(database, tenant)
    assert [row[1:] for row in rows] == [
        ("delivered", 3, 200),
        ("retry", 2, 429),
        ("retry", 1, 500),
    ]


@pytest.mark.parametrize("status", [400, 404, 302])
async def test_a_refusal_is_final(status, database, dispatcher, clock, hook, tenant):
    """A 4xx and a redirect are not tried again, nor is the redirect followed; the next interval
    tells anew, under a new id.
    """
    hook.statuses = [status]
    await configure(database, tenant, webhook(hook))
    await receive(database, tenant, [alert()], START)
    for minutes in (0, 1, 2):
        clock.move(minutes=minutes)
        await dispatcher.turn()
    assert [one.path for one in hook.requests] == ["/in"]
    clock.move(minutes=5)
    await dispatcher.turn()
    assert len({one.headers["webhook-id"] for one in hook.requests}) == 2


async def test_attempts_are_bounded(database, dispatcher, clock, hook, tenant):
    """After ATTEMPTS_MAX attempts a notification is given up."""
    hook.statuses = [500] * 100
    text = webhook(hook).replace("group_wait", "group_interval: 1d, group_wait")
    await configure(database, tenant, text)
    await receive(database, tenant, [alert()], START)
    for _ in range(ATTEMPTS_MAX + 5):
        await dispatcher.turn()
        clock.move(minutes=5)
    assert len(hook.requests) == ATTEMPTS_MAX
    assert (await deliveries(database, tenant))[0][1:] == ("failed", ATTEMPTS_MAX, 500)


async def test_what_was_answered_and_not_recorded_comes_again_under_its_id(
    database, sender, clock, hook, tenant
):
    """A dispatcher that is gone between answer and record is followed by one that sends the same
    message again: the receiver can tell. Nothing is missed, and the lease is waited for.
    """

    class Died(BaseException):
        """As kill -9: nothing handles it."""

    class Gone(NotifyStore):
        async def record(self, *_, **__):
            raise Died

    await configure(database, tenant, webhook(hook))
    await receive(database, tenant, [alert()], START)
    with pytest.raises(Died):
        await dispatcher_of(database, sender, clock, Gone(database)).turn()
    second = dispatcher_of(database, sender, clock)
    clock.move(seconds=10)
    assert await second.turn() == 0
    async with database.acquire() as connection:
        await connection.execute("UPDATE rules.notify_tenant SET lease_until = now()")
    assert await second.turn() == 1
    assert len(hook.requests) == 1
    clock.move(seconds=60)
    await second.turn()
    ids = [one.headers["webhook-id"] for one in hook.requests]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    clock.move(minutes=3)
    await second.turn()
    assert len(hook.requests) == 2


CHILD = """
import asyncio, sys
from uuid import UUID
from data_api.chassis.clock import Clock
from data_api.notify.dispatcher import run
from data_api.settings import Settings
from data_api.store.catalogue import Database

async def main():
    url = sys.argv[1]
    settings = Settings(database_url=url, object_store_url="file:///nowhere", ubs_url="http://u",
                        service_token="x" * 20, notify_allow="127.0.0.0/8")
    async with Database(url, 4) as database:
        await run(database, settings, Clock())
asyncio.run(main())
"""


async def test_kill_9_between_answer_and_record(database, database_url, sender, hook, tenant):
    """The process dies by kill -9 while its receiver has the message: after the lease another
    process sends it again under the same id, and what was answered is not told a third time.
    """
    clock = MovedClock(Clock().now_ms())
    await configure(database, tenant, webhook(hook))
    now_ms = clock.now_ms()
    one = Alert({"alertname": "Up"}, {}, now_ms, now_ms + FIRES, now_ms)
    await receive(database, tenant, [one], now_ms)
    child = subprocess.Popen(  # noqa: ASYNC220 - it starts beside us, and is not waited for
        [sys.executable, "-c", CHILD, database_url], cwd=ROOT
    )
    has_died = asyncio.Event()

    async def kill():
        if not has_died.is_set():
            os.kill(child.pid, signal.SIGKILL)
            await asyncio.to_thread(child.wait)
            has_died.set()

    hook.before_answer = kill
    await asyncio.wait_for(has_died.wait(), 600)
    async with database.acquire() as connection:
        await connection.execute("UPDATE rules.notify_tenant SET lease_until = now()")
    clock.move(minutes=3)
    dispatcher = dispatcher_of(database, sender, clock)
    await dispatcher.turn()
    clock.move(minutes=1)
    await dispatcher.turn()
    ids = [request.headers["webhook-id"] for request in hook.requests]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert (await deliveries(database, tenant))[0][1:3] == ("delivered", 2)


async def test_two_dispatchers_tell_once(database, sender, clock, hook):
    """Many tenants, two dispatchers at once: each alert is told once."""
    tenants = [uuid.uuid4() for _ in range(12)]
    for tenant in tenants:
        await configure(database, tenant, webhook(hook))
        await receive(database, tenant, [alert(tenant=str(tenant))], START)
    both = [dispatcher_of(database, sender, clock) for _ in range(2)]
    await asyncio.gather(*(one.turn() for one in both))
    await asyncio.gather(*(one.turn() for one in both))
    told = [one.json["commonLabels"]["tenant"] for one in hook.requests]
    assert sorted(told) == sorted(map(str, tenants))


async def test_a_lost_lease_changes_nothing(database, sender, clock, hook, tenant):
    """A dispatcher whose tenant was taken meanwhile neither plans nor sends."""

    class Slow(NotifyStore):
        async def load(self, tenant):
            state = await super().load(tenant)
            async with database.acquire() as connection:
                await connection.execute(
                    "UPDATE rules.notify_tenant SET holder = gen_random_uuid()"
                    " WHERE tenant_id = $1",
                    tenant,
                )
            return state

    await configure(database, tenant, webhook(hook))
    await receive(database, tenant, [alert()], START)
    await dispatcher_of(database, sender, clock, Slow(database)).turn()
    assert hook.requests == []
    assert not (await NotifyStore(database).load(tenant)).groups


async def test_tenants_are_apart(database, dispatcher, hook, tenant):
    """Equal alerts of two tenants: each is told by its own configuration, one has none."""
    other = uuid.uuid4()
    await configure(database, tenant, webhook(hook))
    await receive(database, tenant, [alert()], START)
    await receive(database, other, [alert()], START)
    await dispatcher.turn()
    assert len(hook.requests) == 1
    assert await deliveries(database, other) == []


async def test_a_configuration_of_another_secret_stops_only_its_tenant(
    database, dispatcher, hook, tenant
):
    """It cannot be opened: others are told all the same."""
    other = uuid.uuid4()
    await configure(database, tenant, webhook(hook))
    await NotifyStore(database).set_config(other, Sealer("y" * 20).seal(other, "x"), START)
    await receive(database, other, [alert()], START)
    await receive(database, tenant, [alert()], START)
    await dispatcher.turn()
    assert len(hook.requests) == 1


async def test_where_a_tenant_may_not_go(database, clock, hook, tenant):
    """Without the operator's list loopback is refused, at once and for good."""
    sender = Sender(())
    await configure(database, tenant, webhook(hook))
    await receive(database, tenant, [alert()], START)
    await dispatcher_of(database, sender, clock).turn()
    await sender.close()
    assert hook.requests == []
    row = (await NotifyStore(database).deliveries(tenant, 1))[0]
    assert row["result"] == "failed"
    assert "127.0.0.1 is not a public address" in row["detail"]


async def test_every_kind_of_receiver(database, dispatcher, hook, tenant):
    """Slack, Teams, PagerDuty, Opsgenie and mail get what they understand, in readable words; no
    secret is in the log, though a receiver echoes it.
    """
    async with MailServer().listening() as mails:
        text = f"""
global: {{smtp_smarthost: '{mails.address}', smtp_from: hub@example.org, smtp_require_tls: false}}
route: {{receiver: a, group_by: [alertname], group_wait: 0s}}
receivers:
  - name: a
    slack_configs: [{{api_url: '{hook.url}/slack', channel: '#ops'}}]
    msteamsv2_configs: [{{webhook_url: '{hook.url}/teams', title: 'T {{{{ .Status }}}}'}}]
    pagerduty_configs: [{{routing_key: RK12345678, url: '{hook.url}/pd'}}]
    opsgenie_configs: [{{api_key: OG-123456789, api_url: '{hook.url}/og/', tags: 'a, b'}}]
    email_configs:
      - {{to: 'ops@example.org', auth_username: u, auth_password: p4ssw0rd, html: '<b>x</b>'}}
      - {{to: 'x@refused.example'}}
"""
        hook.statuses = [200, 200, 200, 200]
        hook.before_answer = None
        await configure(database, tenant, text)
        await receive(database, tenant, [alert(severity="critical")], START)
        await dispatcher.turn()
        by_path = {one.path: one for one in hook.requests}
        slack = by_path["/slack"].json
        assert slack["channel"] == "#ops"
        title = slack["attachments"][0]["title"]
        assert title == "[FIRING:1] Up (critical)"
        assert "it is down" in slack["attachments"][0]["text"]
        card = by_path["/teams"].json["attachments"][0]["content"]
        assert card["body"][0]["text"] == "T firing"
        page = by_path["/pd"].json
        assert (page["event_action"], page["payload"]["severity"]) == ("trigger", "critical")
        genie = by_path["/og/v2/alerts"]
        assert genie.headers["authorization"] == "GenieKey OG-123456789"
        assert genie.json["alias"] == page["dedup_key"]
        assert genie.json["tags"] == ["a", "b"]
        (mail,) = mails.mails
        assert f"Subject: {title}" in mail
        assert "it is down" in mail
        assert "<b>x</b>" in mail
        assert base64.b64decode(mails.logins[0]) == b"\0u\0p4ssw0rd"
        results = {row[0]: row[1:] for row in await deliveries(database, tenant)}
        assert results["email/1"] == ("failed", 1, 550)
        assert {row[0] for name, row in results.items() if name != "email/1"} == {"delivered"}


async def test_a_mail_is_never_sent_in_clear_where_tls_is_wanted(
    database, dispatcher, clock, tenant
):
    """A server without STARTTLS gets nothing, unless `require_tls: false`."""
    async with MailServer().listening() as mails:
        mail = f"{{to: a@example.org, from: b@example.org, smarthost: '{mails.address}'}}"
        await configure(
            database,
            tenant,
            f"route: {{receiver: a}}\nreceivers: [{{name: a, email_configs: [{mail}]}}]",
        )
        await receive(database, tenant, [alert()], START)
        clock.move(minutes=1)
        await dispatcher.turn()
        assert mails.mails == []
        assert (await deliveries(database, tenant))[0][:2] == ("email/0", "failed")


async def test_a_message_that_cannot_be_made_is_given_up(database, dispatcher, hook, tenant):
    """A mail to no address fails for good, in words; the receiver's other integrations are told."""
    await configure(
        database,
        tenant,
        "global: {smtp_smarthost: 'mail.example:25', smtp_from: a@example.org}\n"
        f"route: {{receiver: a, group_wait: 0s}}\nreceivers: [{{name: a, webhook_configs: "
        f"[{{url: '{hook.url}'}}], email_configs: [{{to: \"a\\nb\"}}]}}]",
    )
    await receive(database, tenant, [alert()], START)
    await dispatcher.turn()
    assert len(hook.requests) == 1
    results = {row[0]: row[1] for row in await deliveries(database, tenant)}
    assert results == {"webhook/0": "delivered", "email/0": "failed"}


async def test_any_text_of_labels_is_told(database, dispatcher, hook, tenant):
    """NUL and long texts neither stop a notification nor make it large."""
    await configure(database, tenant, webhook(hook))
    strange = Alert({"alertname": "a\0b"}, {"summary": "x" * 9999}, START, START + FIRES, START)
    await receive(database, tenant, [strange], START)
    await dispatcher.turn()
    (one,) = hook.requests[0].json["alerts"]
    assert one["labels"] == {"alertname": "a\0b"}
    assert len(one["annotations"]["summary"]) == 4096


async def test_a_text_that_cannot_be_expanded_is_told_as_its_error(
    database, dispatcher, hook, tenant
):
    """The notification goes out all the same; definitions of `templates` are used."""
    await configure(
        database,
        tenant,
        "route: {receiver: a, group_wait: 0s}\n"
        "templates: ['{{ define \"mine\" }}to {{ .Receiver }}{{ end }}']\n"
        f"receivers: [{{name: a, slack_configs: [{{api_url: '{hook.url}', "
        "title: '{{ template \"mine\" . }}', text: '{{ template \"none\" . }}'}]}]",
    )
    await receive(database, tenant, [alert()], START)
    await dispatcher.turn()
    attachment = hook.requests[0].json["attachments"][0]
    assert attachment["title"] == "to a"
    assert attachment["text"].startswith("<error expanding template: ")


async def test_another_alertmanager_gets_every_alert(database, dispatcher, clock, hook, tenant):
    """Posted as Prometheus does, again when something is told again; a refusal is tried again."""
    hook.statuses = [500]
    await configure(database, tenant, f"alertmanager_urls: ['{hook.url}/am/']")
    await receive(database, tenant, [alert()], START)
    await dispatcher.turn()
    clock.move(seconds=6)
    await dispatcher.turn()
    await dispatcher.turn()
    assert [one.path for one in hook.requests] == ["/am/api/v2/alerts"] * 2
    assert hook.requests[1].json[0]["labels"] == {"alertname": "Up"}
    await receive(database, tenant, [alert(ends=0, updated=9)], START)
    await dispatcher.turn()
    assert hook.requests[2].json[0]["endsAt"] == "2027-01-15T08:00:00.000Z"
    assert not (await NotifyStore(database).load(tenant)).alerts


@contextlib.asynccontextmanager
async def rule_that_fires(database, database_url, objects, ingest, hook, tenant):
    """A rule that fires is stored, and its webhook: what starts `python -m data_api.rules`, and the
    services that this meets.
    """
    now_ms = Clock().now_ms()
    samples = [(now_ms + n * 60_000, 7.0) for n in range(-1, 15)]  # as long as processes take
    await ingest.write(tenant, {"__name__": "requests"}, samples)
    rules = "name: g\nrules: [{alert: Many, expr: requests > 5}]"
    await Rules(database, Bounds()).put(tenant, "n", parse(rules, "n")[0], whole=False)
    sealed = Sealer("s" * 43).seal(tenant, webhook(hook))
    await NotifyStore(database).set_config(tenant, sealed, now_ms)
    with running(World(database_url, objects)) as world:
        environment = os.environ | {
            "DATABASE_URL": database_url, "OBJECT_STORE_URL": objects.as_uri(),
            "UBS_URL": world.url, "DIS_URL": world.url, "SERVICE_TOKEN": "s" * 43,
            "DAS_NOTIFY_ALLOW": "127.0.0.0/8",
        }  # fmt: skip
        command = [sys.executable, "-m", "data_api.rules"]
        try:
            yield world, lambda: subprocess.Popen(command, env=environment, cwd=ROOT)
        finally:
            await ingest.connection.execute("TRUNCATE rules.rule_group, rules.evaluator")


async def test_a_rule_that_fires_tells_its_receiver(
    database, database_url, objects, ingest, hook, tenant
):
    """The whole way in the process of the rules: samples, a rule, an alert, a webhook's call."""
    told = asyncio.Event()

    async def tell():
        told.set()

    hook.before_answer = tell
    fires = rule_that_fires(database, database_url, objects, ingest, hook, tenant)
    async with fires as (_, start):
        process = start()
        try:
            await asyncio.wait_for(told.wait(), 600)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)
    assert process.returncode == 0
    body = hook.requests[0].json
    assert (body["status"], body["alerts"][0]["labels"]) == ("firing", {"alertname": "Many"})


async def test_a_killed_evaluator_misses_no_alert_and_tells_none_twice(
    database, database_url, objects, ingest, hook, tenant
):
    """Kill -9 after an alert was handed over and before its evaluation was applied: another process
    applies it and hands the alert over again, and the receiver has one notification.
    """
    fires = rule_that_fires(database, database_url, objects, ingest, hook, tenant)
    async with fires as (world, start):
        world.hold.clear()
        killed = start()
        try:
            assert await asyncio.to_thread(world.arrived.wait, 600)
        finally:
            killed.kill()
            killed.wait()
        row = "SELECT evaluated_ms FROM rules.rule_group"
        before = await ingest.connection.fetchval(row)
        await ingest.connection.execute("UPDATE rules.evaluator SET lease_until = now()")
        await ingest.connection.execute("UPDATE rules.notify_tenant SET lease_until = now()")
        world.arrived.clear()
        world.hold.set()
        second = start()
        try:
            assert await asyncio.to_thread(world.arrived.wait, 600)
        finally:
            second.terminate()  # which waits for the evaluation
            await asyncio.to_thread(second.wait)
        assert await ingest.connection.fetchval(row) != before
    await ingest.connection.execute("UPDATE rules.notify_tenant SET lease_until = now()")
    sender = Sender(parse_networks("127.0.0.0/8"))
    clock = MovedClock(Clock().now_ms() + 120_000)  # what was cut off is sent again by then
    configurations = Configurations(Sealer("s" * 43))
    await Dispatcher(NotifyStore(database), configurations, sender, clock, "http://hub").turn()
    await sender.close()
    assert len({request.headers["webhook-id"] for request in hook.requests}) == 1
    assert [one["labels"]["alertname"] for one in hook.requests[0].json["alerts"]] == ["Many"]
