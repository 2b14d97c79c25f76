"""Where notifications may be sent to, and what is sent: addresses, texts, seals."""

import ipaddress
import uuid

import httpcore
import pytest
from receivers import HttpReceiver

from data_api.gotemplate import TemplateError
from data_api.notify import guard, texts
from data_api.notify.compiled import compiled
from data_api.notify.errors import Unreadable
from data_api.notify.guard import GuardedTransport, parse_networks, refusal
from data_api.notify.integrations import Webhook
from data_api.notify.messages import Composer, Global
from data_api.notify.seal import Sealer
from data_api.notify.sending import Outcome, Sender
from data_api.notify.state import Outbox
from data_api.notify.texts import Texts

ALERT = {
    "status": "firing",
    "labels": {"alertname": "Up", "job": "x"},
    "annotations": {"summary": "it is down", "runbook_url": "http://r"},
    "startsAt": "2026-11-30T00:00:00.000Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://hub/g",
    "fingerprint": "00",
}
DATA = {
    "version": "4",
    "groupKey": "{}:{}",
    "truncatedAlerts": 0,
    "receiver": "a",
    "status": "firing",
    "alerts": [ALERT, ALERT | {"status": "resolved", "endsAt": "2026-11-30T01:00:00.000Z"}],
    "groupLabels": {"alertname": "Up"},
    "commonLabels": {"alertname": "Up", "job": "x"},
    "commonAnnotations": {},
    "externalURL": "http://hub",
}


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "169.254.169.254",
        "10.1.2.3",
        "192.168.1.1",
        "100.64.0.1",
        "168.63.129.16",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "ff02::1",
        "8.8.8.8",
        "::ffff:8.8.8.8",
    ],
)
def test_what_is_not_public_or_our_own_is_refused(address):
    """Loopback, link-local, private, metadata, multicast, what stands for them in IPv6, and the
    network that this machine is in; an operator's list allows what it names.
    """
    own = [ipaddress.ip_network("8.8.8.0/24")]
    assert refusal(address, (), own)
    assert refusal("1.1.1.1", (), own) == ""
    assert refusal("2606:4700::1111", (), own) == ""
    assert refusal("10.1.2.3", parse_networks("10.0.0.0/8, fd00::/8"), own) == ""


def test_own_networks_are_read_from_the_kernels_tables(tmp_path):
    """Networks without a gateway, and those of IPv6 addresses; none where there are no tables."""
    (tmp_path / "route").write_text(
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 0104A8C0 0003 0 0 0 00000000 0 0 0\n"
        "eth0 0004A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
    )
    (tmp_path / "if_inet6").write_text(
        "26064700000000000000000000000001 02 40 00 80 eth0\n"
        "00000000000000000000000000000001 01 80 10 80 lo\n"
    )
    expected = ["192.168.4.0/24", "2606:4700::/64", "::1/128"]
    assert [str(one) for one in guard.own_networks(tmp_path)] == expected
    assert guard.own_networks(tmp_path / "none") == []


async def test_one_bad_address_of_a_name_refuses_it():
    """A name with a public and a private address is not connected to at all."""
    infos = [(0, 0, 0, "", ("1.1.1.1", 80)), (0, 0, 0, "", ("10.0.0.1", 80))]
    with pytest.raises(guard.Refused, match=r"10\.0\.0\.1 is not a public address"):
        guard.checked(infos, ())


async def test_the_transport_connects_through_the_guard():
    """The private name of httpx for its pool is the one that is set."""
    transport = GuardedTransport(())
    assert isinstance(transport._pool, httpcore.AsyncConnectionPool)
    assert isinstance(transport._pool._network_backend, guard.Guard)


async def test_secrets_do_not_come_out_of_errors():
    """A header that cannot be sent is a final failure whose text does not quote it."""
    sender = Sender(parse_networks("127.0.0.0/8"))
    async with HttpReceiver().listening() as hook:
        authorization = {"credentials": "first\nsecond"}
        webhook = Webhook.model_validate(
            {"url": hook.url, "http_config": {"authorization": authorization}}
        )
        message = Composer(Global(), Texts(())).compose(webhook, box(), 0)
        outcome = await sender.post(message, ["first\nsecond"])
    await sender.close()
    assert outcome.result == "failed"
    assert "second" not in outcome.detail


def box():
    return Outbox(uuid.uuid4(), frozenset(), 0, DATA)


def test_default_texts_are_readable():
    """The title has state, count, group and the other common labels; the text an entry an alert."""
    expand = Texts(()).expand
    assert expand('{{ template "default.title" . }}', DATA, 0) == "[FIRING:1] Up (x)"
    assert expand('{{ template "default.text" . }}', DATA, 0) == (
        "Firing:\n- Up: it is down\n  job=x\n  runbook: http://r\n  source: http://hub/g\n"
        "Resolved:\n- Up: it is down\n  job=x\n  runbook: http://r\n  source: http://hub/g"
    )
    assert expand('{{ template "__subject" . }}', DATA, 0) == "[FIRING:1] Up (x)"


def test_templates_see_what_alertmanagers_do():
    """Names, methods and functions of Alertmanager's templates; own definitions win."""
    expand = Texts(('{{ define "default.title" }}mine{{ end }}',)).expand
    assert expand('{{ template "default.title" . }}', DATA, 0) == "mine"
    text = (
        '{{ .Receiver }} {{ (index .Alerts 0).StartsAt.Format "2006" }} {{ .CommonLabels.job }}'
        ' {{ .Alerts.Resolved | len }} {{ .ExternalURL }} {{ .GroupLabels.Names | join "," }}'
    )
    assert expand(text, DATA, 0) == "a 2026 x 1 http://hub alertname"
    with pytest.raises(ValueError, match="missing value for if"):
        texts.check("{{ if }}")
    with pytest.raises(TemplateError):
        Texts(("{{ nothing }}",))


def test_a_webhook_may_bound_its_alerts():
    """`max_alerts` leaves the rest to `truncatedAlerts`."""
    webhook = Webhook.model_validate({"url": "http://h/", "max_alerts": "1"})
    message = Composer(Global(), Texts(())).compose(webhook, box(), 0)
    assert message.body.count(b'"fingerprint"') == 1
    assert b'"truncatedAlerts":1' in message.body


def test_a_sealed_text_opens_only_for_its_tenant_and_secret():
    """Encrypted, bound to both, and different each time."""
    tenant = uuid.uuid4()
    sealed = Sealer("s" * 20).seal(tenant, "text")
    assert b"text" not in sealed
    assert Sealer("s" * 20).open(tenant, sealed) == "text"
    for secret, other in (("t" * 20, tenant), ("s" * 20, uuid.uuid4())):
        with pytest.raises(Unreadable):
            Sealer(secret).open(other, sealed)


def test_nothing_of_a_message_shows_its_secrets():
    """Neither a message nor a compiled configuration has a secret in its repr."""
    webhook = Webhook.model_validate({"url": "http://h/t0ken", "secret": "s3cret"})
    message = Composer(Global(), Texts(())).compose(webhook, box(), 0)
    known = compiled("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: "
                     "[{url: 'http://h/t0ken'}]}]")  # fmt: skip
    assert "t0ken" not in repr(message) + repr(webhook) + repr(known.config) + repr(Outcome("x"))
    assert "t0ken" not in repr(known)
