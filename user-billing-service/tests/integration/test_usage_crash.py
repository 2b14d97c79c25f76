"""What was committed before a kill -9 took the answer away is not counted again."""

import contextlib
import json
import os
import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
from conftest import INTERNAL, is_ready, wait_until

ROOT = Path(__file__).resolve().parents[2]
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
        wait_until(lambda: is_ready(base_url), within_s=60)
        yield base_url
        assert process.wait(20) == -9, "it was to be killed"


def test_totals_are_those_of_everything_sent_once(hub):
    """Batches of events and reports of hours are sent in any order, again and again, to processes
    that die between commit and reply; in the end each is sent once more to one that lives.
    """
    chance = random.Random(11)
    owner = hub.owner("Crash")
    for code, aggregation in (("calls", "sum"), ("users", "unique"), ("load", "time_average")):
        body = {"code": code, "unit": "things", "aggregation": aggregation}
        assert owner.post("/api/v1/meters", body).status_code == 201
    key = {"X-API-Key": owner.new_key("metrics:write")["key"], "Content-Type": BATCH}
    now = hub.clock.now() - timedelta(minutes=1)
    events = [
        {
            "specversion": "1.0", "source": "shop", "id": str(n), "time": now.isoformat(),
            "type": ("calls", "users", "load")[n % 3], "data": {"value": str(n)},
        }
        for n in range(60)
    ]  # fmt: skip
    hour = (now - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    reports = [
        {
            "tenant": owner.org, "hour": hour.isoformat(), "revision": revision,
            "meters": {"samples": {"quantity": str(10 * revision)}},
        }
        for revision in range(1, 6)
    ]  # fmt: skip

    def send(base_url, part):
        if "revision" in part[0]:
            body = {"source": "dis", "reports": part}
            return httpx.post(f"{base_url}/internal/usage", json=body, headers=INTERNAL)
        content = json.dumps(part)
        return httpx.post(f"{base_url}/api/v1/usage/events", content=content, headers=key)

    parts = [events[n : n + 10] for n in range(0, 60, 10)] + [[report] for report in reports]
    for dies_at in (1, 2, 5):
        with dying_service(hub, dies_at) as base_url:
            for number in range(1, dies_at + 1):
                part = chance.choice(parts)
                if number < dies_at:
                    assert send(base_url, part).status_code == 200
                else:
                    with contextlib.suppress(httpx.TransportError):
                        raise AssertionError(send(base_url, part).text)
    chance.shuffle(parts)
    for part in parts:
        assert send(hub.base_url, part).status_code == 200
    usage = hub.services.usage.of_period(
        UUID(owner.org), now - timedelta(days=1), now + timedelta(hours=1)
    )
    of_code = {
        code: sum(n for n in range(60) if n % 3 == place)
        for place, code in enumerate(("calls", "users", "load"))
    }
    assert usage["calls"].quantity == of_code["calls"]
    assert usage["users"].quantity == 20
    assert usage["load"].quantity * 20 * 25 == of_code["load"]
    assert usage["samples_ingested"].quantity == 50
