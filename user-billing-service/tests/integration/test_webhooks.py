"""Events reach a customer's server at least once, signed, whatever happens on the way."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import SECRET_KEY, SERVICE_TOKEN, set_up_hub, wait_until
from embedded_postgres import execute, fresh_database
from receiver import receiving
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from user_billing.db import rows
from user_billing.webhooks import delivery, sql
from user_billing.webhooks.outbox import emit
from user_billing.webhooks.rules import EventType
from user_billing.webhooks.tables import webhook_endpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hub(server_url):
    """A hub whose webhooks may reach 127.0.0.1, and no other address of this machine."""
    with (
        pytest.MonkeyPatch.context() as patch,
        fresh_database(server_url, "ubs_webhooks") as url,
    ):
        patch.setattr(delivery, "IDLE_S", 0.02)
        patch.setattr(delivery.rules, "ATTEMPT_S", 600)
        with set_up_hub(url, webhook_allow="127.0.0.1/32") as running:
            yield running


@pytest.fixture
def owner(hub):
    hub.founder = hub.log_in("founder@example.org")
    return hub.owner("Hooks")


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


def create(owner, url, *types):
    made = owner.post("/api/v1/webhooks", {"url": url, "event_types": types})
    assert made.status_code == 201, made.text
    return made.json()["endpoint"]["id"], made.json()["secret"]


def happens(hub, owner, type_=EventType.INVOICE_FINALIZED, *, commit=True, **data):
    with hub.services.database.organisation(owner.org) as session:
        event_id = emit(session, owner.org, type_, data, hub.clock.now())
        if not commit:
            session.rollback()
    return str(event_id)


def deliveries(owner, endpoint_id, **params):
    answer = owner.get(f"/api/v1/webhooks/{endpoint_id}/deliveries", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["deliveries"]


def wait_for(owner, endpoint_id, **values):
    """The last delivery, as soon as it has these values."""

    def has_come():
        (last, *_) = deliveries(owner, endpoint_id)
        return all(last[name] == value for name, value in values.items())

    wait_until(has_come)
    return deliveries(owner, endpoint_id)[0]


def verify(message, secret):
    headers, body = message
    Webhook(secret).verify(body, headers)


def is_signed(message, secret):
    """As `verify`, whatever the tests' clock says: the library compares with the machine's."""
    headers, body = message
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    signature = Webhook(secret).sign(headers["webhook-id"], at, body.decode())
    return signature in headers["webhook-signature"].split()


def test_a_receiver_can_prove_what_it_gets(hub, owner, receiver):
    """The library of the standard accepts it; a changed body, and another's secret, it refuses."""
    endpoint_id, secret = create(owner, receiver.url)
    event_id = happens(hub, owner, number="INV-1", total="19.00")
    done = wait_for(owner, endpoint_id, state="delivered")
    ((headers, body),) = receiver.messages
    assert headers["webhook-id"] == event_id == done["event_id"]
    assert (done["status"], done["attempts"], done["error"]) == (204, 1, "")
    verify((headers, body), secret)
    message = json.loads(body)
    assert message["type"] == "invoice.finalized"
    assert message["data"] == {"number": "INV-1", "total": "19.00"}
    _, other = create(owner, receiver.url)
    for bad in ((headers, body.replace(b"19", b"91"), secret), (headers, body, other)):
        with pytest.raises(WebhookVerificationError):
            verify(bad[:2], bad[2])


def test_the_audit_log_names_the_receiver_and_not_its_path(owner, receiver):
    """Many receivers know their senders by nothing but the path."""
    endpoint, _ = create(owner, f"{receiver.url}/secret-path?token=secret-token")
    assert owner.delete(f"/api/v1/webhooks/{endpoint}").status_code == 204
    audit = owner.get("/api/v1/audit").text
    assert audit.count('"host":"127.0.0.1"') == 2
    assert "secret-" not in audit


def test_a_revoked_key_is_told(hub, owner, receiver):
    """What the audit log has of it is sent, in the same transaction."""
    endpoint_id, secret = create(owner, receiver.url, "key.revoked")
    key = owner.new_key("metrics:write")["id"]
    assert owner.delete(f"/api/v1/keys/{key}").status_code == 204
    wait_for(owner, endpoint_id, state="delivered")
    ((headers, body),) = receiver.messages
    verify((headers, body), secret)
    assert json.loads(body)["data"] == {"target": f"key:{key}", "name": "test"}


def test_an_endpoint_gets_what_it_wants(hub, owner, receiver):
    """Types choose; what is rolled back, and what happens elsewhere, is told to nobody."""
    endpoint_id, _ = create(owner, receiver.url, "key.revoked", "quota.reached")
    stranger = hub.owner("Stranger")
    assert happens(hub, owner) == "None", "nobody listens"
    assert happens(hub, stranger, EventType.KEY_REVOKED) == "None"
    happens(hub, owner, EventType.KEY_REVOKED, commit=False)
    wanted = happens(hub, owner, EventType.QUOTA_REACHED)
    wait_for(owner, endpoint_id, state="delivered")
    assert receiver.ids == [wanted]
    assert len(deliveries(owner, endpoint_id)) == 1


