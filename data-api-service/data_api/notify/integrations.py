"""What a receiver is made of: for each kind of integration its settings, in Alertmanager's words,
and the message that it is sent, as bytes. Pure.

`kind` names an integration in the delivery log; the texts are templates (texts.py). What the
settings leave out is what `global` says. Sources: Alertmanager's `notify/*`,
Standard Webhooks, Slack's attachments, Teams' adaptive cards, PagerDuty Events v2, Opsgenie's Alert
API.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import orjson
from pydantic import Field, SecretStr, ValidationInfo, model_validator

from data_api.notify.fields import Address, Duration, Secret, SecretUrl, Strict, Text, Url
from data_api.notify.messages import JSON, Message, Notice
from data_api.notify.times import EPOCH

SUMMARY_CHARACTERS_MAX: Final = 1024  # PagerDuty's; Opsgenie's message has 130, its text 15,000
SUBJECT_CHARACTERS_MAX: Final = 1000  # folding one of 60,000 takes seconds
TEAMS_CHARACTERS_MAX: Final = 20_000
SEVERITIES: Final = frozenset({"critical", "error", "warning", "info"})
"""What PagerDuty takes; with any other word it refuses the alert."""
Many = Field(max_length=20)


class Global(Strict):
    """What holds where an integration says nothing."""

    resolve_timeout: Duration = 300_000
    smtp_smarthost: Address | None = None
    smtp_from: str | None = None
    smtp_auth_username: str | None = None
    smtp_auth_password: Secret | None = None
    smtp_require_tls: bool | None = None
    slack_api_url: SecretUrl | None = None
    pagerduty_url: Url | None = None
    opsgenie_api_url: Url | None = None
    opsgenie_api_key: Secret | None = None


class BasicAuth(Strict):
    """User and password."""

    username: str = ""
    password: Secret = SecretStr("")

    def encoded(self) -> str:
        """As HTTP sends it."""
        pair = f"{self.username}:{self.password.get_secret_value()}"
        return base64.b64encode(pair.encode()).decode()


class Authorization(Strict):
    """A token, or whatever else follows a type."""

    type: str = "Bearer"
    credentials: Secret


class HttpConfig(Strict):
    """What is shown to the server. Redirects are never followed; TLS is always verified."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    follow_redirects: Literal["false"] = "false"

    @model_validator(mode="after")
    def one_credential(self) -> Self:
        """There is at most one."""
        if self.basic_auth and self.authorization:
            raise ValueError("basic_auth and authorization are both given")
        return self


class Integration(Strict):
    """What all integrations have. of_global: how names in `global` begin that are its defaults."""

    kind: ClassVar[str]
    of_global: ClassVar[str | None] = None
    send_resolved: bool = True

    @model_validator(mode="before")
    @classmethod
    def with_global(cls, given: Any, info: ValidationInfo) -> Any:
        """What is given, and of what is not what `global` says, which is the context."""
        if not isinstance(given, dict) or not isinstance(info.context, dict):
            return given
        prefix = cls.of_global or "\n"
        texts = {n.removeprefix(prefix): t for n, t in info.context.items() if n.startswith(prefix)}
        return texts | {name: value for name, value in given.items() if value is not None}

    def message(self, notice: Notice) -> Message | EmailMessage:
        """What it is sent."""
        raise NotImplementedError


class HttpIntegration(Integration):
    """One that is reached by HTTP."""

    http_config: HttpConfig = HttpConfig()

    def post(self, url: str, body: Any, headers: Mapping[str, str] | None = None) -> Message:
        """A POST of bytes, or of JSON, with the credential of `http_config`."""
        sent = {**JSON, **(headers or {})}
        if basic := self.http_config.basic_auth:
            sent["authorization"] = f"Basic {basic.encoded()}"
        elif own := self.http_config.authorization:
            sent["authorization"] = f"{own.type} {own.credentials.get_secret_value()}"
        return Message(url, body if isinstance(body, bytes) else orjson.dumps(body), sent)


