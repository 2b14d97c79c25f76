"""What is sent to each kind of receiver, as bytes. Pure.

`Message` is an HTTP POST; a mail is an `EmailMessage`. Sources: Alertmanager's `notify/*`, Standard
Webhooks, Slack's attachments, Teams' adaptive cards, PagerDuty Events v2, Opsgenie's Alert API.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final, TypeVar

import orjson

from data_api.gotemplate import Allowance
from data_api.notify.integrations import (
    Email,
    Global,
    HttpConfig,
    Opsgenie,
    PagerDuty,
    Slack,
    Teams,
    Webhook,
)
from data_api.notify.state import Outbox
from data_api.notify.texts import Texts
from data_api.notify.times import EPOCH

T = TypeVar("T")
SUMMARY_CHARACTERS_MAX: Final = 1024  # PagerDuty's; Opsgenie's message has 130, its text 15,000
SUBJECT_CHARACTERS_MAX: Final = 1000  # folding one of 60,000 takes seconds
STEPS_MAX: Final = 200_000
CHARS_MAX: Final = 1 << 20  # of all texts of one message
"""Of all templates of one message."""
TEAMS_CHARACTERS_MAX: Final = 20_000
SEVERITIES: Final = frozenset({"critical", "error", "warning", "info"})
"""What PagerDuty takes; with any other word it refuses the alert."""
JSON: Final = {"content-type": "application/json", "user-agent": "cloudopshub-notify"}


@dataclass(frozen=True, slots=True)
class Message:
    """One POST."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Composer:
    """Turns a notification into what one integration is sent."""

    defaults: Global
    texts: Texts

    def compose(self, integration: Any, outbox: Outbox, now_ms: int) -> Message | EmailMessage:
        """The message; the same for the same outbox entry, but for its timestamp."""
        allowance = Allowance(STEPS_MAX, CHARS_MAX)

        def text(template: str) -> str:
            return self.texts.expand(template, dict(outbox.data), now_ms, allowance)

        match integration:
            case Webhook():
                return self._webhook(integration, outbox, now_ms)
            case Slack():
                return self._slack(integration, text)
            case Teams():
                return self._teams(integration, outbox, text)
            case PagerDuty():
                return self._pagerduty(integration, outbox, text)
            case Opsgenie():
                return self._opsgenie(integration, outbox, text)
            case Email():
                return self._email(integration, outbox, text)
        raise AssertionError(integration.kind)

    def _webhook(self, to: Webhook, outbox: Outbox, now_ms: int) -> Message:
        data = dict(outbox.data)
        if to.max_alerts and len(data["alerts"]) > to.max_alerts:
            data["truncatedAlerts"] += len(data["alerts"]) - to.max_alerts
            data["alerts"] = data["alerts"][: to.max_alerts]
        body = orjson.dumps(data)
        name, at = str(outbox.outbox_id), str(now_ms // 1000)
        headers = {"webhook-id": name, "webhook-timestamp": at}
        if to.secret is not None:
            signed = f"{name}.{at}.".encode() + body
            digest = hmac.digest(_key(to.secret.get_secret_value()), signed, "sha256")
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return _post(to.url.get_secret_value(), body, to.http_config, headers)

    def _slack(self, to: Slack, text: Callable[[str], str]) -> Message:
        title = text(to.title)
        attachment = {
            "title": title,
            "title_link": text(to.title_link),
            "text": text(to.text),
            "fallback": title,
            "color": text(to.color),
            "mrkdwn_in": ["fallback", "pretext", "text"],
        }
        named = {"channel": to.channel, "username": to.username, "icon_emoji": to.icon_emoji}
        body = {name: text(value) for name, value in named.items() if value}
        url = given(to.api_url, self.defaults.slack_api_url).get_secret_value()
        return _post(url, {**body, "attachments": [attachment]}, to.http_config)

    def _teams(self, to: Teams, outbox: Outbox, text: Callable[[str], str]) -> Message:
        is_firing = outbox.data["status"] == "firing"
        title = {
            "type": "TextBlock",
            "text": text(to.title),
            "weight": "Bolder",
            "size": "Medium",
            "wrap": True,
            "style": "heading",
            "color": "Attention" if is_firing else "Good",
        }
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.2",
            "msteams": {"width": "full"},
            "body": [
                title,
                {"type": "TextBlock", "text": text(to.text)[:TEAMS_CHARACTERS_MAX], "wrap": True},
            ],
        }
        kind = "application/vnd.microsoft.card.adaptive"
        body = {"type": "message", "attachments": [{"contentType": kind, "content": card}]}
        return _post(to.webhook_url.get_secret_value(), body, to.http_config)

    def _pagerduty(self, to: PagerDuty, outbox: Outbox, text: Callable[[str], str]) -> Message:
        is_firing = outbox.data["status"] == "firing"
        body: dict[str, Any] = {
            "routing_key": to.routing_key.get_secret_value(),
            "event_action": "trigger" if is_firing else "resolve",
            "dedup_key": _incident(outbox),
        }
        if is_firing:
            named = {"component": to.component, "group": to.group, "class": to.class_}
            body |= {"client": text(to.client), "client_url": text(to.client_url)}
            severity = text(to.severity)
            body["payload"] = {
                "summary": text(to.description)[:SUMMARY_CHARACTERS_MAX] or "alert",
                "source": text(to.client),
                "severity": severity if severity in SEVERITIES else "error",
                "custom_details": {name: text(value) for name, value in to.details.items()},
                **{name: text(value) for name, value in named.items() if value},
            }
        return _post(to.url or self.defaults.pagerduty_url, body, to.http_config)

    def _opsgenie(self, to: Opsgenie, outbox: Outbox, text: Callable[[str], str]) -> Message:
        base = (to.api_url or self.defaults.opsgenie_api_url).rstrip("/") + "/v2/alerts"
        key = given(to.api_key, self.defaults.opsgenie_api_key).get_secret_value()
        headers = {"authorization": f"GenieKey {key}"}
        source = text(to.source)
        if outbox.data["status"] != "firing":
            url = f"{base}/{_incident(outbox)}/close?identifierType=alias"
            return _post(url, {"source": source}, to.http_config, headers)
        body = {
            "alias": _incident(outbox),
            "message": text(to.message)[:130],
            "description": text(to.description)[:15_000],
            "source": source,
            "details": outbox.data["commonLabels"],
            "tags": [tag.strip() for tag in text(to.tags).split(",") if tag.strip()],
            "responders": [
                one.model_dump(exclude_defaults=True) | {"type": one.type} for one in to.responders
            ],
        }
        if to.priority:
            body["priority"] = to.priority
        return _post(base, body, to.http_config, headers)

    def _email(self, to: Email, outbox: Outbox, text: Callable[[str], str]) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = " ".join(text(to.subject).split())[:SUBJECT_CHARACTERS_MAX]
        mail["From"] = given(to.from_, self.defaults.smtp_from)
        mail["To"] = to.to
        mail["Message-ID"] = f"<{outbox.outbox_id}@cloudopshub>"
        mail["Date"] = format_datetime(EPOCH + timedelta(milliseconds=outbox.created_ms))
        mail.set_content(text(to.text))
        if to.html:
            mail.add_alternative(text(to.html), subtype="html")
        return mail


def given(own: T | None, default: T | None) -> T:
    """The integration's own, or what `global` says; a configuration without both is refused."""
    value = own if own is not None else default
    assert value is not None
    return value


def _post(
    url: str, body: Any, config: HttpConfig, headers: Mapping[str, str] | None = None
) -> Message:
    sent = {**JSON, **(headers or {})}
    if config.basic_auth:
        sent["authorization"] = f"Basic {config.basic_auth.encoded()}"
    elif config.authorization:
        credentials = config.authorization.credentials.get_secret_value()
        sent["authorization"] = f"{config.authorization.type} {credentials}"
    return Message(url, body if isinstance(body, bytes) else orjson.dumps(body), sent)


def _incident(outbox: Outbox) -> str:
    """What the receiver knows the group by, over all of its notifications."""
    return hashlib.sha256(outbox.data["groupKey"].encode()).hexdigest()


def _key(secret: str) -> bytes:
    """The bytes of a Standard Webhooks secret: `whsec_` and base64; any other is its own bytes."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