def test_a_failure_is_tried_again_with_the_same_id(hub, owner, receiver):
    """500, then a redirect, which is not followed, then success: one id, one body."""
    receiver.answers = [500, 302, 200]
    endpoint_id, _ = create(owner, receiver.url)
    happens(hub, owner, n=1)
    for attempt, status in ((1, 500), (2, 302)):
        waits = wait_for(owner, endpoint_id, attempts=attempt, status=status)
        assert (waits["state"], waits["error"]) == ("pending", f"it answered {status}")
        hub.clock.advance(seconds=30)
    wait_for(owner, endpoint_id, state="delivered", attempts=3)
    assert len(receiver.messages) == 3
    assert len(set(receiver.ids)) == 1
    assert len({body for _, body in receiver.messages}) == 1


def test_a_slow_receiver_holds_up_nobody_else(hub, owner, receiver):
    """While one does not answer, another gets all its events; the slow one has one at a time."""
    with receiving() as slow:
        slow.gate.clear()
        slow_id, _ = create(owner, slow.url)
        for n in range(3):
            happens(hub, owner, n=n)
        wait_until(lambda: slow.messages)
        quick_id, _ = create(owner, receiver.url)
        for n in range(3):
            happens(hub, owner, n=n)
        wait_until(lambda: len(deliveries(owner, quick_id, state="delivered")) == 3)
        assert receiver.ids == sorted(receiver.ids)
        assert len(slow.messages) == 1
        slow.gate.set()
        wait_until(lambda: len(deliveries(owner, slow_id, state="delivered")) == 6)


def test_both_secrets_sign_for_a_while(hub, owner, receiver):
    """After a rotation old and new verify; when the overlap is over, only the new one."""
    endpoint_id, old = create(owner, receiver.url)
    made = owner.post(f"/api/v1/webhooks/{endpoint_id}/rotate", {"overlap_hours": 1})
    new = made.json()["secret"]
    happens(hub, owner)
    wait_for(owner, endpoint_id, state="delivered")
    assert is_signed(receiver.messages[0], old)
    assert is_signed(receiver.messages[0], new)
    hub.clock.advance(minutes=61)
    owner = hub.log_in(owner.session["user"]["email"])
    happens(hub, owner)
    wait_until(lambda: len(receiver.messages) == 2)
    assert is_signed(receiver.messages[1], new)
    assert not is_signed(receiver.messages[1], old)


def test_a_dead_endpoint_is_given_up_and_replayed(hub, owner, receiver):
    """After three days the delivery fails and the endpoint is off, which the audit log tells;
    turned on again, all that failed is sent again under its id.
    """
    receiver.answers = [500]
    endpoint_id, _ = create(owner, receiver.url)
    start, event_id = hub.clock.now(), happens(hub, owner)
    for attempt in range(1, 20):
        last = wait_for(owner, endpoint_id, attempts=attempt, status=500)
        if last["state"] == "failed":
            break
        hub.clock.advance(hours=15)
        owner = hub.log_in(owner.session["user"]["email"])
    assert last["state"] == "failed"
    actions = [event["action"] for event in owner.get("/api/v1/audit").json()["events"]]
    assert "webhook.disabled" in actions
    assert happens(hub, owner) == "None", "an endpoint that is off gets nothing"
    again = {"failed_since": start.isoformat()}
    path = f"/api/v1/webhooks/{endpoint_id}"
    assert owner.post(f"{path}/replay", again).status_code == 409
    receiver.answers = [200]
    assert owner.patch(path, {"enabled": True}).json()["disabled_at"] is None
    assert owner.post(f"{path}/replay", again).json() == {"count": 1}
    wait_for(owner, endpoint_id, state="delivered", attempts=1)
    assert owner.post(f"{path}/replay", {"event_id": event_id}).json() == {"count": 1}
    wait_until(lambda: receiver.answers == [200] and receiver.ids[-2:] == [event_id] * 2)
    assert set(receiver.ids) == {event_id}
    unknown = {"event_id": "019ad000-0000-7000-8000-000000000000"}
    assert owner.post(f"{path}/replay", unknown).status_code == 404
    assert owner.post(f"{path}/replay", {}).status_code == 400


def test_gone_means_gone(hub, owner, receiver):
    """410 turns the endpoint off at once, with all that waits for it."""
    receiver.answers = [410]
    receiver.gate.clear()
    endpoint_id, _ = create(owner, receiver.url)
    happens(hub, owner)
    wait_until(lambda: receiver.messages)
    happens(hub, owner)
    receiver.gate.set()
    wait_until(lambda: len(deliveries(owner, endpoint_id, state="failed")) == 2)
    assert owner.get("/api/v1/webhooks").json()["webhooks"][0]["disabled_at"] is not None
    assert len(receiver.messages) == 1