class Webhook(HttpIntegration):
    """Alertmanager's JSON body; signed after Standard Webhooks where `secret` is given (ours)."""

    kind = "webhook"
    url: SecretUrl
    max_alerts: Annotated[int, Field(ge=0)] = 0
    secret: Secret | None = None

    def message(self, notice: Notice) -> Message:
        """The notification as it is; its id is the same at each attempt."""
        data = dict(notice.outbox.data)
        if self.max_alerts and len(data["alerts"]) > self.max_alerts:
            data["truncatedAlerts"] += len(data["alerts"]) - self.max_alerts
            data["alerts"] = data["alerts"][: self.max_alerts]
        body = orjson.dumps(data)
        name, at = str(notice.outbox.outbox_id), str(notice.now_ms // 1000)
        headers = {"webhook-id": name, "webhook-timestamp": at}
        if self.secret is not None:
            key = _key(self.secret.get_secret_value())
            digest = hmac.digest(key, f"{name}.{at}.".encode() + body, "sha256")
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return self.post(self.url.get_secret_value(), body, headers)


class Slack(HttpIntegration):
    """Slack's incoming webhook, and what takes the same, as Mattermost."""

    kind = "slack"
    of_global = "slack_"
    send_resolved: bool = False
    api_url: SecretUrl
    channel: Text = ""
    username: Text = ""
    icon_emoji: Text = ""
    color: Text = '{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}'
    title: Text = '{{ template "default.title" . }}'
    title_link: Text = "{{ .ExternalURL }}"
    text: Text = '{{ template "default.text" . }}'

    def message(self, notice: Notice) -> Message:
        """One attachment."""
        attachment = {
            "title": (title := notice.text(self.title)),
            "title_link": notice.text(self.title_link),
            "text": notice.text(self.text),
            "fallback": title,
            "color": notice.text(self.color),
            "mrkdwn_in": ["fallback", "pretext", "text"],
        }
        body = _given(notice, self, "channel", "username", "icon_emoji")
        url = self.api_url.get_secret_value()
        return self.post(url, {**body, "attachments": [attachment]})


class Teams(HttpIntegration):
    """A workflow of Microsoft Teams, which takes an adaptive card."""

    kind = "msteamsv2"
    webhook_url: SecretUrl
    title: Text = '{{ template "default.title" . }}'
    text: Text = '{{ template "default.text" . }}'

    def message(self, notice: Notice) -> Message:
        """A card with a title and a text."""
        title = {
            "type": "TextBlock",
            "text": notice.text(self.title),
            "weight": "Bolder",
            "size": "Medium",
            "wrap": True,
            "style": "heading",
            "color": "Attention" if notice.is_firing else "Good",
        }
        text = notice.text(self.text)[:TEAMS_CHARACTERS_MAX]
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.2",
            "msteams": {"width": "full"},
            "body": [title, {"type": "TextBlock", "text": text, "wrap": True}],
        }
        kind = "application/vnd.microsoft.card.adaptive"
        body = {"type": "message", "attachments": [{"contentType": kind, "content": card}]}
        return self.post(self.webhook_url.get_secret_value(), body)


class Email(Integration):
    """A mail by SMTP, encrypted unless `require_tls: false`; port 465 is TLS from the start."""

    kind = "email"
    of_global = "smtp_"
    send_resolved: bool = False
    to: Annotated[str, Field(min_length=3)]
    from_: Annotated[str, Field(alias="from", min_length=1)]
    smarthost: Address
    auth_username: str = ""
    auth_password: Secret = SecretStr("")
    require_tls: bool = True
    subject: Text = '{{ template "default.title" . }}'
    text: Text = '{{ template "default.text" . }}'
    html: Text = ""

    def message(self, notice: Notice) -> EmailMessage:
        """A mail whose id is the same at each attempt."""
        mail = EmailMessage()
        mail["Subject"] = " ".join(notice.text(self.subject).split())[:SUBJECT_CHARACTERS_MAX]
        mail["From"] = self.from_
        mail["To"] = self.to
        mail["Message-ID"] = f"<{notice.outbox.outbox_id}@cloudopshub>"
        mail["Date"] = format_datetime(EPOCH + timedelta(milliseconds=notice.outbox.created_ms))
        mail.set_content(notice.text(self.text))
        if self.html:
            mail.add_alternative(notice.text(self.html), subtype="html")
        return mail


