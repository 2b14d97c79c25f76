"""What one tenant's configuration, receivers and name servers may do to the others: little."""

import asyncio
import socket
import threading
import uuid
from email.message import EmailMessage

import httpcore
import pytest
from receivers import HttpReceiver, MailServer, MovedClock

from data_api.chassis import guard
from data_api.chassis.clock import Clock
from data_api.notify import dispatcher
from data_api.notify.compiled import Configurations
from data_api.notify.errors import TooMany
from data_api.notify.integrations import Email
from data_api.notify.receive import receive
from data_api.notify.seal import Sealer
from data_api.notify.sending import Sender
from data_api.notify.service import Notifications
from data_api.notify.store import NotifyStore
from data_api.rules.model import Alert
from data_api.settings import Settings
from data_api.store.catalogue import Database

START = 1_800_000_000_000
SECRET = "x" * 20


@pytest.fixture
async def database(database_url):
    async with Database(database_url, 10) as database:
        async with database.acquire() as connection:
            await connection.execute("UPDATE rules.notify_tenant SET due_ms = 9e18::bigint")
        yield database


async def configure(database, tenant, url):
    text = (
        "route: {receiver: a, group_wait: 0s}\n"
        f"receivers: [{{name: a, webhook_configs: [{{url: '{url}'}}]}}]"
    )
    await NotifyStore(database).set_config(tenant, Sealer(SECRET).seal(tenant, text), START)


def alert(now_ms, ends=600_000):
    return Alert({"alertname": "Up"}, {}, now_ms - 60_000, now_ms + ends, now_ms)


async def test_a_receiver_that_does_not_answer_delays_nobody_else(
    database, database_url, tenant, monkeypatch
):
    """An alert that comes while another tenant's receiver has not answered is told meanwhile."""
    monkeypatch.setattr("data_api.notify.sending.ATTEMPT_S", 600.0)
    settings = Settings(
        database_url=database_url, object_store_url="file:///nowhere", ubs_url="http://u",
        service_token=SECRET, notify_allow="127.0.0.0/8",
    )  # fmt: skip
    began, told, checked = asyncio.Event(), asyncio.Event(), asyncio.Event()
    other, clock = uuid.uuid4(), Clock()

    async def wait():
        began.set()
        await checked.wait()

    async def tell():
        told.set()

    slow, quick = HttpReceiver(before_answer=wait), HttpReceiver(before_answer=tell)
    async with slow.listening(), quick.listening():
        await configure(database, tenant, slow.url)
        await configure(database, other, quick.url)
        await receive(database, tenant, [alert(clock.now_ms())], clock.now_ms())
        running = asyncio.create_task(dispatcher.run(database, settings, clock))
        await asyncio.wait_for(began.wait(), 600)
        await receive(database, other, [alert(clock.now_ms())], clock.now_ms())
        await asyncio.wait_for(told.wait(), 600)
        before = await NotifyStore(database).deliveries(tenant, 10)
        checked.set()
        running.cancel()
        await asyncio.wait([running])
    assert before == []


async def test_who_is_told_all_the_time_does_not_go_first(database, tenant):
    """A tenant where something comes in during each pass is due behind those that waited longer."""
    other, store = uuid.uuid4(), NotifyStore(database)
    await receive(database, tenant, [alert(START)], START)
    claim = await store.claim(START)
    await receive(database, tenant, [alert(START + 1)], START + 1)
    await receive(database, other, [alert(START + 2)], START + 2)
    await store.release(claim, START + 99_999, 0, START + 3)
    order = [(await store.claim(START + 3)).tenant for _ in range(2)]
    assert order == [other, tenant]


def test_a_name_server_that_does_not_answer_takes_no_thread_of_others(monkeypatch):
    """A tenant's host is not looked up in the loop's own threads, where everybody else's are."""

    def look_up(*_, **__):
        raise OSError("no such host")

    def refuse(*_):
        raise AssertionError("in the loop's own threads")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def connect():
        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
        await guard.Guard((), "DAS_NOTIFY_ALLOW").connect_tcp("slow.example", 80)

    with (
        asyncio.Runner() as runner,
        pytest.raises(httpcore.ConnectError, match="no such host"),
    ):
        runner.run(connect())


class Endless(MailServer):
    """Its answer to EHLO has no end, or where it is silent it says nothing at all."""

    def __init__(self, *, is_silent=False):
        super().__init__()
        self.is_silent = is_silent
        self.gone = asyncio.Event()
        self.gone.set()

    async def handle(self, reader, writer):
        self.gone.clear()
        if not self.is_silent:
            writer.write(b"220 hub\r\n")
            await reader.readline()
            writer.write(b"250-hub\r\n" * 2_000)
        await reader.read()
        writer.close()
        self.gone.set()