@pytest.mark.parametrize("host", ["127.0.0.2", "169.254.169.254", "[::1]", "10.1.2.3"])
def test_the_hubs_own_network_is_not_reached(hub, owner, host):
    """What is not public and not allowed is not connected to; the log says which setting may."""
    with receiving("127.0.0.2") as inside:
        port = inside.url.rpartition(":")[2]
        endpoint_id, _ = create(owner, f"http://{host}:{port}/")
        happens(hub, owner)
        error = wait_for(owner, endpoint_id, attempts=1, status=None, state="pending")["error"]
        wait_until(lambda: "UBS_WEBHOOK_ALLOW" in deliveries(owner, endpoint_id)[0]["error"])
        assert inside.messages == [], error


def test_a_queue_has_an_end(hub, owner, receiver, monkeypatch):
    """Beyond the bound an event fails for this endpoint at once, and may be replayed."""
    monkeypatch.setattr(sql, "QUEUE_MAX", 2)
    receiver.gate.clear()
    endpoint_id, _ = create(owner, receiver.url)
    for n in range(3):
        happens(hub, owner, n=n)
    states = [one["state"] for one in deliveries(owner, endpoint_id)]
    assert states == ["failed", "pending", "pending"]
    assert len(deliveries(owner, endpoint_id, limit=1)) == 1


def test_a_lost_secret_is_a_failure_like_others(hub, owner, receiver):
    """What was sealed with another UBS_SECRET_KEY signs nothing; a rotation mends it."""
    endpoint_id, _ = create(owner, receiver.url)
    with hub.services.database.organisation(owner.org) as session:
        broken = {"secret_sealed": b"x" * 60}
        rows.changed(session, webhook_endpoint, owner.org, {"id": endpoint_id}, **broken)
    happens(hub, owner)
    wait_until(lambda: "rotate it" in deliveries(owner, endpoint_id)[0]["error"])
    rotated = owner.post(f"/api/v1/webhooks/{endpoint_id}/rotate", {"overlap_hours": 0})
    hub.clock.advance(seconds=30)
    wait_for(owner, endpoint_id, state="delivered", attempts=2)
    assert is_signed(receiver.messages[0], rotated.json()["secret"])


def test_the_log_is_kept_for_a_month(hub, owner, receiver):
    """Older events and their deliveries are swept; younger ones stay."""
    endpoint_id, _ = create(owner, receiver.url)
    happens(hub, owner, n=1)
    hub.clock.advance(days=20)
    young = happens(hub, owner, n=2)
    hub.clock.advance(days=11)
    hub.services.webhooks.sweep()
    owner = hub.log_in(owner.session["user"]["email"])
    assert [one["event_id"] for one in deliveries(owner, endpoint_id)] == [young]


def test_endpoints_are_changed_and_removed(hub, owner, receiver):
    """Its values change, none shows a secret, the eleventh is refused, and gone is gone."""
    endpoint_id, secret = create(owner, receiver.url)
    path = f"/api/v1/webhooks/{endpoint_id}"
    changed = owner.patch(path, {"event_types": ["key.revoked"], "enabled": False}).json()
    assert changed["event_types"] == ["key.revoked"]
    assert changed["disabled_at"] is not None
    assert secret not in owner.get("/api/v1/webhooks").text
    for bad in ({"url": "ftp://x"}, {"event_types": ["no.such"]}, {"secret": "x"}):
        assert owner.patch(path, bad).status_code == 400
    for _ in range(9):
        create(owner, receiver.url)
    assert owner.post("/api/v1/webhooks", {"url": receiver.url}).status_code == 409
    assert owner.delete(path).status_code == 204
    assert owner.delete(path).status_code == 404
    viewer = hub.member(owner, "viewer")
    assert viewer.get("/api/v1/webhooks").status_code == 403
    hub.clock.advance(hours=2)
    assert owner.post("/api/v1/webhooks", {"url": receiver.url}).status_code == 403, "not fresh"


@contextmanager
def process(url):
    """The service as a process of its own."""
    inherited = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LD_LIBRARY_PATH"}}
    given = {
        "DATABASE_URL": url, "SERVICE_TOKEN": SERVICE_TOKEN, "UBS_SECRET_KEY": SECRET_KEY,
        "UBS_WEBHOOK_ALLOW": "127.0.0.1/32", "PORT": "0",
    }  # fmt: skip
    command = [sys.executable, "-m", "user_billing"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=inherited | given,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def test_killed_between_sending_and_recording(server_url, receiver):
    """A process killed with -9 while the receiver has the message: another process sends it again
    under the same id, once the first one's lease is over.
    """
    with fresh_database(server_url, "ubs_killed") as url:
        receiver.gate.clear()
        with set_up_hub(url, webhook_allow="127.0.0.1/32") as first:
            _, secret = create(first.founder, receiver.url)
            services, org = first.services, first.founder.org
        with process(url) as started:
            with services.database.organisation(org) as session:
                emit(session, org, EventType.GUARD_OPENED, {"n": 1}, first.clock.now())
            wait_until(lambda: receiver.messages)
            started.send_signal(signal.SIGKILL)
            started.wait(600)
        services.database.engine.dispose()
        receiver.gate.set()
        execute(url, "UPDATE billing.webhook_delivery SET next_at = now()")
        with process(url):
            wait_until(lambda: len(receiver.messages) == 2)
    assert len(set(receiver.ids)) == 1
    verify(receiver.messages[1], secret)