class PagerDuty(HttpIntegration):
    """Events API v2; the group is the incident (`dedup_key`)."""

    kind = "pagerduty"
    of_global = "pagerduty_"
    routing_key: Secret
    url: Url = "https://events.pagerduty.com/v2/enqueue"
    client: Text = "CloudOpsHub"
    client_url: Text = "{{ .ExternalURL }}"
    description: Text = '{{ template "default.title" . }}'
    severity: Text = '{{ or .CommonLabels.severity "error" }}'
    component: Text = ""
    group: Text = ""
    details: Annotated[dict[str, Text], Many] = Field(
        default_factory=lambda: {"text": '{{ template "default.text" . }}'}
    )
    class_: Annotated[Text, Field(alias="class")] = ""

    def message(self, notice: Notice) -> Message:
        """The incident is triggered, or resolved."""
        body: dict[str, Any] = {
            "routing_key": self.routing_key.get_secret_value(),
            "event_action": "trigger" if notice.is_firing else "resolve",
            "dedup_key": notice.incident,
        }
        if notice.is_firing:
            client, severity = notice.text(self.client), notice.text(self.severity)
            body |= {"client": client, "client_url": notice.text(self.client_url)}
            body["payload"] = {
                "summary": notice.text(self.description)[:SUMMARY_CHARACTERS_MAX] or "alert",
                "source": client,
                "severity": severity if severity in SEVERITIES else "error",
                "custom_details": {name: notice.text(one) for name, one in self.details.items()},
                **_given(notice, self, "component", "group", "class_"),
            }
        return self.post(self.url, body)


class Responder(Strict):
    """Who is told by Opsgenie."""

    type: Literal["team", "teams", "user", "escalation", "schedule"]
    id: str = ""
    name: str = ""
    username: str = ""


class Opsgenie(HttpIntegration):
    """Alerts API; the group is the alert (`alias`)."""

    kind = "opsgenie"
    of_global = "opsgenie_"
    api_key: Secret
    api_url: Url = "https://api.opsgenie.com/"
    message_: Annotated[Text, Field(alias="message")] = '{{ template "default.title" . }}'
    description: Text = '{{ template "default.text" . }}'
    source: Text = "{{ .ExternalURL }}"
    priority: Literal["P1", "P2", "P3", "P4", "P5"] | None = None
    tags: Text = ""
    responders: Annotated[tuple[Responder, ...], Many] = ()

    def message(self, notice: Notice) -> Message:
        """The alert is created, or closed."""
        base = self.api_url.rstrip("/") + "/v2/alerts"
        headers = {"authorization": f"GenieKey {self.api_key.get_secret_value()}"}
        source = notice.text(self.source)
        if not notice.is_firing:
            url = f"{base}/{notice.incident}/close?identifierType=alias"
            return self.post(url, {"source": source}, headers)
        body = {
            "alias": notice.incident,
            "message": notice.text(self.message_)[:130],
            "description": notice.text(self.description)[:15_000],
            "source": source,
            "details": notice.outbox.data["commonLabels"],
            "tags": [tag.strip() for tag in notice.text(self.tags).split(",") if tag.strip()],
            "responders": [one.model_dump(exclude_unset=True) for one in self.responders],
            **({"priority": self.priority} if self.priority else {}),
        }
        return self.post(base, body, headers)


class Receiver(Strict):
    """A name, and what is told when a route leads here; perhaps nothing."""

    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,200}$")]
    webhook_configs: Annotated[tuple[Webhook, ...], Many] = ()
    slack_configs: Annotated[tuple[Slack, ...], Many] = ()
    msteamsv2_configs: Annotated[tuple[Teams, ...], Many] = ()
    email_configs: Annotated[tuple[Email, ...], Many] = ()
    pagerduty_configs: Annotated[tuple[PagerDuty, ...], Many] = ()
    opsgenie_configs: Annotated[tuple[Opsgenie, ...], Many] = ()

    def integrations(self) -> dict[str, Integration]:
        """Each by its key, `webhook/0`: the kind, and its place among those."""
        names = (name for name in type(self).model_fields if name.endswith("_configs"))
        lists = (getattr(self, name) for name in names)
        return {f"{one.kind}/{at}": one for many in lists for at, one in enumerate(many)}


def _given(notice: Notice, integration: Integration, *fields: str) -> dict[str, str]:
    """The texts of those fields that are set."""
    texts = {name.rstrip("_"): getattr(integration, name) for name in fields}
    return {name: notice.text(template) for name, template in texts.items() if template}


def _key(secret: str) -> bytes:
    """The bytes of a Standard Webhooks secret: `whsec_` and base64; any other is its own bytes."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
