"""What was committed before a kill -9 took the answer away is not counted again."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from conftest import INTERNAL, Browser, Hub, founded_hub, is_ready, wait_until
from embedded_postgres import PostgresError, execute, own_postgres

ROOT = Path(__file__).resolve().parents[2]
METERS = (("calls", "sum"), ("users", "unique"), ("load", "time_average"))
BATCH = "application/cloudevents-batch+json"


@contextlib.contextmanager
def dying_service(hub, dies_at):
    """The base URL of a process that is killed before the answer of its `dies_at`-th intake."""
    url = hub.services.settings.database_url.get_secret_value()
    command = [sys.executable, "tests/dying_service.py", url, str(dies_at)]
    environment = os.environ | {"PYTHONPATH": "."}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        base_url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        wait_until(lambda: is_ready(base_url))
        yield base_url
        assert process.wait(600) == -9, "it was to be killed"


@dataclass
class Sender:
    """What an organisation and dis send, in parts, and who sends it."""

    hub: Hub
    owner: Browser
    key: str
    now: datetime

    def parts(self):
        """Six batches of ten events of three meters, and five revisions of an hour."""
        events = [
            {
                "specversion": "1.0", "source": "shop", "id": str(n),
                "time": self.now.isoformat(), "type": METERS[n % 3][0], "data": {"value": str(n)},
            }
            for n in range(60)
        ]  # fmt: skip
        hour = (self.now - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
        reports = [
            {
                "tenant": self.owner.org, "hour": hour.isoformat(), "revision": revision,
                "meters": {"samples": {"quantity": str(10 * revision)}},
            }
            for revision in range(1, 6)
        ]  # fmt: skip
        return [events[n : n + 10] for n in range(0, 60, 10)] + [[report] for report in reports]

    def send(self, part, base_url):
        if "revision" in part[0]:
            body = {"source": "dis", "reports": part}
            return httpx.post(
                f"{base_url}/internal/usage", json=body, headers=INTERNAL, timeout=600
            )
        headers = {"X-API-Key": self.key, "Content-Type": BATCH}
        url, content = f"{base_url}/api/v1/usage/events", json.dumps(part)
        return httpx.post(url, content=content, headers=headers, timeout=600)

    def check_totals(self):
        """Everything counts once: numbers 0 to 59 by turns, and the last revision."""
        start, end = self.now - timedelta(days=1), self.now + timedelta(hours=1)
        usage = self.hub.services.usage.of_period(UUID(self.owner.org), start, end)
        assert usage["calls"].quantity == sum(range(0, 60, 3))
        assert usage["users"].quantity == 20
        assert usage["load"].quantity * 20 * 25 == sum(range(2, 60, 3))
        assert usage["samples_ingested"].quantity == 50


@pytest.fixture
def sender(hub):
    return new_sender(hub)


def new_sender(hub):
    owner = hub.owner("Crash")
    for code, aggregation in METERS:
        body = {"code": code, "unit": "things", "aggregation": aggregation}
        assert owner.post("/api/v1/meters", body).status_code == 201
    key = owner.new_key("metrics:write")["key"]
    return Sender(hub, owner, key, hub.clock.now() - timedelta(minutes=1))


def test_a_service_killed_before_its_answer_counts_nothing_twice(hub, sender):
    """Parts are sent in any order, again and again, to processes that die between commit and
    answer; in the end each is sent once more to one that lives.
    """
    chance, parts = random.Random(11), sender.parts()
    for dies_at in (1, 2, 5):
        with dying_service(hub, dies_at) as base_url:
            for _ in range(dies_at - 1):
                assert sender.send(chance.choice(parts), base_url).status_code == 200
            with pytest.raises(httpx.TransportError):
                sender.send(chance.choice(parts), base_url)
    chance.shuffle(parts)
    for part in parts:
        assert sender.send(part, hub.base_url).status_code == 200
    sender.check_totals()


def test_transactions_that_are_cut_off_count_nothing_twice(hub, server_url, sender):
    """Postgres ends busy connections while six senders are at it; they send until answered."""
    url = hub.services.settings.database_url.get_secret_value()
    name = execute(url, "SELECT current_database()")
    chance = random.Random(12)
    parts = sender.parts() * 4
    chance.shuffle(parts)
    cut_off = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        f" WHERE datname = '{name}' AND state <> 'idle'"
    )
    sent = []

    def until_answered(part):
        for _ in range(50):
            if len(sent) % 5 == 0:
                execute(server_url, cut_off)
            sent.append(sender.send(part, hub.base_url).status_code)
            if sent[-1] == 200:
                return
        raise AssertionError(sent)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(until_answered, parts))
    assert set(sent) <= {200, 503}
    sender.check_totals()


def test_a_crash_of_postgres_counts_nothing_twice():
    """A backend is killed, again and again: Postgres ends all sessions and recovers from its log,
    while six senders send until answered.
    """
    others = "SELECT min(pid) FROM pg_stat_activity WHERE usename IS NOT NULL AND state IS NOT NULL"
    others += " AND pid <> pg_backend_pid()"
    with own_postgres() as server, founded_hub(server) as hub:
        sender, chance = new_sender(hub), random.Random(13)
        parts = sender.parts() * 2
        chance.shuffle(parts)
        sent, crashes = [], []

        def is_taken(part):
            if len(sent) % 7 == 6 and len(crashes) < 5:
                with contextlib.suppress(PostgresError, ProcessLookupError, ValueError):
                    os.kill(int(execute(server, others)), signal.SIGKILL)
                    crashes.append(len(sent))
            sent.append(sender.send(part, hub.base_url).status_code)
            return sent[-1] == 200

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda part: wait_until(lambda: is_taken(part)), parts))
        assert crashes
        assert set(sent) <= {200, 503}
        sender.check_totals()
