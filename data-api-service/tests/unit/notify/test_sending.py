"""Where notifications may be sent to, and what is sent: addresses, texts, seals."""

import base64
import ipaddress
import uuid

import httpcore
import orjson
import pytest
from receivers import HttpReceiver

from data_api.chassis import guard
from data_api.chassis.guard import GuardedTransport, parse_networks, refusal
from data_api.gotemplate import TemplateError
from data_api.notify import texts
from data_api.notify.compiled import compiled
from data_api.notify.errors import Unreadable
from data_api.notify.integrations import Email, PagerDuty, Webhook
from data_api.notify.seal import Sealer
from data_api.notify.sending import Outcome, Sender, _finished
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
        guard.checked(infos, (), "DAS_NOTIFY_ALLOW")


async def test_the_transport_connects_through_the_guard():
    """The private name of httpx for its pool is the one that is set."""
    transport = GuardedTransport(guard.Guard((), "DAS_NOTIFY_ALLOW"))
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
        message = webhook.message(Texts(()).notice(box(), 0))
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
    message = webhook.message(Texts(()).notice(box(), 0))
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
    message = webhook.message(Texts(()).notice(box(), 0))
    known = compiled("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: "
                     "[{url: 'http://h/t0ken'}]}]")  # fmt: skip
    assert "t0ken" not in repr(message) + repr(webhook) + repr(known.config) + repr(Outcome("x"))
    assert "t0ken" not in repr(known)


def test_a_text_that_grows_too_long_is_of_the_first_alerts():
    """Hundreds of alerts, more than a text may hold: the first of them are told, and how many there
    are. Nothing but the alerts makes it shorter.
    """
    labels = {f"label{number}": "x" * 20 for number in range(10)}
    many = DATA | {"alerts": [ALERT | {"labels": labels}] * 500}
    text = Texts(()).expand('{{ template "default.text" . }}', many, 0)
    assert text.startswith("(the first 125 of 500 alerts)\nFiring:\n- ")
    endless = Texts(()).expand("{{ range 100000 }}x{{ end }}", many, 0)
    assert endless.startswith("<error expanding template: ")


def test_a_time_that_a_zone_does_not_have_is_an_error_in_words():
    """The end of an alert that fires is the year 1, before which there is none."""
    text = '{{ (tz "America/New_York" (index .Alerts 0).EndsAt).Format "15:04" }}'
    assert "no such time" in Texts(()).expand(text, DATA, 0)


def test_pagerduty_is_given_a_severity_that_it_takes():
    """`severity=page`, which it does not know, is an error."""
    pager = PagerDuty.model_validate({"routing_key": "x"})
    for severity, expected in (("page", "error"), ("warning", "warning")):
        data = DATA | {"commonLabels": {"severity": severity}}
        one = Outbox(uuid.uuid4(), frozenset(), 0, data)
        message = pager.message(Texts(()).notice(one, 0))
        assert orjson.loads(message.body)["payload"]["severity"] == expected


def test_a_subject_is_bounded():
    """A label of any length makes a mail whose head is made at once."""
    given = {"to": "a@b.example", "from": "c@d.example", "smarthost": "mail.example:25"}
    mail = Email.model_validate(given | {"subject": "ü" * 9999})
    message = mail.message(Texts(()).notice(box(), 0))
    assert len(message["Subject"]) == 1000


async def test_what_a_receiver_quotes_of_a_secret_is_masked():
    """A path of a secret URL, an encoded password, a secret at the end of what is shown."""
    basic = "http_config: {basic_auth: {username: u, password: p4ssw0rd-of-it}}"
    known = compiled(
        "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: "
        f"'https://hooks.example/services/T0/s3cr3t-path?token=t0ken-of-it', {basic}}}]}}]"
    )
    encoded = base64.b64encode(b"u:p4ssw0rd-of-it").decode()
    texts_of_receivers = [
        "The URL /services/T0/s3cr3t-path was not found",
        r"no https:\/\/hooks.example\/services\/T0\/s3cr3t-path",
        f"Basic {encoded} is wrong",
        "token t0ken-of-it",
        "x" * 190 + " t0ken-of-it",
        "x" * 495 + "t0ken-of-it",
    ]
    for text in texts_of_receivers:
        detail = _finished(Outcome("failed", 404, text), 0, known.secrets).detail
        assert not [part for part in ("s3cr3t", "t0ken", encoded[:8]) if part in detail], detail
    assert "hooks.example" in _finished(Outcome("x", 0, "hooks.example?"), 0, known.secrets).detail