MAIL = Email.model_validate(
    {"to": "a@example.org", "from": "b@example.org", "smarthost": "mail.example:25"}
)


def mail_of():
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "b@example.org", "a@example.org", "x"
    mail.set_content("it is down\n.\n")
    return mail


async def test_a_mail_server_is_heard_in_bounds(monkeypatch):
    """An answer without end is given up, and so is one that does not come; the connection is closed
    and no thread is left behind.
    """
    sender = Sender(guard.parse_networks("127.0.0.0/8"))
    threads = threading.active_count()
    async with Endless().listening() as server:
        to = MAIL.model_copy(update={"smarthost": server.address, "require_tls": False})
        outcome = await sender.mail(mail_of(), to)
        assert (outcome.result, outcome.detail) == (
            "retry",
            "ReadError: an answer of more than 100 lines",
        )
    monkeypatch.setattr("data_api.notify.sending.MAIL_S", 0.1)
    async with Endless(is_silent=True).listening() as server:
        to = MAIL.model_copy(update={"smarthost": server.address, "require_tls": False})
        outcome = await sender.mail(mail_of(), to)
        await asyncio.wait_for(server.gone.wait(), 600)
    assert (outcome.result, outcome.detail) == (
        "retry",
        "the mail server did not finish within 0.1 s",
    )
    assert threading.active_count() <= threads + 1
    await sender.close()


async def test_a_mail_that_was_taken_is_delivered_whatever_comes_after():
    """A server that answers QUIT with an error has the mail: it is not sent again. Who of several
    recipients is refused is said; lines that begin with a dot arrive.
    """
    server = MailServer(bye="421 too busy")
    sender = Sender(guard.parse_networks("127.0.0.0/8"))
    mail = mail_of()
    mail.replace_header("To", "a@example.org, b@refused.example")
    async with server.listening():
        to = MAIL.model_copy(update={"smarthost": server.address, "require_tls": False})
        outcome = await sender.mail(mail, to)
    await sender.close()
    assert (outcome.result, outcome.status) == ("delivered", 250)
    assert outcome.detail == "not to b@refused.example: 550 no such user"
    assert "it is down\r\n..\r\n" in server.mails[0]


async def test_requests_of_one_tenant_wait_for_each_other(database, tenant, monkeypatch):
    """Of one tenant one computes at a time, and over the bound they are refused; another tenant is
    served meanwhile.
    """
    monkeypatch.setattr("data_api.notify.service.WAITING_MAX", 3)
    sender = Sender(())
    notify = Notifications(database, Sealer(SECRET), sender)
    began, ended, running, most = threading.Event(), threading.Event(), [], []

    def show(*_):
        running.append(1)
        most.append(len(running))
        began.set()
        ended.wait(600)
        running.pop()
        return b""

    tasks = [asyncio.create_task(notify.seen(tenant, START, show)) for _ in range(5)]
    assert await asyncio.to_thread(began.wait, 600)
    assert await notify.seen(uuid.uuid4(), START, lambda *_: b"mine") == b"mine"
    ended.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await sender.close()
    assert sorted(map(str, map(type, results))) == sorted(map(str, [bytes] * 3 + [TooMany] * 2))
    assert max(most) == 1


async def test_a_message_that_fails_in_any_way_stops_no_other(database, tenant):
    """A recipient that Python's parser stumbles over fails for good, once."""
    clock, sender = MovedClock(START), Sender(guard.parse_networks("127.0.0.0/8"))
    async with HttpReceiver().listening() as hook:
        text = (
            "global: {smtp_smarthost: 'mail.example:25', smtp_from: a@example.org}\n"
            "route: {receiver: a, group_wait: 0s}\nreceivers: [{name: a, webhook_configs: "
            f"[{{url: '{hook.url}'}}], email_configs: [{{to: ':<\"'}}]}}]"
        )
        await NotifyStore(database).set_config(tenant, Sealer(SECRET).seal(tenant, text), START)
        await receive(database, tenant, [alert(START)], START)
        one = dispatcher.Dispatcher(
            NotifyStore(database), Configurations(Sealer(SECRET)), sender, clock
        )
        await one.turn()
    await sender.close()
    rows = await NotifyStore(database).deliveries(tenant, 10)
    results = {row["integration"]: row["result"] for row in rows}
    assert results == {"webhook/0": "delivered", "email/0": "failed"}
